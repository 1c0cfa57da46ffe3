"""How far batches mix a library, against a full shuffle: `python -m tests.benchmarks.mixing`.

Pure arithmetic on schedules, no video is read.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pipelines.config.data import DataConfig
from pipelines.video.index import SCHEMA, VideoIndex
from pipelines.video.schedule import Schedule

BATCH, FPS, KEY_EVERY = 64, 30.0, 250
DISTANCES = (1, 10, 100, 1000)
FIRST, NUM_BATCHES = 20_000, 1500
LIBRARIES = {"48 videos of 300 frames": (48, 300), "2,000 videos of 3,000": (2000, 3000)}
SETTINGS: dict[str, dict[str, int]] = {
    "default": {},
    "reuse 4": {"reuse": 4},
    "128 MiB": {"shuffle_memory_mib": 128},
    "64 MiB": {"shuffle_memory_mib": 64},
    "64 MiB, 4 of a video": {"shuffle_memory_mib": 64, "moments_per_video": 4},
}


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """What some batches hold."""

    videos: float
    """Different videos in a batch."""
    correlation: list[float]
    """Of the means of batches at each of `DISTANCES`, of a quantity that is a constant of its run
    of 250 frames and independent between them."""
    frames: float
    """Decoded for each pair."""


def mixing(schedule: Schedule) -> Mixing:
    """Measure a schedule's batches, some way into a run."""
    batches = range(FIRST, FIRST + NUM_BATCHES)
    shape = NUM_BATCHES, schedule.global_batch_size
    video, start = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    due = schedule.ticks(batches)
    frames = pairs = 0
    for turns in schedule.turns(batches):
        for number, lane, end in zip(turns.number, turns.lane, turns.end, strict=True):
            window = schedule.window(int(number))
            ticks = range(max(turns.first, due.start), min(int(end), due.stop))
            rows = [schedule.row(int(lane), t) - FIRST * shape[1] for t in ticks]
            given = slice(ticks.start - turns.first, ticks.stop - turns.first)
            video.flat[rows] = window.video
            start.flat[rows] = window.first + window.starts[given]
            access = schedule.index.access(window.video)
            frames += access.decoded_frames(window.first, window.num_frames)
            pairs += len(window.starts)
    return measured(schedule, video, start, frames / pairs)


def full_shuffle(schedule: Schedule) -> Mixing:
    """Batches of start frames that are drawn evenly from the whole library."""
    rng = np.random.default_rng(0)
    shape = NUM_BATCHES, schedule.global_batch_size
    videos = len(schedule.index)
    video, start = rng.integers(videos, size=shape), rng.integers(_starts(schedule), size=shape)
    return measured(schedule, video, start, np.nan)


def measured(
    schedule: Schedule, video: NDArray[np.int64], start: NDArray[np.int64], frames: float
) -> Mixing:
    """The measures of pairs [batch, row]."""
    group, sizes = start // KEY_EVERY, np.bincount(np.arange(_starts(schedule)) // KEY_EVERY)
    rng = np.random.default_rng(1)
    quantity = rng.standard_normal((200, len(schedule.index), len(sizes)))  # drawn 200 times
    quantity -= (quantity * sizes).sum(axis=(1, 2), keepdims=True) / sizes.sum() / quantity.shape[1]
    means = np.stack([each[video, group].mean(axis=1) for each in quantity])
    return Mixing(
        videos=float(np.mean([len(np.unique(row)) for row in video])),
        correlation=[
            float((means[:, :-d] * means[:, d:]).mean() / (means**2).mean()) for d in DISTANCES
        ],
        frames=frames,
    )


def _starts(schedule: Schedule) -> int:
    return schedule.num_starts // len(schedule.index)


def library(num_videos: int, num_frames: int) -> VideoIndex:
    """An index of videos of 320×240 that are not there."""
    row: dict[str, Any] = dict.fromkeys(SCHEMA.names) | {
        "path": "",
        "num_frames": num_frames,
        "fps": FPS,
        "width": 320,
        "height": 240,
        "key_frames": list(range(0, num_frames, KEY_EVERY)),
        "key_times": [],
        "decoder": "decord",
        "seek": "exact",
        "stream": 0,
    }
    return VideoIndex(table=pa.Table.from_pylist([row] * num_videos, schema=SCHEMA))


def main() -> None:
    """Print a table."""
    table = Table(
        "library", "setting", "videos a batch", "frames a pair", title=f"batches of {BATCH}"
    )
    for distance in DISTANCES:
        table.add_column(f"corr. {distance:,}")
    for name, size in LIBRARIES.items():
        index = library(*size)
        found = {}
        for setting, changes in SETTINGS.items():
            data = DataConfig(gap=(0.2, 1.0), gap_unit="seconds", frames_per_clip=1, **changes)
            schedule = Schedule(index, data, seed=0, global_batch_size=BATCH)
            found[setting] = mixing(schedule)
        found["full shuffle"] = full_shuffle(schedule)
        for setting, each in found.items():
            frames = "" if np.isnan(each.frames) else f"{each.frames:.2f}"
            numbers = [f"{value:.2f}" for value in each.correlation]
            table.add_row(name, setting, f"{each.videos:.1f}", frames, *numbers)
    Console().print(table)


if __name__ == "__main__":
    main()
