"""`adassl demo`: moving digits from nothing to a comparison, on two cores in minutes."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines import figures
from pipelines.config.run import RunConfig, with_overrides
from pipelines.job import JobResult, run_job
from pipelines.recipes import SCENES, recipe
from pipelines.sources.moving_digits import write_moving_digits
from pipelines.storage.runs import RunFolder
from pipelines.video.indexer import build_index

NUM_VIDEOS = 400
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "adassl-v": ("AdaSSL-V", {}),
    "no-r": ("same recipe, no r", {"method.latent": "none"}),
}
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


def run_demo(out: Path, *, num_workers: int, console: Console) -> None:
    """Make videos, index them, train twice, evaluate both and compare; a second call goes on."""
    began = time.monotonic()
    console.rule("1 · videos")
    write_moving_digits(out / "digits", num_videos=NUM_VIDEOS, scenes=SCENES, console=console)
    console.rule("2 · index")
    summary = build_index([out / "digits"], out / "videos.parquet", console=console)
    console.print(summary.index.describe(), highlight=False)
    results: dict[str, JobResult] = {}
    for number, (name, (title, changes)) in enumerate(RUNS.items(), start=3):
        console.rule(f"{number} · {title}")
        config = demo_config(out, num_workers, changes)
        results[title] = run_job(config, RunFolder(out / "runs" / name))
    console.rule(f"done in {time.monotonic() - began:.0f} s")
    _compare(out, results, console)


def demo_config(out: Path, num_workers: int, changes: Mapping[str, Any]) -> RunConfig:
    """The recipe of the demo with a run's changes."""
    common = {
        "data.index": str((out / "videos.parquet").absolute()),
        "cluster.num_workers": num_workers,
        "tracking.experiment": "demo",
    }
    return with_overrides(recipe("digit-scenes"), {**common, **changes})


def _compare(out: Path, results: dict[str, JobResult], console: Console) -> None:
    table = Table("videos of unseen glyphs", *results, title="AdaSSL with and without r")
    rows: dict[str, dict[str, float]] = {title: {} for title in results}
    for label, metric in ROWS.items():
        values = [result.metrics.get(metric) for result in results.values()]
        table.add_row(label, *("–" if value is None else f"{value:.2f}" for value in values))
        for title, value in zip(results, values, strict=True):
            if value is not None:
                rows[title][label] = value
    console.print(table)
    picture = figures.comparison(rows, out / "comparison.png")
    last = list(results.values())[-1]
    console.print(f"comparison  {picture}", highlight=False, soft_wrap=True)
    for result in results.values():
        console.print(f"figures     {result.folder.figures}", highlight=False, soft_wrap=True)
    console.print(f"open the UI {last.ui_command}", highlight=False, soft_wrap=True)
