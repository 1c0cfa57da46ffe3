"""What a trial costs before it trains, and what a sweep of very many trials costs.

`python -m tests.benchmarks.trials` runs 1,000 trials that do nothing through the sweep's own code,
MLflow included, and prints the overhead of each and the memory of the driver.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import psutil
import ray
import typer
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from rich.console import Console

from pipelines.cluster import Demand, quiet_ray
from pipelines.config.run import with_overrides
from pipelines.recipes import recipe
from pipelines.sources.moving_digits import write_moving_digits
from pipelines.storage.folder import Folder
from pipelines.sweep.job import SweepOptions, sweep
from pipelines.sweep.settings import decide
from pipelines.tracking import Tracker, default_uri
from pipelines.trials.callback import TrialCallback
from pipelines.trials.queue import TrialQueue
from pipelines.trials.records import SweepRecord
from pipelines.trials.run import run_trials
from pipelines.trials.store import TrialStore
from pipelines.trials.trial import TrialJob, TrialReporter
from pipelines.video.indexer import build_index
from tune_spaces import load

METRIC = "val/next_clip_nats"


def bench_startup(folder: Path, *, console: Console) -> dict[str, float]:
    """Seconds from the moment a trial is handed out to its first step, on an idle machine.

    In the trial's own process, for the first trial of a slot and for those that find its process
    there; and with a worker group, always anew.
    """
    write_moving_digits(folder / "digits", num_videos=200, console=console)
    build_index([folder / "digits"], folder / "digits.parquet", console=console)
    own = _startup(folder, workers=1, num_trials=3)
    group = _startup(folder, workers=2, num_trials=2)
    return {
        "trial_first_step_seconds": own[0],
        "trial_first_step_reused_seconds": median(own[1:]),
        "trial_first_step_group_seconds": median(group),
    }


def _startup(folder: Path, *, workers: int, num_trials: int) -> list[float]:
    """In the order of the trials."""
    space = replace(load("digits"), baseline=None)
    settings = {
        "train.steps": 20,
        "train.checkpoint_every": 20,
        "data.index": str(folder / "digits.parquet"),
        "cluster.num_workers": workers,
        "cluster.cpus_per_worker": 1 / workers,
    }
    config = with_overrides(recipe(space.recipe), {**space.settings, **settings})
    options = SweepOptions(
        space_name="digits", num_trials=num_trials, num_seeds=1, search="random", scheduler="none"
    )
    with TemporaryDirectory() as out:
        trials = sweep(config, space, options, Folder(out).child("startup")).trials
    assert all(trial.state == "finished" for trial in trials), trials
    return [trial.first_step_seconds or float("nan") for trial in trials]


def trivial(trial: Mapping[str, Any], *, job: TrialJob) -> None:
    """A trial that only says that it was there: to MLflow as every trial does, and to Tune."""
    with Tracker.start(
        job.tracking_uri, "adassl", trial["name"], parent_run_id=job.parent_run_id
    ) as tracker:
        reporter = TrialReporter(metric=METRIC, num_steps=1, is_baseline=False)
        reporter.ids["mlflow"] = tracker.run_id
        metrics = {METRIC: trial["params"]["method.beta"], "time/pairs_per_second": 1.0}
        tracker.log_params({"beta": trial["params"]["method.beta"], "seed": trial["seed"]})
        tracker.log_metrics(metrics, 1)
        tune.report(reporter.at(1, metrics, True))
    tune.report(reporter.end("finished", "", {**metrics, "step": 1}))


def many_trials(out: Path, num_trials: int, at_once: int) -> dict[str, float]:
    """Trivial trials through the sweep's code, on the running Ray."""
    space, config = replace(load("digits"), baseline=None), recipe("moving-digits")
    store = TrialStore(Folder(out / "many"))
    store.register(
        SweepRecord(
            space="digits",
            metric=METRIC,
            mode="max",
            sampled={},
            baseline=None,
            search="random",
            scheduler="none",
            num_settings=num_trials,
            num_seeds=1,
            config=config.model_dump(mode="json"),
            data_digest="",
        )
    )
    driver, began, cpu = psutil.Process(), time.monotonic(), psutil.Process().cpu_times()
    before = driver.memory_info().rss
    with Tracker.start(default_uri(out), "adassl", "many") as tracker:
        job = TrialJob(
            config=config.model_dump(mode="json"),
            trials=str(out / "many" / "trials"),
            tracking_uri=tracker.uri,
            parent_run_id=tracker.run_id,
            metric=METRIC,
            demand=Demand(num_workers=1, cpus_per_worker=1, gpus_per_worker=0, num_decoders=0),
        )
        callback = TrialCallback(
            store, tracker, job.demand, config.cluster, total=num_trials, at_once=at_once
        )
        search = TrialQueue(
            store, lambda number: decide(space, "random", number, seed=0), first_seed=0
        )
        run_trials(job, search, FIFOScheduler(), callback, at_once, trial=trivial)
    seconds, used = time.monotonic() - began, driver.cpu_times()
    assert sum(t.state == "finished" for t in store.all_trials()) == num_trials
    return {
        "trials": num_trials,
        "trials_at_once": at_once,
        "seconds": seconds,
        "seconds_per_trial": seconds / num_trials,
        "driver_cpu_seconds_per_trial": (used.user + used.system - cpu.user - cpu.system)
        / num_trials,
        "driver_memory_mib": driver.memory_info().rss / 2**20,
        "driver_memory_growth_kib_per_trial": (driver.memory_info().rss - before)
        / 2**10
        / num_trials,
    }


def main(
    num_trials: Annotated[int, typer.Option(help="Trivial trials.")] = 1000,
    at_once: Annotated[int, typer.Option(help="Trials side by side.")] = 4,
    out: Annotated[Path, typer.Option(help="The figures as JSON.")] = Path("bench-trials.json"),
) -> None:
    """What Tune, the store and MLflow cost for each trial, and what the driver holds of them."""
    quiet_ray()
    ray.init(num_cpus=at_once, include_dashboard=False, log_to_driver=False)
    with TemporaryDirectory() as folder:
        figures = many_trials(Path(folder), num_trials, at_once)
    Console().print_json(json.dumps(figures))
    out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
