"""The actors of `adassl embed` for videos: window numbers to frames, frames to embeddings."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import ray
import torch
from numpy.typing import NDArray

from adassl.encoder import Encoder
from pipelines.library.encode import ClipEncoder, What
from pipelines.video.batch import DecodedWindow, Frames
from pipelines.video.clips import ClipSchedule
from pipelines.video.frames import DecodeError
from pipelines.video.pairs import central
from pipelines.video.remote_file import RemoteFile
from pipelines.video.schedule import Window
from pipelines.video.stream import WindowDecoder, windows_of
from pipelines.video.tiles import Integers

Precision = Literal["float16", "float32"]


class ClipDecoder(WindowDecoder):
    """An actor that decodes windows and keeps, of their frames, those that clips hold."""

    def __init__(self, schedule: ClipSchedule) -> None:
        """Keep the schedule."""
        super().__init__(schedule)
        self._config = schedule.config

    def decode(self, number: int, fetched: RemoteFile | DecodeError | None = None) -> DecodedWindow:
        """Read one window; a file that fails gives the reason in place of frames."""
        window = super().decode(number, fetched)
        if window.frames is None:
            return window
        used = frames_used(self._schedule.window(number), self._config.frames_per_clip)
        return replace(window, frames=central(window.frames, self._config.frame_size)[used])


def frames_used(window: Window, length: int) -> Integers:
    """The frames of a window, counted within it, that its clips hold, each once."""
    frames: Integers = np.unique(window.starts[:, None] + np.arange(length))
    return frames


class WindowEncoder:
    """An actor that encodes the clips of windows that a `ClipDecoder` decoded."""

    def __init__(
        self, schedule: ClipSchedule, encoder: Any, what: What, precision: Precision
    ) -> None:
        """Take the encoder from Ray's object store."""
        self._schedule, self._precision = schedule, np.dtype(precision)
        self._encode = sent_encoder(ray.get(encoder), what)

    def __call__(self, block: pa.Table) -> pa.Table:
        """Encode the clips of a block; the table is that of `embed.embedded`."""
        length = self._schedule.config.frames_per_clip
        clips: list[Frames] = []
        video: list[int] = []
        start: list[int] = []
        error: list[str | None] = []
        for decoded in windows_of(block):
            window = self._schedule.window(decoded.number)
            video += [window.video] * len(window.starts)
            start += (window.first + window.starts).tolist()
            error += [decoded.error] * len(window.starts)
            if decoded.frames is not None:
                at = np.searchsorted(frames_used(window, length), window.starts)
                clips += [decoded.frames[first : first + length] for first in at]
        return encoded_table(
            self._encode, clips, self._precision, video=video, start=start, error=error
        )


class DecodingEncoder:
    """An actor that decodes and encodes."""

    def __init__(
        self, schedule: ClipSchedule, encoder: Any, what: What, precision: Precision
    ) -> None:
        """Make both parts."""
        self._decode = ClipDecoder(schedule)
        self._encode = WindowEncoder(schedule, encoder, what, precision)

    def __call__(self, block: pa.Table) -> pa.Table:
        """From window numbers to the table of `embed.embedded`."""
        return self._encode(self._decode(block))


def sent_encoder(encoder: Encoder, what: What) -> ClipEncoder:
    """An encoder from Ray's object store, for this actor."""
    if not torch.cuda.is_available():
        torch.set_num_threads(1)  # the core of this actor; the others have theirs
    return ClipEncoder(copy.deepcopy(encoder), what)


def encoded_table(
    encode: ClipEncoder,
    clips: Sequence[NDArray[Any]],
    precision: np.dtype[Any],
    *,
    video: list[int],
    start: list[int],
    error: list[str | None],
) -> pa.Table:
    """The table of `embed.embedded`.

    Args:
        encode: the encoder.
        clips: those that could be read, in order.
        precision: of the vectors.
        video: number of the video, or entry, of each clip that is due.
        start: its first frame.
        error: why it could not be read; None where it could.
    """
    columns = {"video": pa.array(video, pa.int64()), "start": pa.array(start, pa.int64())}
    if not clips:
        return pa.table({**columns, "error": pa.array(error, pa.string())})
    with np.errstate(over="ignore"):  # beyond float16: not finite, and said below
        found = {k: v.astype(precision) for k, v in encode(clips).items()}
    is_finite = np.all([np.isfinite(v).all(axis=1) for v in found.values()], axis=0)
    has_clip = np.array([reason is None for reason in error])
    row_of = np.cumsum(has_clip) - 1  # of the clips; of the others any
    for row in np.flatnonzero(has_clip):
        if not is_finite[row_of[row]]:
            error[row] = f"an embedding is not finite in {precision}"
    vectors = {name: _fixed(v[np.maximum(0, row_of)]) for name, v in found.items()}
    return pa.table({**columns, "error": pa.array(error, pa.string()), **vectors})


def _fixed(vectors: NDArray[Any]) -> pa.Array:
    """Vectors [clips, dim] as lists of a fixed size."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
