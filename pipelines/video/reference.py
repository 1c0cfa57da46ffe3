"""What PyAV finds in a file, by which decord is judged: the way to read it follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from pipelines.video import decord_reader
from pipelines.video.decode import read_window
from pipelines.video.frames import Access, DecodeError, resized_shape
from pipelines.video.killable import Tick
from pipelines.video.pyav_reader import clockwise

THUMBNAIL_SIDE = 32
"""Short side of the frames that are compared, pixels."""
CHECKED_FRAMES = 3
INTO_GROUP = 8
"""Frames from a key frame to where a group is entered in its middle, by a second seek."""
RATE_TOLERANCE = 0.1
"""Share by which a container's frame rate may differ from the one measured."""


class UnusableVideoError(ValueError):
    """A file that cannot be trained on; the message is `kind` or `kind: detail`."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What PyAV finds in a file."""

    stream: int
    codec: str
    fps: float
    duration_seconds: float
    width: int
    height: int
    rotation: int
    num_frames: int
    hashes: dict[int, int]
    """Of the thumbnails of the frames that may be compared, by the frame's number."""
    key_frames: list[int]
    key_times: list[int] | None
    """None where frames share a time or have none."""
    num_in_order: int
    """Frames from the start that decord has to deliver in order as PyAV does."""
    starts: list[int]
    """First frames of the windows that are compared after a seek."""

    @property
    def thumbnail(self) -> tuple[int, int]:
        """Width and height of the frames that are compared."""
        return resized_shape(self.width, self.height, THUMBNAIL_SIDE)


def displayed_size(stream: Any, frame: Any) -> tuple[int, int]:
    """Width and height after rotation, with square pixels."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    width, height = max(1, round(frame.width * aspect)), frame.height
    return (height, width) if clockwise(frame) in (90, 270) else (width, height)


def describe(
    stream: Any,
    frame: Any,
    hashes: dict[int, int],
    times: Sequence[int | None],
    key_frames: list[int],
    *,
    num_in_order: int,
    starts: list[int],
) -> Reference:
    """A stream by one of its frames and the times of all.

    Raises:
        UnusableVideoError: if nothing tells how fast its frames follow each other.
    """
    known = [time for time in times if time is not None]
    ordered = len(known) == len(times) and all(a < b for a, b in pairwise(known))
    span = (max(known) - min(known)) * stream.time_base if known else Fraction(0)
    measured = Fraction(len(times) - 1) / span if span and ordered else None
    rate = stream.average_rate or stream.guessed_rate
    if measured and (not rate or abs(rate / measured - 1) > RATE_TOLERANCE):
        rate = measured
    if not rate:
        raise UnusableVideoError("no frame rate")
    seconds = span if ordered else (len(times) - 1) / rate
    width, height = displayed_size(stream, frame)
    return Reference(
        stream=stream.index,
        codec=stream.codec_context.codec.canonical_name,
        fps=float(rate),
        duration_seconds=float(seconds + 1 / rate),
        width=width,
        height=height,
        rotation=clockwise(frame),
        num_frames=len(times),
        hashes=hashes,
        key_frames=key_frames,
        key_times=[known[number] for number in key_frames] if ordered else None,
        num_in_order=num_in_order,
        starts=starts,
    )


def find_access(path: str, found: Reference, tick: Tick, try_decord: bool) -> Access:
    """The first way to read under which every frame checked is PyAV's in order."""
    decord = Access(decoder="decord", seek="start", key_frames=found.key_frames)
    pyav = replace(decord, decoder="pyav", stream=found.stream)
    ways: list[Access] = []
    in_order = try_decord and _same_in_order(path, found, decord, tick)
    if in_order:
        # Where decord has the key frames wrong, some windows could miss those it gets wrong.
        if decord_reader.inspect(path).key_frames == found.key_frames:
            ways.append(replace(decord, seek="exact"))
        ways.append(replace(decord, seek="key_frame"))
    if found.key_times:
        ways.append(replace(pyav, seek="key_frame", key_times=found.key_times))
    for way in ways:
        if all(_same_window(path, found, way, start, tick) for start in found.starts):
            return way
    return decord if in_order and found.num_frames == found.num_in_order else pyav


def _same_in_order(path: str, found: Reference, access: Access, tick: Tick) -> bool:
    """Whether decord delivers the first frames as PyAV does: of a short video, all of them."""
    width, height = found.thumbnail
    num_frames = found.num_in_order
    try:
        frames = decord_reader.read(
            path, first=0, num_frames=num_frames, width=width, height=height, access=access
        )
        for number, frame in enumerate(frames):
            if hash(frame.tobytes()) != found.hashes[number]:
                return False
            tick(0.5 + number / num_frames / 2)
    except DecodeError:
        return False
    return True


def checked_starts(key_frames: list[int], num_frames: int, most_groups: int) -> list[int]:
    """Some key frames, spread over the video, for each a frame soon after it, and the end."""
    groups = list(pairwise([*key_frames, num_frames]))
    starts = {max(0, num_frames - CHECKED_FRAMES)}
    for first, end in (groups[n] for n in spread(len(groups), most_groups)):
        starts |= {first, min(first + INTO_GROUP, end - 1)}
    return sorted(starts - {0})


def spread(count: int, most: int) -> list[int]:
    """At most so many of the numbers below a count, the first and the last among them."""
    numbers: list[int] = np.unique(np.linspace(0, count - 1, most).round().astype(int)).tolist()
    return numbers


def _same_window(path: str, found: Reference, access: Access, first: int, tick: Tick) -> bool:
    end = min(first + CHECKED_FRAMES, found.num_frames)
    expected = [found.hashes[number] for number in range(first, end)]
    width, height = found.thumbnail
    tick(1.0)
    try:
        window = read_window(
            path, first=first, num_frames=len(expected), width=width, height=height, access=access
        )
    except DecodeError:
        return False
    return [hash(frame.tobytes()) for frame in window] == expected
