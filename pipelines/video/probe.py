"""What is in one video file, found by decoding all of it.

A count of packets lies for damaged files, and decord's frames can be wrong, after a seek and in
order. So PyAV decodes every frame in order, and hashes of small copies are kept; then decord's
frames are compared with them, in order and after seeks. Where decord cannot do it, PyAV decodes the
file. Of a long video, only the first frames are compared in order: to make a small copy costs as
much as to decode, and decord makes one of every frame.

Decoders conceal errors: a damaged or encrypted stream gives as many frames as a sound one. The
flags of the frames and the errors that the decoder reports show it.

In VP8 they hardly ever show bytes that were changed within a frame: its stream holds nothing to
check its data by, and both decoders of FFmpeg (vp8, libvpx) noticed at most 1 of 20 such files and
15 of 20 that were cut. The rest count as usable.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import numpy as np

from pipelines.video import decord_reader
from pipelines.video.containers import Source, header_ranges, open_container, source_of
from pipelines.video.decode import read_window
from pipelines.video.frames import Access, DecodeError, Decoder, Seek, resized_shape
from pipelines.video.index import content_digest
from pipelines.video.killable import Tick
from pipelines.video.pyav_reader import ToRgb, clockwise, frames_of
from pipelines.video.remote_file import RemoteFile

THUMBNAIL_SIDE = 32
"""Short side of the frames that are compared, pixels."""
FRAMES_IN_ORDER = 600
"""Frames from the start that are compared in order."""
CHECKED_KEY_FRAMES = 32
"""Groups of pictures, spread over the video, in which seeks are checked."""
CHECKED_FRAMES = 3
CHECKED_STARTS_OF_OTHER = 8
"""Seeks by which PyAV is checked where decord is taken."""
INTO_GROUP = 8
"""Frames from a key frame to where a group is entered in its middle, by a second seek."""
HARMLESS_ERRORS = ("co located POCs unavailable",)
"""Reported for frames that are not shown, at the beginning of a stream that was cut."""
RATE_TOLERANCE = 0.1
"""Share by which a container's frame rate may differ from the one measured."""


class UnusableVideoError(ValueError):
    """A file that cannot be trained on; the message is `kind` or `kind: detail`."""


@dataclass(frozen=True, kw_only=True)
class Unusable:
    """Why a file is skipped: `kind` or `kind: detail`."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One usable video."""

    num_frames: int
    fps: float
    width: int
    height: int
    duration_seconds: float
    codec: str
    rotation: int
    key_frames: list[int]
    decoder: Decoder
    seek: Seek
    stream: int
    key_times: list[int]
    """Presentation times of the key frames, in units of the stream; empty where PyAV does not find
    the frames by them."""
    key_bytes: list[int]
    """Where their packets begin in the file; empty where that is not known."""
    header_bytes: list[int]
    """What opening the file reads of it: start, end, start, end, …"""
    digest: str


@dataclass(frozen=True, kw_only=True)
class _Reference:
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

    @property
    def thumbnail(self) -> tuple[int, int]:
        """Width and height of the frames that are compared."""
        return resized_shape(self.width, self.height, THUMBNAIL_SIDE)


def probe_video(path: str, tick: Tick, *, try_decord: bool = True) -> Probe | Unusable:
    """Decode a file in order and find out which decoder reads it, and how it seeks.

    Args:
        path: the file.
        tick: called with the share done, 0 to 1, while the probe is alive.
        try_decord: whether decord may be asked at all; on some files it hangs or crashes.
    """
    try:
        return _probe(path, tick, try_decord)
    except av.FFmpegError as error:
        return Unusable(reason=f"not a readable video: {error.strerror}")
    except FileNotFoundError:
        return Unusable(reason="unreadable: no such file")
    except OSError as error:
        return Unusable(reason=f"unreadable: {error.strerror or error}")
    except UnusableVideoError as error:
        return Unusable(reason=str(error))


def probe_without_decord(path: str, tick: Tick) -> Probe | Unusable:
    """Probe a file on which decord hung or crashed."""
    return probe_video(path, tick, try_decord=False)


def _probe(path: str, tick: Tick, try_decord: bool) -> Probe:
    source = source_of(path)
    digest = content_digest(source, tick)
    if not digest:
        raise UnusableVideoError("empty file")
    found = _reference(source, tick)
    access = _access(source, found, tick, try_decord and not isinstance(source, RemoteFile))
    second = [numbers[1:2] for numbers in (found.key_times or [], found.key_bytes)]
    time, byte = (numbers[0] if numbers else None for numbers in second)
    return Probe(
        num_frames=found.num_frames,
        fps=found.fps,
        width=found.width,
        height=found.height,
        duration_seconds=found.duration_seconds,
        codec=found.codec,
        rotation=found.rotation,
        key_frames=found.key_frames,
        decoder=access.decoder,
        seek=access.seek,
        stream=access.stream,
        key_times=list(access.key_times),
        key_bytes=found.key_bytes,
        header_bytes=header_ranges(source, found.stream, time, byte),
        digest=digest,
    )


def _reference(path: Source, tick: Tick) -> _Reference:
    """The best stream of a file that holds frames, decoded by PyAV."""
    with open_container(path) as container:
        best = container.streams.best("video")
        streams = [s.index for s in container.streams.video if not _is_picture(s)]
        streams.sort(key=lambda index: best is None or index != best.index)
    if not streams:
        raise UnusableVideoError("no video stream")
    for number in streams:
        with open_container(path) as container, _decoder_errors() as errors:
            found = _decode(container, container.streams[number], errors, tick)
        if found:
            return found
    raise UnusableVideoError("no frames")


def _is_picture(stream: Any) -> bool:
    """Whether a stream is a cover, or nothing that FFmpeg can decode."""
    return stream.codec_context is None or bool(
        stream.disposition & av.stream.Disposition.attached_pic
    )


def _decode(container: Any, stream: Any, errors: list[Any], tick: Tick) -> _Reference | None:
    hashes: dict[int, int] = {}
    times: list[int | None] = []
    places: dict[int, int] = {}
    key_frames = [0]
    sample: Any = None
    newest: deque[Any] = deque(maxlen=CHECKED_FRAMES)
    began = False
    for packet, frames in _undamaged(container, stream, times):
        began = began or bool(times) or packet.is_keyframe
        if began:
            _refuse_errors(stream, errors, len(times))
        errors.clear()
        if packet.pts is not None and packet.pos is not None:
            places[packet.pts] = packet.pos
        for frame in frames:
            number = len(times)
            if sample is None:
                sample = frame
                width, height = _displayed_size(stream, frame)
                to_rgb = ToRgb(*resized_shape(width, height, THUMBNAIL_SIDE))
            if frame.is_corrupt:
                raise _damaged(stream, f"its frame {number} has errors")
            if frame.key_frame and number:
                key_frames.append(number)
            if number < max(FRAMES_IN_ORDER, key_frames[-1] + INTO_GROUP + CHECKED_FRAMES):
                hashes[number] = hash(to_rgb(frame).tobytes())
            newest.append(frame)
            times.append(frame.pts)
        tick(min(1.0, (packet.pos or 0) / max(1, container.size)) / 2)
    if sample is None:
        return None
    for number, frame in enumerate(newest, len(times) - len(newest)):
        hashes[number] = hash(to_rgb(frame).tobytes())
    return _describe(stream, sample, hashes, times, key_frames, places)


def _undamaged(
    container: Any, stream: Any, times: list[int | None]
) -> Iterator[tuple[Any, list[Any]]]:
    """Packets and their frames, as far as the packets are whole."""
    # Joined MPEG-TS counts anew where it is joined, and its packets pass for corrupt.
    trusts_packets = container.format.name != "mpegts"
    try:
        for packet, frames in frames_of(container, stream):
            if trusts_packets and packet.size and packet.is_corrupt:
                raise _damaged(stream, f"the data of its frame {len(times)} are not whole")
            yield packet, frames
    except av.FFmpegError as error:
        if not times:
            raise
        raise _damaged(stream, f"after frame {len(times) - 1}, {error.strerror}") from error


def _refuse_errors(stream: Any, errors: list[Any], number: int) -> None:
    name = stream.codec_context.name
    said = [text.strip() for _, source, text in errors if source == name]
    said = [text for text in said if text not in HARMLESS_ERRORS]
    if said:
        raise _damaged(stream, f"at frame {number}, {said[0]}")


def _damaged(stream: Any, what: str) -> UnusableVideoError:
    return UnusableVideoError(f"damaged or encrypted: {stream.codec_context.name}: {what}")


@contextmanager
def _decoder_errors() -> Iterator[list[Any]]:
    """The errors that FFmpeg reports in this thread, as (level, name of the decoder, message)."""
    level, skip = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture(local=True) as errors:
            yield errors
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skip)


def _displayed_size(stream: Any, frame: Any) -> tuple[int, int]:
    """Width and height after rotation, with square pixels."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    width, height = max(1, round(frame.width * aspect)), frame.height
    return (height, width) if clockwise(frame) in (90, 270) else (width, height)


def _describe(
    stream: Any,
    frame: Any,
    hashes: dict[int, int],
    times: list[int | None],
    key_frames: list[int],
    places: dict[int, int],
) -> _Reference:
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
    width, height = _displayed_size(stream, frame)
    key_times = [known[number] for number in key_frames] if ordered else None
    key_bytes = [places[time] for time in key_times or () if time in places]
    return _Reference(
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
    )


def _access(path: Source, found: _Reference, tick: Tick, try_decord: bool) -> Access:
    """The first way to read under which every frame checked is PyAV's in order."""
    pyav = Access(decoder="pyav", seek="start", key_frames=found.key_frames, stream=found.stream)
    decord = replace(pyav, decoder="decord")
    by_key_frame = replace(
        pyav, seek="key_frame", key_times=found.key_times or (), key_bytes=found.key_bytes
    )
    starts = _checked_starts(found.key_frames, found.num_frames)

    def is_right(way: Access, starts: list[int]) -> bool:
        return all(_same_window(path, found, way, start, tick) for start in starts)

    in_order = try_decord and _same_in_order(path, found, decord, tick)
    if in_order:
        ways = [replace(decord, seek="key_frame")]
        # Where decord has the key frames wrong, some windows could miss those it gets wrong.
        if decord_reader.inspect(str(path)).key_frames == found.key_frames:
            ways.insert(0, replace(decord, seek="exact"))
        for way in ways:
            if is_right(way, starts):
                # PyAV reads the file if it is moved to a bucket.
                some = starts[:: max(1, len(starts) // CHECKED_STARTS_OF_OTHER)]
                also = found.key_times and is_right(by_key_frame, some)
                return replace(way, key_times=found.key_times or () if also else ())
    if found.key_times and is_right(by_key_frame, starts):
        return by_key_frame
    return decord if in_order and found.num_frames <= FRAMES_IN_ORDER else pyav


def _same_in_order(path: Source, found: _Reference, access: Access, tick: Tick) -> bool:
    """Whether decord delivers the first frames as PyAV does: of a short video, all of them."""
    width, height = found.thumbnail
    num_frames = min(found.num_frames, FRAMES_IN_ORDER)
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


def _checked_starts(key_frames: list[int], num_frames: int) -> list[int]:
    """Some key frames, spread over the video, for each a frame soon after it, and the end."""
    edges = [*key_frames, num_frames]
    groups = list(pairwise(edges))
    chosen = np.unique(np.linspace(0, len(groups) - 1, CHECKED_KEY_FRAMES).round().astype(int))
    starts = {max(0, num_frames - CHECKED_FRAMES)}
    for first, end in (groups[n] for n in chosen):
        starts |= {first, min(first + INTO_GROUP, end - 1)}
    return sorted(starts - {0})


def _same_window(path: Source, found: _Reference, access: Access, first: int, tick: Tick) -> bool:
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
