"""Frames from video files. The only module that imports decord.

decord numbers frames in the order of their presentation time, and after a seek its frames can be
silently wrong: it takes the positions of key frames from the *stored* order, so that in files with
open groups of pictures (the default of x265) frames around a key frame come out shifted, and some
demuxers land elsewhere than asked. The index tries each file and writes down how to seek in it:

    exact       decord's own seek, which checks where it landed by the frame's time
    key_frame   back from the end to a key frame that the index knows, then frame by frame
    start       no seek at all: every frame from the first one

decord also repeats the last good frame where it cannot decode one. `fault_tol` is set so that the
first such frame is an error.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import decord
import numpy as np
from numpy.typing import NDArray

Seek = Literal["exact", "key_frame", "start"]
SEEKS: tuple[Seek, ...] = get_args(Seek)

# Above 0 and below 1 decord reads it as a share of the frames: less than one frame is repaired.
NO_REPAIRED_FRAMES = 1e-9
LUMA_601 = (77, 150, 29)
"""ITU-R BT.601 luma in 256ths."""
DECORD_ERRORS = (decord.DECORDError, RuntimeError, IndexError, StopIteration)


class DecodeError(RuntimeError):
    """A file whose frames cannot be had."""

    def __init__(self, path: str | Path, reason: str) -> None:
        """Keep the two apart, so that reasons can be counted."""
        super().__init__(path, reason)
        self.path, self.reason = str(path), reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class DecordView:
    """What decord takes a file for before it decodes anything."""

    num_frames: int
    """Stored frames; fewer may be shown."""
    key_frames: list[int]
    """In stored order, hence wrong in files with open groups of pictures."""


def read_window(
    path: str | Path,
    *,
    first: int,
    num_frames: int,
    width: int | None = None,
    height: int | None = None,
    grayscale: bool = False,
    seek: Seek = "exact",
    key_frames: Sequence[int] | NDArray[np.integer[Any]] = (0,),
) -> NDArray[np.uint8]:
    """Read frames first .. first + num_frames - 1 in presentation order.

    Args:
        path: the file.
        first: number of the first frame, as reading from the start counts them.
        num_frames: how many.
        width: of the frames returned, pixels, as displayed (after rotation); None: the file's own.
        height: likewise.
        grayscale: one channel, BT.601 luma, in place of RGB.
        seek: how to get to `first` in this file, from its index.
        key_frames: the file's key frames, from its index; used by seek="key_frame" alone.

    Returns:
        Array [num_frames, height, width, 1 or 3].

    Raises:
        DecodeError: if the file does not give those frames.
        ValueError: if the range or the way to seek makes no sense.
    """
    if first < 0 or num_frames < 1:
        raise ValueError(
            f"first={first}, num_frames={num_frames}: frames count from 0, and one must be read"
        )
    if seek not in SEEKS:
        raise ValueError(f"seek={seek!r}: it must be one of {', '.join(SEEKS)}")
    reader = _open(path, width, height)
    if first + num_frames > len(reader):
        raise DecodeError(
            path, f"frames {first} to {first + num_frames - 1} asked for, it has {len(reader)}"
        )
    try:
        _go_to(reader, first, seek, key_frames)
    except DECORD_ERRORS as error:
        raise DecodeError(path, _reason(error)) from error
    frames = _next_frames(reader, path, num_frames)
    return np.stack([luma(frame) if grayscale else frame for frame in frames])


def read_in_order(
    path: str | Path, *, num_frames: int, width: int, height: int
) -> Iterator[NDArray[np.uint8]]:
    """Yield frames 0 .. num_frames - 1, [height, width, 3], as no seek can disturb them.

    Raises:
        DecodeError: at the first frame that cannot be decoded.
    """
    yield from _next_frames(_open(path, width, height), path, num_frames)


def look(path: str | Path) -> DecordView:
    """Open a file with decord and say what it finds."""
    reader = _open(path, None, None)
    return DecordView(num_frames=len(reader), key_frames=reader.get_key_indices())


def last_key_frame(first: int, key_frames: Sequence[int] | NDArray[np.integer[Any]]) -> int:
    """The key frame at or before a frame; 0 where none is known."""
    at = int(np.searchsorted(np.asarray(key_frames), first, side="right")) - 1
    return int(key_frames[at]) if at >= 0 else 0


def decoded_frames(
    first: int,
    num_frames: int,
    key_frames: Sequence[int] | NDArray[np.integer[Any]],
    seek: Seek = "exact",
) -> int:
    """Frames that must be decoded to read a window: those asked for and those on the way."""
    entry = 0 if seek == "start" else last_key_frame(first, key_frames)
    return first - entry + num_frames


def resized_shape(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Width and height with the short side as given and the aspect kept, rounded to pixels."""
    if min(width, height, short_side) < 1:
        raise ValueError(f"{width}x{height} to a short side of {short_side}: all must be positive")
    scale = short_side / min(width, height)
    return max(short_side, round(width * scale)), max(short_side, round(height * scale))


def luma(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB [.., 3] to BT.601 luma [.., 1], in integers."""
    red, green, blue = (np.multiply(frames[..., c], LUMA_601[c], dtype=np.uint16) for c in range(3))
    return ((red + green + blue + 128) >> 8).astype(np.uint8)[..., None]


def _open(path: str | Path, width: int | None, height: int | None) -> Any:
    if not Path(path).exists():
        raise DecodeError(path, "no such file")
    decord.logging.set_level(decord.logging.QUIET)
    try:
        return decord.VideoReader(
            str(path),
            width=width or -1,
            height=height or -1,
            num_threads=1,
            fault_tol=NO_REPAIRED_FRAMES,
        )
    except (*DECORD_ERRORS, AssertionError) as error:
        raise DecodeError(path, _reason(error)) from error


def _go_to(
    reader: Any, first: int, seek: Seek, key_frames: Sequence[int] | NDArray[np.integer[Any]]
) -> None:
    """Make `first` the reader's next frame."""
    if seek == "exact":
        reader.seek_accurate(first)
        return
    key_frame = last_key_frame(first, key_frames) if seek == "key_frame" else 0
    if key_frame:
        # A seek forward lands at or after its aim, a seek back at or before it; only the latter
        # finds the key frame itself, so go to the end first. Nothing is decoded on the way.
        reader.seek(len(reader) - 1)
        reader.seek(key_frame)
    for _ in range(first - key_frame):
        reader.next()  # skip_frames would seek


def _next_frames(reader: Any, path: str | Path, num_frames: int) -> Iterator[NDArray[np.uint8]]:
    for number in range(num_frames):
        try:
            frame = reader.next().asnumpy()
        except decord.DECORDLimitReachedError as error:
            raise DecodeError(path, f"only {number} of {num_frames} frames") from error
        except DECORD_ERRORS as error:
            raise DecodeError(path, _reason(error)) from error
        yield _without_padding(frame)


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
