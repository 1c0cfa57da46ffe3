"""Run every benchmark, print the table, write bench.json (flat: metric → value)."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.benchmarks.library import bench_library
from tests.benchmarks.prepared import bench_prepared
from tests.benchmarks.remote import bench_remote
from tests.benchmarks.step import bench_step
from tests.benchmarks.streams import bench_streams
from tests.benchmarks.trials import bench_startup


@dataclass(frozen=True)
class Goal:
    """What a metric means and the value it is to reach."""

    meaning: str
    at_least: float | None = None
    at_most: float | None = None

    def verdict(self, value: float) -> str:
        """Whether the value reaches the goal, in words."""
        if self.at_least is not None:
            return f"≥ {self.at_least:g}: {'reached' if value >= self.at_least else 'MISSED'}"
        if self.at_most is not None:
            return f"≤ {self.at_most:g}: {'reached' if value <= self.at_most else 'MISSED'}"
        return ""


GOALS = {
    "pairs_per_decoded_frame": Goal("while streaming", 0.95),
    "pairs_per_decoded_frame_reuse_2": Goal("with data.reuse=2", 1.9),
    "stream_share_of_decode_only": Goal("stream into tensors / decoding the same windows", 0.95),
    "stream_over_former_windows": Goal("pairs/s over: 64 starts, 32 pairs, only decoded", 3.5),
    "stream_over_map_style": Goal("pairs/s over: open a file, get_batch of 2 frames", 20),
    "stream_over_read_videos": Goal("pairs/s over ray.data.read_videos(resize=64)", 1.6),
    "pyav_over_decord": Goal("frames/s, the same beginnings of files, one thread a core"),
    "first_batch_seconds": Goal("start of the stream to its first batch", None, 5),
    "decoded_frames_unused_share": Goal("decoded on the way to a window, then dropped"),
    "stream_over_former_windows_224px": Goal("at 224 pixels, 4 moments of a video", 3.5),
    "peak_memory_mib_224px": Goal("likewise", None, 3072),
    "stream_over_former_windows_1080p": Goal("sources of 1080p, 4 files, batches of 4", 3.5),
    "peak_memory_mib_1080p": Goal("likewise", None, 3072),
    "prepared_over_originals_64px": Goal("pairs/s of copies / of their 1080p originals", 10),
    "prepared_over_originals_128px": Goal("the same at 128 pixels", 10),
    "prepared_share_of_bytes": Goal("size of the copies, short side 128 / of the originals"),
    "remote_share_of_local_speed": Goal("a bucket behind 20 ms / the files, both by PyAV", 0.8),
    "remote_share_without_reading_ahead": Goal("likewise, a window after another"),
    "remote_bytes_over_group": Goal("fetched / of the groups, first windows of videos", None, 1.3),
    "remote_bytes_over_group_again": Goal("the same of the next windows of a video", None, 1.3),
    "remote_requests_per_window": Goal("first windows of videos"),
    "remote_requests_per_window_again": Goal("the next windows of a video"),
    "library_index_write_seconds": Goal("200,000 made rows: the index from rows to file", None, 5),
    "library_plan_seconds": Goal("index, files and schedules, before Ray starts"),
    "library_schedule_start_seconds": Goal("a schedule and its first window", None, 1),
    "library_window_milliseconds": Goal("one further window", None, 1),
    "library_plan_memory_mib": Goal("most memory of a process that plans", None, 2048),
    "latent_share_of_step": Goal("what r adds to a training step", None, 0.05),
    "diagnostics_share_of_step": Goal("what the metrics of a logged step add", None, 0.01),
    "surrogate_share_of_step": Goal("what encoding x++ adds to it, a third encoding", None, 0.5),
    "trial_first_step_seconds": Goal("start of a sweep's first trial to its first step", None, 8),
    "trial_first_step_reused_seconds": Goal("the same of those that find its process", None, 8),
    "trial_first_step_group_seconds": Goal("the same with a group of two workers"),
    "peak_memory_mib": Goal("streaming processes together, private memory", None, 3072),
}


def main(
    folder: Annotated[Path, typer.Option(help="Where the benchmark's videos are kept.")] = Path(
        "bench"
    ),
    out: Annotated[Path, typer.Option(help="The metrics as JSON.")] = Path("bench.json"),
    rounds: Annotated[int, typer.Option(help="Times each thing is measured, in turn.")] = 3,
) -> None:
    """Measure the stream against its limit and against what one would use instead."""
    console = Console()
    metrics = {
        **bench_streams(folder, rounds=rounds, console=console),
        **bench_prepared(folder, console=console),
        **bench_remote(folder, rounds=rounds, console=console),
        **bench_library(console=console),
        **bench_step(rounds=rounds, console=console),
        **bench_startup(folder, console=console),
    }
    table = Table(title=f"{os.cpu_count()} cores")
    for column in ("metric", "value", "goal", "what"):
        table.add_column(column, overflow="fold")
    for name, value in metrics.items():
        goal = GOALS.get(name, Goal(""))
        table.add_row(name, f"{value:.4g}", goal.verdict(value), goal.meaning)
    console.print(table)
    out.write_text(json.dumps(metrics, indent=2) + "\n")
    console.print(f"written to {out}")


if __name__ == "__main__":
    typer.run(main)
