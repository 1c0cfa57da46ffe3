"""Clips at a stride, for a trained encoder: which they are, and cutting them from windows.

Which clips there are is pure arithmetic, as in `schedule` for the pairs of a training. Clip k of a
video begins at the frame nearest to k strides; window t holds the clips of a run of frames that is
read in order. Windows are cut at key frames, so that no frame is decoded twice but those of a clip
that spans two windows.
"""

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.config.data import DataConfig
from pipelines.config.run import ConfigError
from pipelines.video.batch import DecodedWindow, Frames
from pipelines.video.index import VideoIndex
from pipelines.video.pairs import central
from pipelines.video.schedule import LeftOut, Window, frame_bytes
from pipelines.video.stream import (
    BLOCKS_PER_SEGMENT,
    BYTES_PER_BLOCK,
    FRAMES_PER_BLOCK,
    WindowDecoder,
    decoded_blocks,
)
from pipelines.video.tiles import Integers, cut_tiles


@dataclass(frozen=True, kw_only=True)
class Clips:
    """The clips of one window, or why there are none.

    Attributes:
        number: of the window.
        video: its row in the index of the schedule.
        start: first frame of each clip within its video.
        frames: uint8 [clips, frames, height, width, channels]; None where decoding failed.
        error: why it failed.
    """

    number: int
    video: int
    start: Integers
    frames: Frames | None
    error: str | None = None

    def __len__(self) -> int:
        """How many clips are due, decoded or not."""
        return len(self.start)


class ClipSchedule:
    """The clips at a stride of some videos, in windows."""

    _UNIT = "one clip"

    def __init__(self, index: VideoIndex, config: DataConfig, *, stride_seconds: float) -> None:
        """Cut the windows.

        Args:
            index: the videos; those too short for one clip are `left_out`.
            config: how a clip looks: its frames, size, crop (always of the centre), colours.
            stride_seconds: between the starts of two clips of a video; at least a frame.

        Raises:
            ConfigError: if the stride is not a positive number.
        """
        if not 0 < stride_seconds < np.inf:
            raise ConfigError(f"a stride of {stride_seconds} s: give a positive number of seconds")
        crop = "none" if config.crop == "none" else "center"
        self.config = config.model_copy(update={"crop": crop, "views": "augmentation"})
        self.stride_seconds = stride_seconds
        length = self._frames_needed(index)
        is_long = index.num_frames >= length
        self.left_out = [
            LeftOut(
                path=str(index.path[i]),
                reason=f"{index.num_frames[i]} frames; {self._UNIT} has {length[i]}",
            )
            for i in np.flatnonzero(~is_long)
        ]
        self.index = index.take(np.flatnonzero(is_long))
        self._length = length = length[is_long]
        self._step = np.maximum(1.0, stride_seconds * self.index.fps)
        starts = self.index.num_frames - length + 1
        key_frames, counts = self.index.all_key_frames()
        tiles = cut_tiles(starts, self._most_starts(counts), key_frames, counts)
        first, end = (_clip_from(edge, self._step[tiles.video]) for edge in (tiles.low, tiles.high))
        kept = end > first
        self._video, self._first, self._end = tiles.video[kept], first[kept], end[kept]

    def _frames_needed(self, index: VideoIndex) -> Integers:
        """Frames from the start of a clip that are read for it, of each video."""
        return np.full(len(index), self.config.frames_per_clip, np.int64)

    def _most_starts(self, num_key_frames: NDArray[np.integer]) -> Integers:
        """Start frames of a window: what fits in a block, or one stride where seeking is less."""
        fits = np.minimum(BYTES_PER_BLOCK // frame_bytes(self.index, self.config), FRAMES_PER_BLOCK)
        group = self.index.num_frames / np.maximum(1, num_key_frames)
        most: Integers = np.where(group < self._step, self._step, fits).astype(np.int64)
        return np.maximum(1, most)

    @property
    def num_windows(self) -> int:
        """Windows of all videos, numbered in the order of the index."""
        return len(self._video)

    @property
    def num_clips(self) -> int:
        """Clips of all videos."""
        return int(self.clips_per_video.sum())

    @property
    def clips_per_video(self) -> Integers:
        """Clips of each video of `index`."""
        counts = self._end - self._first
        return np.bincount(self._video, counts, len(self.index)).astype(np.int64)

    def window(self, number: int) -> Window:
        """Window t, as the decoders read it."""
        video = int(self._video[number])
        clips = np.arange(self._first[number], self._end[number])
        starts = _start_of(clips, self._step[video])
        first = int(starts[0])
        return Window(
            number=number,
            video=video,
            first=first,
            num_frames=int(starts[-1]) - first + int(self._length[video]),
            starts=starts - first,
            gaps=np.zeros_like(starts),
            crops=np.full((len(starts), 2), 0.5),
        )

    def windows_of(self, videos: Sequence[int]) -> Integers:
        """Numbers of the windows of some rows of `index`, ascending."""
        return np.flatnonzero(np.isin(self._video, np.asarray(videos, np.int64)))

    def clips_of(self, window: DecodedWindow) -> Clips:
        """Cut the clips of a window that was decoded."""
        about = self.window(window.number)
        cut = None
        if window.frames is not None:
            square = central(window.frames, self.config.frame_size)
            length = self.config.frames_per_clip
            cut = np.stack([square[at : at + length] for at in about.starts])
        return Clips(
            number=window.number,
            video=about.video,
            start=about.first + about.starts,
            frames=cut,
            error=window.error,
        )

    def blocks(self, numbers: Sequence[int] | Integers) -> Iterator[list[int]]:
        """Windows as each decoding task reads them: some with few frames at once."""
        block: list[int] = []
        filled = 0.0
        nbytes = frame_bytes(self.index, self.config)
        for number in map(int, numbers):
            video, clips = self._video[number], self._end[number] - self._first[number] - 1
            frames = clips * self._step[video] + self._length[video]
            part = max(frames / FRAMES_PER_BLOCK, frames * nbytes[video] / BYTES_PER_BLOCK)
            if block and filled + part > 1:
                yield block
                block, filled = [], 0.0
            block.append(number)
            filled += part
        if block:
            yield block

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes as what it was made of."""
        make = partial(type(self), stride_seconds=self.stride_seconds)
        return make, (self.index, self.config)


def clips_here(
    schedule: ClipSchedule, numbers: Sequence[int] | Integers, *, num_decoders: int = 1
) -> Iterator[Clips]:
    """Clips of some windows in order, decoded by threads of this process."""
    decoder = WindowDecoder(schedule)
    with ThreadPoolExecutor(num_decoders) as threads:
        for at in range(0, len(numbers), num_decoders):  # no more ahead than is decoded at once
            some = [int(number) for number in numbers[at : at + num_decoders]]
            yield from map(schedule.clips_of, threads.map(decoder.decode, some))


def clips_on_ray(
    schedule: ClipSchedule, numbers: Sequence[int] | Integers, *, num_decoders: int
) -> Generator[Clips, None, None]:
    """Clips of some windows in order, decoded by actors of the connected Ray cluster."""
    blocks = list(schedule.blocks(numbers))
    for at in range(0, len(blocks), BLOCKS_PER_SEGMENT):
        for window in decoded_blocks(schedule, blocks[at : at + BLOCKS_PER_SEGMENT], num_decoders):
            yield schedule.clips_of(window)


def _start_of(clip: Integers, step: NDArray[np.float64] | float) -> Integers:
    starts: Integers = np.floor(clip * step + 0.5).astype(np.int64)
    return starts


def _clip_from(frame: Integers, step: NDArray[np.float64]) -> Integers:
    """The first clip that begins at a frame or later."""
    clip: Integers = np.maximum(0, np.ceil((frame - 0.5) / step).astype(np.int64))
    clip = np.where(_start_of(clip, step) < frame, clip + 1, clip)  # what rounding misplaced
    return np.where((clip > 0) & (_start_of(clip - 1, step) >= frame), clip - 1, clip)
