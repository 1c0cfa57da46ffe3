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
from dataclasses import dataclass
from typing import Any, Literal

import av

from pipelines.video.containers import Source, header_ranges, open_container, source_of
from pipelines.video.frames import Access, Decoder, Seek, resized_shape
from pipelines.video.index import content_digest
from pipelines.video.killable import Tick
from pipelines.video.pyav_reader import ToRgb, frames_of
from pipelines.video.reference import (
    CHECKED_FRAMES,
    INTO_GROUP,
    THUMBNAIL_SIDE,
    Reference,
    UnusableVideoError,
    checked_starts,
    describe,
    displayed_size,
    find_access,
)
from pipelines.video.remote_file import RemoteFile

FRAMES_IN_ORDER = 600
"""Frames from the start that are compared in order."""
CHECKED_KEY_FRAMES = 32
"""Groups of pictures, spread over the video, in which seeks are checked."""
HARMLESS_ERRORS = ("co located POCs unavailable",)
"""Reported for frames that are not shown, at the beginning of a stream that was cut."""
Check = Literal["full", "sample"]
"""How a file was checked: all of its frames decoded, or some (see `sampled`)."""


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
    check: Check
    digest: str

    @property
    def access(self) -> Access:
        """How its frames are reached."""
        return Access(
            decoder=self.decoder,
            seek=self.seek,
            key_frames=self.key_frames,
            key_times=self.key_times,
            stream=self.stream,
        )


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


def _probe(path: str, tick: Tick, try_decord: bool) -> Probe:
    source = source_of(path)
    digest = content_digest(source, tick)
    if not digest:
        raise UnusableVideoError("empty file")
    found = _reference(source, tick)
    access = find_access(source, found, tick, try_decord and not isinstance(source, RemoteFile))
    return probe_of(source, found, access, check="full", digest=digest)


def probe_of(
    source: Source, found: Reference, access: Access, *, check: Check, digest: str
) -> Probe:
    """What the index says of a file."""
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
        check=check,
        digest=digest,
    )


def _reference(path: Source, tick: Tick) -> Reference:
    """The best stream of a file that holds frames, decoded by PyAV."""
    with open_container(path) as container:
        streams = streams_of(container)
    for number in streams:
        with open_container(path) as container, decoder_errors() as errors:
            found = _decode(container, container.streams[number], errors, tick)
        if found:
            return found
    raise UnusableVideoError("no frames")


def streams_of(container: Any) -> list[int]:
    """The numbers of the streams that may hold the video, the likeliest first.

    Raises:
        UnusableVideoError: if there is none.
    """
    best = container.streams.best("video")
    streams = [s.index for s in container.streams.video if not _is_picture(s)]
    streams.sort(key=lambda index: best is None or index != best.index)
    if not streams:
        raise UnusableVideoError("no video stream")
    return streams


def _is_picture(stream: Any) -> bool:
    """Whether a stream is a cover, or nothing that FFmpeg can decode."""
    return stream.codec_context is None or bool(
        stream.disposition & av.stream.Disposition.attached_pic
    )


def _decode(container: Any, stream: Any, errors: list[Any], tick: Tick) -> Reference | None:
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
            refuse_errors(stream, errors, len(times))
        errors.clear()
        if packet.pts is not None and packet.pos is not None:
            places[packet.pts] = packet.pos
        for frame in frames:
            number = len(times)
            if sample is None:
                sample = frame
                width, height = displayed_size(stream, frame)
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
    return describe(
        stream,
        sample,
        hashes,
        times,
        key_frames,
        places,
        num_in_order=min(len(times), FRAMES_IN_ORDER),
        starts=checked_starts(key_frames, len(times), CHECKED_KEY_FRAMES),
    )


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


def refuse_errors(stream: Any, errors: list[Any], number: int) -> None:
    """Refuse a stream whose decoder has reported an error by the frame of this number.

    Raises:
        UnusableVideoError: with what it said.
    """
    name = stream.codec_context.name
    said = [text.strip() for _, source, text in errors if source == name]
    said = [text for text in said if text not in HARMLESS_ERRORS]
    if said:
        raise _damaged(stream, f"at frame {number}, {said[0]}")


def _damaged(stream: Any, what: str) -> UnusableVideoError:
    return UnusableVideoError(f"damaged or encrypted: {stream.codec_context.name}: {what}")


@contextmanager
def decoder_errors() -> Iterator[list[Any]]:
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
