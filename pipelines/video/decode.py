"""Frames from video files, by decord or by PyAV, whichever the index names for a file."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.video import decord_reader, pyav_reader
from pipelines.video.frames import Access, luma

_READERS = {"decord": decord_reader.read, "pyav": pyav_reader.read}


def read_window(
    path: str | Path,
    *,
    first: int,
    num_frames: int,
    width: int | None = None,
    height: int | None = None,
    grayscale: bool = False,
    access: Access | None = None,
) -> NDArray[np.uint8]:
    """Read frames first .. first + num_frames - 1 in presentation order.

    Args:
        path: the file.
        first: number of the first frame, as reading from the start counts them.
        num_frames: how many.
        width: of the frames returned, pixels, as displayed (after rotation); None: the file's own.
        height: likewise.
        grayscale: one channel, BT.601 luma, in place of RGB.
        access: how the frames of this file are reached, from its index; None: by decord.

    Returns:
        Array [num_frames, height, width, 1 or 3].

    Raises:
        DecodeError: if the file does not give those frames.
        ValueError: if the range makes no sense.
    """
    if first < 0 or num_frames < 1:
        raise ValueError(
            f"first={first}, num_frames={num_frames}: frames count from 0, and one must be read"
        )
    access = access or Access()
    frames = _READERS[access.decoder](
        path, first=first, num_frames=num_frames, width=width, height=height, access=access
    )
    return np.stack([luma(frame) if grayscale else frame for frame in frames])
