"""What one would use instead, each in its best form."""

import time
from collections.abc import Iterator
from pathlib import Path

import decord
import numpy as np
import ray.data
import torch
from numpy.typing import NDArray
from ray.data import DataContext

from pipelines.config.data import DataConfig
from pipelines.video.decode import read_window
from pipelines.video.frames import last_key_frame, resized_shape
from pipelines.video.index import VideoIndex

BATCH = 64
GAP_FRAMES = 6
"""Between the frames of a pair, where the pairs are of frames in the order of the file."""


def map_style_pairs(index: VideoIndex, data: DataConfig, seed: int, *, seconds: float) -> int:
    """Pairs that a map-style data set gives in some seconds: open a file once, read two frames.

    decord shrinks them while it decodes, on one thread, for there is a process for each core.
    """
    rng = np.random.default_rng(seed)
    end, pairs = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        video = int(rng.integers(len(index)))
        low, high = (round(g * float(index.fps[video])) for g in data.gap)
        gap = int(rng.integers(low, high + 1))
        first = int(rng.integers(int(index.num_frames[video]) - gap))
        width, height = resized_shape(index.width[video], index.height[video], data.frame_size)
        reader = decord.VideoReader(index.path[video], width=width, height=height, num_threads=1)
        torch.from_numpy(reader.get_batch([first, first + gap]).asnumpy())
        pairs += 1
    return pairs


FORMER_STARTS, FORMER_PAIRS = 64, 32
"""Start frames and pairs of a window before windows followed the file."""


def former_windows_pairs(index: VideoIndex, data: DataConfig, seed: int, *, seconds: float) -> int:
    """Pairs of our own former windows: 32 from 64 start frames from a key frame on, or later.

    Decoded and thrown away, in plain processes, which is the best they could do.
    """
    rng = np.random.default_rng(seed)
    end, pairs = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        video = int(rng.integers(len(index)))
        most_gap = round(data.gap[1] * float(index.fps[video]))
        num_starts = int(index.num_frames[video]) - most_gap
        access = index.access(video)
        start = int(rng.integers(num_starts))
        entry = last_key_frame(start, access.key_frames)
        tile = entry + (start - entry) // FORMER_STARTS * FORMER_STARTS
        starts = rng.permutation(np.arange(tile, min(num_starts, tile + FORMER_STARTS)))
        used = starts[:FORMER_PAIRS]
        width, height = resized_shape(index.width[video], index.height[video], data.frame_size)
        read_window(
            index.path[video],
            first=int(used.min()),
            num_frames=int(np.ptp(used)) + most_gap,
            width=width,
            height=height,
            access=access,
        )
        pairs += FORMER_PAIRS
    return pairs


def read_videos_pairs(folder: Path, data: DataConfig) -> Iterator[int]:
    """Sizes of batches of pairs from `ray.data.read_videos`.

    Files in a random order, frames shrunk while they are decoded, each paired with the one some
    frames later in its video.
    """
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    side = data.frame_size
    with DataContext.current(context):
        frames = ray.data.read_videos(
            str(folder), include_paths=True, resize=(side, side), shuffle="files"
        )
        for batch in frames.iter_batches(batch_size=BATCH + GAP_FRAMES, prefetch_batches=2):
            yield len(_paired(batch)[0])


def _paired(batch: dict[str, NDArray[np.uint8]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames of a batch, and of the same videos some frames later."""
    same = batch["path"][:-GAP_FRAMES] == batch["path"][GAP_FRAMES:]
    views = batch["frame"]
    context, target = views[:-GAP_FRAMES][same], views[GAP_FRAMES:][same]
    return torch.from_numpy(context), torch.from_numpy(target)
