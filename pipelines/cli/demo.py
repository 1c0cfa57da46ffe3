"""`adassl demo`: moving digits from nothing to a comparison, on two cores in minutes."""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from pipelines import figures
from pipelines.config.run import RunConfig, with_overrides
from pipelines.evaluation.evaluate import evaluate
from pipelines.experiments.arm import Arm
from pipelines.experiments.grid import Experiment
from pipelines.experiments.job import run_experiment
from pipelines.experiments.page import Page, Section
from pipelines.experiments.results import Column, Results
from pipelines.job import log_evaluation, log_training, train_and_evaluate
from pipelines.numbers import number
from pipelines.pairs.plan import plan
from pipelines.recipes import SCENES, recipe
from pipelines.sources.moving_digits import write_moving_digits
from pipelines.storage.folder import Folder
from pipelines.storage.runs import RunFolder
from pipelines.training.build import build
from pipelines.training.worker import training_here
from pipelines.trials.trial import TrialJob, TrialRun, run_trial
from pipelines.video.indexer import build_index

NUM_VIDEOS = 400
SETTINGS = {"tracking.experiment": "demo", "train.global_batch_size": 128}
GROUP = "digits"
ARMS = (
    Arm(group=GROUP, method="adassl-v", title="AdaSSL-V", settings={}),
    Arm(
        group=GROUP,
        method="no-r",
        title="same recipe, no r",
        settings={"method.latent": "none"},
    ),
)
ROWS = {
    "digit, accuracy (h)": "test/digit/linear_accuracy",
    "velocity x, R² (h)": "test/velocity_x/linear_r2",
    "velocity y, R² (h)": "test/velocity_y/linear_r2",
    "change x, R² (edited)": "test/edited/change_x/linear_r2",
    "change y, R² (edited)": "test/edited/change_y/linear_r2",
    "‖centre‖": "test/centre_norm",
    "mean residual": "test/residual_norm",
    "RankMe (z)": "test/rankme",
    "KL of r, nats": "val/kl",
}


def run_demo(out: Path, *, console: Console) -> None:
    """Make videos, index them, train with and without r side by side, evaluate and compare.

    A second call continues where the first stopped.
    """
    began = time.monotonic()
    experiment = Experiment(
        name="demo",
        config=with_overrides(recipe("digit-scenes"), SETTINGS),
        arms=ARMS,
        num_seeds=1,
        metric="val/next_clip_nats",
        trial=run_demo_trial,
        prepare=partial(_prepare, console=console),
        report=_report,
    )
    result = run_experiment(experiment, Folder(str(out)).child("demo"), command="adassl demo")
    console.rule(f"done in {time.monotonic() - began:.0f} s")
    for trial in result.failed:
        console.print(f"failed      {trial.name}: {trial.reason}", markup=False, highlight=False)
    titles = {arm.name: arm.title for arm in ARMS}
    metrics = {titles[t.name.rpartition("-s")[0]]: t.metrics for t in result.trials}
    picture = _compare(metrics, out, console)
    console.print(f"comparison  {picture}", highlight=False, soft_wrap=True)
    for trial in result.trials:
        folder = RunFolder(result.folder.child("trials").child(trial.name))
        console.print(f"figures     {folder.figures}", highlight=False, soft_wrap=True)
    console.print(f"open the UI {result.ui_command}", highlight=False, soft_wrap=True)


def run_demo_trial(trial: Mapping[str, Any], *, job: TrialJob) -> None:
    """What Tune runs: train in this process and evaluate on the test videos, as `train` does."""
    run_trial(trial, job=job, body=_train)


def _train(trial: TrialRun) -> dict[str, float]:
    config, folder = trial.config, trial.folder
    videos = plan(config)
    folder.register(config, videos.digest)
    device = torch.device("cuda" if trial.job.demand.gpus_per_worker else "cpu")

    def evaluated(tracker: Any) -> dict[str, float]:
        log_training(config, folder, tracker, method=build(config))
        done = evaluate(folder, num_decoders=config.cluster.decoders_per_worker)
        return log_evaluation(done, tracker)

    return train_and_evaluate(
        config,
        folder,
        training=training_here(config, folder, videos, device, trial.report),
        tracked=trial.tracked(videos),
        evaluate=evaluated,
    )


def _prepare(config: RunConfig, folder: Folder, *, console: Console) -> RunConfig:
    out = folder.parent.local
    assert out is not None
    console.rule("1 · videos")
    write_moving_digits(out / "digits", num_videos=NUM_VIDEOS, scenes=SCENES, console=console)
    console.rule("2 · index")
    summary = build_index([out / "digits"], out / "videos.parquet", console=console)
    console.print(summary.index.describe(), highlight=False)
    console.rule("3 · training with and without r, side by side")
    return with_overrides(config, {"data.index": str((out / "videos.parquet").absolute())})


def _report(results: Results, trials: Path) -> Page:
    columns = [Column(metric=metric, title=label) for label, metric in ROWS.items()]
    return Page(
        title="Demo",
        summary="AdaSSL-V and the same recipe without r, on videos of unseen glyphs.",
        protocol="One seed: it shows that everything works, it is no result about the method.",
        hypotheses=[],
        sections=[Section(title="Comparison", tables={"demo": results.table(GROUP, columns)})],
    )


def _compare(metrics: Mapping[str, Mapping[str, float]], out: Path, console: Console) -> Path:
    """Print the table and draw it; returns the picture."""
    table = Table("videos of unseen glyphs", *metrics, title="AdaSSL with and without r")
    for label, metric in ROWS.items():
        table.add_row(label, *(number(known.get(metric)) for known in metrics.values()))
    console.print(table)
    rows = {
        title: {label: known[metric] for label, metric in ROWS.items() if metric in known}
        for title, known in metrics.items()
    }
    return figures.comparison(rows, out / "comparison.png")
