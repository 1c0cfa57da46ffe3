"""What every decoder shares: how a file's frames are reached, and what a frame looks like.

Frames are numbered in the order in which FFmpeg's decoder delivers them, which is the order of
presentation; frames that an edit list hides have no number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pipelines.storage.objects import Stamp

Numbers = Sequence[int] | NDArray[np.integer[Any]]
Decoder = Literal["decord", "pyav"]
Seek = Literal["exact", "key_frame", "start"]
SEEKS: dict[Decoder, tuple[Seek, ...]] = {"decord": get_args(Seek), "pyav": ("key_frame", "start")}
"""exact: decord's own seek, which checks where it landed by the frame's time; key_frame: back to a
key frame that the index knows, then frame by frame; start: every frame from the first one."""

LUMA_601 = (77, 150, 29)
"""ITU-R BT.601 luma in 256ths."""


class DecodeError(RuntimeError):
    """A file that does not give the frames asked for."""

    def __init__(self, path: object, reason: str) -> None:
        """Keep the two apart, so that reasons can be counted."""
        super().__init__(path, reason)
        self.path, self.reason = str(path), reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Access:
    """How the frames of one file are reached, as its probe found out.

    `stream` and `key_times` serve PyAV alone; decord always takes the stream that FFmpeg deems
    best. `key_times` are the presentation times of `key_frames`, in units of the stream, and
    `key_bytes` where their packets begin in the file; `header_bytes` are the ranges that opening
    the file reads: start, end, start, end, … What is not known is empty. `stamp` tells a remote
    file that was replaced.
    """

    decoder: Decoder = "decord"
    seek: Seek = "exact"
    key_frames: Numbers = (0,)
    key_times: Numbers = ()
    key_bytes: Numbers = ()
    header_bytes: Numbers = ()
    stream: int = 0
    stamp: Stamp | None = None

    def __post_init__(self) -> None:
        """Refuse what no decoder offers."""
        if self.decoder not in SEEKS:
            raise ValueError(f"decoder={self.decoder!r}: it must be one of {', '.join(SEEKS)}")
        if self.seek not in SEEKS[self.decoder]:
            raise ValueError(
                f"seek={self.seek!r} with {self.decoder}: it must be one of "
                + ", ".join(SEEKS[self.decoder])
            )

    def entry(self, first: int) -> int:
        """Number of the frame at which decoding begins in order to read from `first` on."""
        return 0 if self.seek == "start" else last_key_frame(first, self.key_frames)

    def group_end(self, last: int) -> int | None:
        """Number of the first key frame behind a frame; None where none is known."""
        at = int(np.searchsorted(np.asarray(self.key_frames), last, side="right"))
        return int(self.key_frames[at]) if at < len(self.key_frames) else None

    def decoded_frames(self, first: int, num_frames: int) -> int:
        """Frames that must be decoded to read a window: those asked for and those on the way."""
        return first - self.entry(first) + num_frames


def last_key_frame(first: int, key_frames: Numbers) -> int:
    """The key frame at or before a frame; 0 where none is known."""
    at = int(np.searchsorted(np.asarray(key_frames), first, side="right")) - 1
    return int(key_frames[at]) if at >= 0 else 0


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
