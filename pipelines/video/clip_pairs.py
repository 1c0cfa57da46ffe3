"""Pairs of clips at a stride, for a trained encoder: moments of videos, and what came a gap later.

As `clips` for single clips; a run's own pairs are cut by `schedule`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.config.data import DataConfig
from pipelines.video.batch import DecodedWindow, Frames
from pipelines.video.clips import Clips, ClipSchedule
from pipelines.video.index import VideoIndex
from pipelines.video.pairs import central
from pipelines.video.tiles import Integers


def middle_gap_frames(config: DataConfig, fps: NDArray[np.float64]) -> Integers:
    """Frames from x to x+ of videos at these rates: the middle of `data.gap`, at least one."""
    middle = sum(config.gap) / 2
    rate = fps if config.gap_unit == "seconds" else np.ones_like(fps)
    gap: Integers = np.maximum(1, np.rint(middle * rate)).astype(np.int64)
    return gap


@dataclass(frozen=True, kw_only=True)
class ClipPairs(Clips):
    """The pairs of one window, or why there are none.

    `start` and `frames` are of x; `next_frames` are those of x+, which begins `gap` frames later.
    """

    gap: int
    next_frames: Frames | None


class PairSchedule(ClipSchedule):
    """The moments at a stride of some videos, each with what came the middle of the gap later."""

    _UNIT = "a pair"

    def gap_frames(self, video: int) -> int:
        """From x to x+, of a row of `index`."""
        return int(self._length[video]) - self.config.frames_per_clip

    def clips_of(self, window: DecodedWindow) -> ClipPairs:
        """Cut the pairs of a window that was decoded."""
        about = self.window(window.number)
        gap, length = self.gap_frames(about.video), self.config.frames_per_clip
        clips = came = None
        if window.frames is not None:
            square = central(window.frames, self.config.frame_size)
            clips, came = (
                np.stack([square[at : at + length] for at in starts])
                for starts in (about.starts, about.starts + gap)
            )
        return ClipPairs(
            number=window.number,
            video=about.video,
            start=about.first + about.starts,
            frames=clips,
            error=window.error,
            gap=gap,
            next_frames=came,
        )

    def _frames_needed(self, index: VideoIndex) -> Integers:
        return middle_gap_frames(self.config, index.fps) + self.config.frames_per_clip
