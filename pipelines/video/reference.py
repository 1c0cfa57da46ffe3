"""What PyAV finds in a file, by which decord is judged: the way to read it follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from pipelines.video import decord_reader
from pipelines.video.containers import Source
from pipelines.video.decode import read_window
from pipelines.video.frames import Access, DecodeError, resized_shape
from pipelines.video.killable import Tick
from pipelines.video.pyav_reader import clockwise

THUMBNAIL_SIDE = 32
"""Short side of the frames that are compared, pixels."""
CHECKED_FRAMES = 3
CHECKED_STARTS_OF_OTHER = 8
"""Seeks by which PyAV is checked where decord is taken."""
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
    key_bytes: list[int]
    """Where their packets begin in the file; empty where that is not known."""
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
    places: Mapping[int, int],
    *,
    num_in_order: int,
    starts: list[int],
) -> Reference:
    """A stream by one of its frames, the times of all, and the places of packets by their times.

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
    key_times = [known[number] for number in key_frames] if ordered else None
    key_bytes = [places[time] for time in key_times or () if time in places]
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
        key_times=key_times,
        key_bytes=key_bytes if len(key_bytes) == len(key_frames) else [],
        num_in_order=num_in_order,
        starts=starts,
    )


def find_access(path: Source, found: Reference, tick: Tick, try_decord: bool) -> Access:
    """The first way to read under which every frame checked is PyAV's in order."""
    pyav = Access(decoder="pyav", seek="start", key_frames=found.key_frames, stream=found.stream)
    decord = replace(pyav, decoder="decord")
    by_key_frame = replace(
        pyav, seek="key_frame", key_times=found.key_times or (), key_bytes=found.key_bytes
    )

    def is_right(way: Access, starts: list[int]) -> bool:
        return all(_same_window(path, found, way, start, tick) for start in starts)

    in_order = try_decord and _same_in_order(path, found, decord, tick)
    if in_order:
        ways = [replace(decord, seek="key_frame")]
        # Where decord has the key frames wrong, some windows could miss those it gets wrong.
        if decord_reader.inspect(str(path)).key_frames == found.key_frames:
            ways.insert(0, replace(decord, seek="exact"))
        for way in ways:
            if is_right(way, found.starts):
                # PyAV reads the file if it is moved to a bucket.
                some = found.starts[:: max(1, len(found.starts) // CHECKED_STARTS_OF_OTHER)]
                also = found.key_times and is_right(by_key_frame, some)
                return replace(way, key_times=found.key_times or () if also else ())
    if found.key_times and is_right(by_key_frame, found.starts):
        return by_key_frame
    return decord if in_order and found.num_frames == found.num_in_order else pyav


def _same_in_order(path: Source, found: Reference, access: Access, tick: Tick) -> bool:
    """Whether decord delivers the first frames as PyAV does: of a short video, all of them."""
    width, height = found.thumbnail
    num_frames = found.num_in_order
    try:
        frames = decord_reader.read(
            str(path), first=0, num_frames=num_frames, width=width, height=height, access=access
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


def _same_window(path: Source, found: Reference, access: Access, first: int, tick: Tick) -> bool:
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
