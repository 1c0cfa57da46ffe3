"""What one would use instead."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import ray.data
import torch
from numpy.typing import NDArray
from ray.data import DataContext

from pipelines.config.run import DataConfig
from pipelines.video.decode import read_window
from pipelines.video.frames import resized_shape
from pipelines.video.index import VideoIndex

NUM_VIDEOS_A_BATCH_FRAMES = 64


def map_style_pairs(index: VideoIndex, data: DataConfig, seed: int, *, seconds: float) -> int:
    """Pairs that a map-style data set gives in some seconds: open a file, read two frames.

    It asks for the same small frames of the same reader, so only the way of access differs.
    """
    rng = np.random.default_rng(seed)
    end, pairs = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        video = int(rng.integers(len(index)))
        low, high = (round(g * float(index.fps[video])) for g in data.gap)
        gap = int(rng.integers(low, high + 1))
        first = int(rng.integers(int(index.num_frames[video]) - gap))
        shape = resized_shape(index.width[video], index.height[video], data.frame_size)
        for frame in (first, first + gap):
            read_window(
                index.path[video],
                first=frame,
                num_frames=1,
                width=shape[0],
                height=shape[1],
                access=index.access(video),
            )
        pairs += 1
    return pairs


def read_videos_pairs(folder: Path, data: DataConfig) -> Iterator[int]:
    """Sizes of batches of pairs from `ray.data.read_videos`, shrunk and paired within a batch."""
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    with DataContext.current(context):
        frames = ray.data.read_videos(str(folder), include_paths=True)
        pairs = frames.map_batches(
            _PairUp(data.frame_size), batch_size=NUM_VIDEOS_A_BATCH_FRAMES, zero_copy_batch=True
        )
        for batch in pairs.iter_batches(batch_size=64):
            yield len(torch.from_numpy(np.ascontiguousarray(batch["context"])))


class _PairUp:
    """Each frame of a batch with one a few frames later, resized."""

    def __init__(self, side: int, gap: int = 6) -> None:
        self._side, self._gap = side, gap

    def __call__(self, batch: dict[str, NDArray[np.uint8]]) -> dict[str, NDArray[np.uint8]]:
        frames = torch.from_numpy(np.stack(list(batch["frame"]))).permute(0, 3, 1, 2).float()
        small = torch.nn.functional.interpolate(frames, size=self._side, mode="area")
        views = small.byte().permute(0, 2, 3, 1).numpy()
        return {"context": views[: -self._gap], "target": views[self._gap :]}
