"""A made library of 200,000 videos: what its index, its plan and its schedule cost."""

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console

from pipelines.config.run import with_overrides
from pipelines.pairs.plan import plan
from pipelines.recipes import recipe
from pipelines.video.parts import table_of
from pipelines.video.schedule import Schedule

NUM_VIDEOS, NUM_FILES = 200_000, 1000
NUM_FRAMES, KEY_FRAME_EVERY, BYTES_PER_GROUP = 300, 30, 40_000
NUM_WINDOWS = 2000


def bench_library(*, console: Console) -> dict[str, float]:
    """Write, plan and schedule made rows, which name a thousand empty files."""
    console.print(f"a library of {NUM_VIDEOS:,} videos …")
    with TemporaryDirectory(prefix="adassl-library-") as folder:
        index, rows = Path(folder) / "videos.parquet", list(_rows(Path(folder)))
        began = time.perf_counter()
        pq.write_table(table_of(rows), index)
        seconds = time.perf_counter() - began
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            return {
                "library_index_write_seconds": seconds,
                **alone.submit(_planned, str(index)).result(),
            }


def _peak_memory_mib() -> float:
    """Of this process; getrusage would count what its parent held when it was started."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _planned(index: str) -> dict[str, float]:
    """Plan a training, draw windows, and see the most memory that this process has had."""
    config = with_overrides(recipe("videos"), {"data.index": index})
    began = time.perf_counter()
    schedule = plan(config).train
    planned = time.perf_counter()
    assert isinstance(schedule, Schedule)
    again = Schedule(
        schedule.index, config.data, seed=0, global_batch_size=config.train.global_batch_size
    )
    again.window(0)
    started = time.perf_counter()
    for number in range(NUM_WINDOWS):
        again.window(37 * number)
    drawn = time.perf_counter()
    return {
        "library_plan_seconds": planned - began,
        "library_schedule_start_seconds": started - planned,
        "library_window_milliseconds": (drawn - started) / NUM_WINDOWS * 1e3,
        "library_plan_memory_mib": _peak_memory_mib(),
    }


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of videos of 10 s with ten groups of pictures each."""
    key_frames = list(range(0, NUM_FRAMES, KEY_FRAME_EVERY))
    paths = [folder / f"{number:03}.mp4" for number in range(NUM_FILES)]
    for path in paths:
        path.touch()
    for number in range(NUM_VIDEOS):
        yield {
            "path": str(paths[number % NUM_FILES]),
            "num_frames": NUM_FRAMES,
            "fps": 30.0,
            "width": 320,
            "height": 240,
            "duration_seconds": NUM_FRAMES / 30,
            "codec": "h264",
            "rotation": 0,
            "key_frames": key_frames,
            "decoder": "decord",
            "seek": "exact",
            "stream": 0,
            "key_times": [],
            "key_bytes": [BYTES_PER_GROUP * n for n in range(len(key_frames))],
            "header_bytes": [0, 10_000],
            "check": "full",
            "digest": f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}{number:016x}",
            "size_bytes": 0,
            "mtime_ns": 0,
            "split": "val" if number % 10 == 0 else "train",
            "usable": True,
        }
