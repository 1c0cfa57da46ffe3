"""Frames from video files, by decord or by PyAV, whichever the index names for a file."""

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.video import decord_reader, pyav_reader
from pipelines.video.containers import Source, source_of
from pipelines.video.frames import Access, luma
from pipelines.video.remote_file import RemoteFile

CONVERTED_BYTES = 2**17
"""Frames of so many bytes go to grey at once: enough for the calls not to count, and few enough to
stay in the processor's cache."""


def read_frames(
    path: Source,
    *,
    first: int,
    num_frames: int,
    width: int | None,
    height: int | None,
    access: Access | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames that `read_window` would return together, one by one, in RGB.

    Raises:
        DecodeError: at the first frame that cannot be had.
    """
    access = access or Access()
    path = source_of(path)
    wanted: dict[str, Any] = {
        "first": first,
        "num_frames": num_frames,
        "width": width,
        "height": height,
    }
    if access.decoder == "pyav" or isinstance(path, RemoteFile):
        return pyav_reader.read(path, access=access, **wanted)
    return decord_reader.read(path, access=access, **wanted)


def read_window(
    path: Source,
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
        path: the file, or an object, which only PyAV decodes.
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
    frames = read_frames(
        path, first=first, num_frames=num_frames, width=width, height=height, access=access
    )
    frame = next(frames)
    window = np.empty((num_frames, *frame.shape[:2], 1 if grayscale else 3), np.uint8)
    rest, together = chain([frame], frames), max(1, CONVERTED_BYTES // frame.nbytes)
    for at in range(0, num_frames, together):
        some = list(islice(rest, together))
        window[at : at + together] = luma(np.stack(some)) if grayscale else some
    return window
