"""Frames of a few moments of a library, for pages: decoded here, one clip after another."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.config.data import DataConfig
from pipelines.video.batch import Frames
from pipelines.video.index import VideoIndex
from pipelines.video.pairs import central
from pipelines.video.schedule import Window
from pipelines.video.stream import WindowDecoder


class _Moments:
    """Clips as windows that decoders read; window t is clip t."""

    def __init__(
        self, index: VideoIndex, config: DataConfig, videos: Sequence[int], starts: Sequence[int]
    ) -> None:
        self.index, self.config = index, config
        self._videos, self._starts = videos, starts

    def window(self, number: int) -> Window:
        return Window(
            number=number,
            video=self._videos[number],
            first=self._starts[number],
            num_frames=self.config.frames_per_clip,
            starts=np.zeros(1, np.int64),
            gaps=np.zeros(1, np.int64),
            crops=np.full((1, 2), 0.5),
        )


def clips_at(
    index: VideoIndex,
    config: DataConfig,
    videos: NDArray[np.int64],
    starts: NDArray[np.int64],
) -> list[Frames | None]:
    """The clips that begin at frames of rows of an index, as an encoder sees them.

    Returns:
        uint8 [frames, height, width, channels] each; None where it cannot be decoded (any more).
    """
    decoder = WindowDecoder(_Moments(index, config, videos.tolist(), starts.tolist()))
    windows = map(decoder.decode, range(len(videos)))
    return [
        None if window.frames is None else central(window.frames, config.frame_size)
        for window in windows
    ]
