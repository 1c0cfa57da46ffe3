"""Frames by decord. The only module that imports it.

decord numbers frames in the order of their presentation time, and after a seek its frames can be
silently wrong: it takes the positions of key frames from the *stored* order, so that in files with
open groups of pictures (the default of x265) frames around a key frame come out shifted, and some
demuxers land elsewhere than asked; MPEG-TS it reads wrongly even in order. The index compares its
frames with PyAV's and writes down how each file is to be read.

decord also repeats the last good frame where it cannot decode one. `fault_tol` is set so that the
first such frame is an error.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import decord
import numpy as np
from numpy.typing import NDArray

from pipelines.video.frames import Access, DecodeError
from pipelines.video.stderr import without_stderr

# Above 0 and below 1 decord reads it as a share of the frames: less than one frame is repaired.
NO_REPAIRED_FRAMES = 1e-9
DECORD_ERRORS = (decord.DECORDError, RuntimeError, IndexError, StopIteration)


@dataclass(frozen=True, kw_only=True)
class DecordView:
    """What decord takes a file for before it decodes anything."""

    num_frames: int
    """Stored frames; fewer may be shown."""
    key_frames: list[int]
    """In stored order, hence wrong in files with open groups of pictures."""


def inspect(path: str | Path) -> DecordView:
    """Open a file with decord and say what it finds.

    Raises:
        DecodeError: if decord cannot open it.
    """
    reader = _open(path, None, None)
    return DecordView(num_frames=len(reader), key_frames=reader.get_key_indices())


def read(
    path: str | Path,
    *,
    first: int,
    num_frames: int,
    width: int | None,
    height: int | None,
    access: Access,
) -> Iterator[NDArray[np.uint8]]:
    """Yield frames first .. first + num_frames - 1, each [height, width, 3] in RGB.

    Raises:
        DecodeError: at the first frame that cannot be had.
    """
    reader = _open(path, width, height)
    if first + num_frames > len(reader):
        raise DecodeError(
            path, f"frames {first} to {first + num_frames - 1} asked for, it has {len(reader)}"
        )
    try:
        _go_to(reader, first, access)
    except DECORD_ERRORS as error:
        raise DecodeError(path, _reason(error)) from error
    for number in range(num_frames):
        try:
            frame = reader.next().asnumpy()
        except decord.DECORDLimitReachedError as error:
            raise DecodeError(path, f"only {number} of {num_frames} frames") from error
        except DECORD_ERRORS as error:
            raise DecodeError(path, _reason(error)) from error
        yield _without_padding(frame)


def _open(path: str | Path, width: int | None, height: int | None) -> Any:
    if not Path(path).exists():
        raise DecodeError(path, "no such file")
    decord.logging.set_level(decord.logging.QUIET)
    try:
        with without_stderr:  # decord writes there whatever its level
            return decord.VideoReader(
                str(path),
                width=width or -1,
                height=height or -1,
                num_threads=1,
                fault_tol=NO_REPAIRED_FRAMES,
            )
    except (*DECORD_ERRORS, AssertionError) as error:
        raise DecodeError(path, _reason(error)) from error


def _go_to(reader: Any, first: int, access: Access) -> None:
    """Make `first` the reader's next frame."""
    if access.seek == "exact":
        reader.seek_accurate(first)
        return
    key_frame = access.entry(first)
    if key_frame:
        # A seek forward lands at or after its aim, a seek back at or before it; only the latter
        # finds the key frame itself, so go to the end first. Nothing is decoded on the way.
        reader.seek(len(reader) - 1)
        reader.seek(key_frame)
    for _ in range(first - key_frame):
        reader.next()  # skip_frames would seek


def _without_padding(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo what decord does at some widths (16, 32, 48, 96): padded rows pass for more channels.

    Its get_batch fails there, which is one reason to read frame by frame; it is as fast.
    """
    height, width, channels = frame.shape
    if channels == 3:
        return frame
    return frame.reshape(height, -1)[:, : 3 * width].reshape(height, width, 3)


def _reason(error: BaseException) -> str:
    """The message in decord's trace, without its clock, its source line and the failed check."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    message = re.split(r"\[\d\d:\d\d:\d\d\] \S+:\d+: ", lines[0])[-1]
    message = re.sub(r"^Check failed: .*? \(\S+ vs\. \S+\) (Thread worker: )?", "", message)
    return f"decord says {message.strip(' .')!r}"
