"""What is in one video file, found from its container and by decoding some of it.

The container tells how many frames there are, when each is shown and which are key frames, and some
groups of pictures are decoded: each frame of them must come at the time that the container says,
and each group entered by a seek must give what it gives when decoded through from the group before.
What decides which decoder reads the file is the same as in the full check, over fewer windows.

Only a file that says everything surely passes: MP4 or Matroska, a codec whose packets are frames,
times that differ, no frame without a time, nothing hidden but the beginning or the end. Every other
file, and one in which anything else is found than was expected, is checked in full, so that the
numbers of frames and the reasons of files that are skipped are always those of the full check.

What this cannot see is damage inside the groups that are not decoded.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase
from itertools import pairwise
from typing import Any, BinaryIO, Self

import av

from pipelines.storage.objects import is_remote
from pipelines.video.containers import open_container, opened_bytes, source_of
from pipelines.video.frames import Access, last_key_frame, resized_shape
from pipelines.video.index import sample_digest
from pipelines.video.killable import Tick
from pipelines.video.probe import (
    Probe,
    Unusable,
    decoder_errors,
    probe_of,
    probe_video,
    refuse_errors,
    streams_of,
)
from pipelines.video.pyav_reader import ToRgb, frames_from
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
    spread,
)

SAMPLED_GROUPS = 3
"""Groups of pictures that are decoded: the first, the last, and one in the middle."""
SAMPLED_IN_ORDER = 64
"""Frames from the start that are compared in order."""
SURE_CONTAINERS = ("mov,", "matroska,")
SURE_CODECS = ("av1", "h264", "hevc", "mjpeg", "prores", "vp9")
"""One packet is one frame. Not so VP8, whose hidden frames are packets of their own."""


class _NotSureError(Exception):
    """Something that only the full check can decide."""


def probe_sampled(path: str, tick: Tick, *, try_decord: bool = True) -> Probe | Unusable:
    """Check a file by its container and a sample, or in full where that is not sure.

    Args:
        path: the file.
        tick: called with the share done, 0 to 1, while the probe is alive.
        try_decord: whether decord may be asked at all; on some files it hangs or crashes.
    """
    try:
        found = _reference(path, tick)
        source = source_of(path)
        access = find_access(source, found, tick, try_decord and not is_remote(path))
        if access.seek != "start":
            digest = sample_digest(source)
            return probe_of(source, found, access, check="sample", digest=digest)
    except (_NotSureError, av.FFmpegError, OSError, UnusableVideoError):
        pass
    return probe_video(path, tick, try_decord=try_decord)


@dataclass(frozen=True, kw_only=True)
class _Listed:
    """The frames of a stream as its container lists them, in the order in which they are shown."""

    times: list[int]
    """Of each frame, in units of the stream; they ascend."""
    key_frames: list[int]
    """Their numbers; the first frame shown counts as one."""
    places: dict[int, int]
    """Where the packet of each time begins in the file."""


def _reference(path: str, tick: Tick) -> Reference:
    with open_container(path) as container:
        if not container.format.name.startswith(SURE_CONTAINERS):
            raise _NotSureError
        for number in streams_of(container):
            if container.streams[number].codec_context.codec.canonical_name not in SURE_CODECS:
                raise _NotSureError
            listed = _list_frames(path, number, tick)
            if listed:
                return _decode_sample(path, container, container.streams[number], listed, tick)
    raise _NotSureError


def _list_frames(path: str, number: int, tick: Tick) -> _Listed | None:
    """The frames of a stream, without decoding any; None where it holds no packet."""
    packets: list[Any] = []
    with opened_bytes(path) as file, _Hollow(file) as hollow, av.open(hollow) as container:
        assert isinstance(container, av.container.InputContainer)
        stream = container.streams[number]
        for other in container.streams:
            if other is not stream:
                other.discard = av.stream.Discard.all
        is_mov = container.format.name.startswith("mov,")
        if is_mov:
            hollow.leave_out(
                (entry.pos, entry.size) for s in container.streams for entry in s.index_entries
            )
        for packet in container.demux(stream):
            if packet.size or packet.pts is not None:  # the last one is neither
                packets.append(_Packet.of(packet))
            tick(0.1)
        # A parser takes the flag of a packet from what is in it, which was left out.
        marked = {e.pos for e in stream.index_entries if e.is_keyframe} if is_mov else None
    if not packets:
        return None
    keys = [p for p in packets if (p.is_key if marked is None else p.pos in marked)]
    times = sorted(packet.time for packet in packets if not packet.is_hidden)
    hidden = [packet.time for packet in packets if packet.is_hidden]
    sure = (
        times
        and all(a < b for a, b in pairwise(times))
        and all(time < times[0] or time > times[-1] for time in hidden)
        # Frames shown before the first key frame but stored after it cannot be decoded.
        and keys
        and keys[0] is packets[0]
        and keys[0].time <= times[0]
    )
    if not sure:
        raise _NotSureError
    shown_keys = (bisect_left(times, key.time) for key in keys if not key.is_hidden)
    places = {packet.time: packet.pos for packet in packets}
    return _Listed(times=times, key_frames=sorted({0, *shown_keys}), places=places)


@dataclass(frozen=True, slots=True)
class _Packet:
    """What counts of a packet."""

    time: int
    pos: int
    is_key: bool
    is_hidden: bool

    @classmethod
    def of(cls, packet: Any) -> Self:
        if packet.pts is None or packet.pos is None or not packet.size or packet.is_corrupt:
            raise _NotSureError
        return cls(packet.pts, packet.pos, packet.is_keyframe, packet.is_discard)


def _decode_sample(
    path: str, container: Any, stream: Any, listed: _Listed, tick: Tick
) -> Reference:
    """Decode some groups of pictures and see that they are as listed."""
    times, keys = listed.times, listed.key_frames
    starts = checked_starts(keys, len(times), SAMPLED_GROUPS)
    num_in_order = min(len(times), SAMPLED_IN_ORDER)
    wanted = set(range(num_in_order)).union(*(range(s, s + CHECKED_FRAMES) for s in starts))
    hashes: dict[int, int] = {}
    sample: Any = None
    to_rgb: Any = None
    runs = _runs(keys, len(times))
    for place, run in enumerate(runs):
        for number, frame in zip(run, _frames(path, stream.index, listed, run), strict=True):
            if sample is None:
                sample = frame
                width, height = displayed_size(stream, frame)
                to_rgb = ToRgb(*resized_shape(width, height, THUMBNAIL_SIDE))
            if number in wanted:
                hashes[number] = hash(to_rgb(frame).tobytes())
            tick(0.1 + 0.4 * (place + (number - run.start) / len(run)) / len(runs))
    return describe(
        stream,
        sample,
        hashes,
        times,
        keys,
        listed.places,
        num_in_order=num_in_order,
        starts=starts,
    )


def _runs(keys: list[int], num_frames: int) -> list[range]:
    """The frames to decode: the beginning, some groups and the ones before them, and the end."""
    *chosen, last = spread(len(keys), SAMPLED_GROUPS)
    end = last_key_frame(min(keys[last], max(0, num_frames - CHECKED_FRAMES)), keys)
    runs = [range(min(num_frames, SAMPLED_IN_ORDER))]
    runs += [range(keys[g - 1], keys[g] + INTO_GROUP + CHECKED_FRAMES) for g in chosen if g]
    runs += [range(end, num_frames)]
    joined = runs[:1]
    for run in runs[1:]:
        if run.start > joined[-1].stop:
            joined.append(run)
        else:
            joined[-1] = range(joined[-1].start, max(joined[-1].stop, min(run.stop, num_frames)))
    return joined


def _frames(path: str, stream_number: int, listed: _Listed, run: range) -> Iterator[Any]:
    """Decode a run of frames, each of which must come when it is due, without an error."""
    times = listed.times
    access = Access(
        decoder="pyav",
        seek="key_frame",
        key_frames=listed.key_frames,
        key_times=[times[number] for number in listed.key_frames],
    )
    keys = set(listed.key_frames[1:])
    with open_container(path) as container, decoder_errors() as errors:
        stream = container.streams[stream_number]
        frames = frames_from(container, stream, run.start, access)
        for number in run:
            frame = next(frames, None)
            if frame is None:
                raise _NotSureError
            if number == run.start:  # on the way to a key frame, some frames are not whole
                errors.clear()
            refuse_errors(stream, errors, number)
            wrong_key = number in keys and not frame.key_frame
            if (
                frame.pts != times[number]
                or frame.is_corrupt
                or frame.interlaced_frame
                or wrong_key
            ):
                raise _NotSureError
            yield frame
        if run.stop == len(times) and next(frames, None) is not None:
            raise _NotSureError


class _Hollow(RawIOBase):
    """A file of which parts are not read: they pass for zeros.

    A list of its packets can be had from a container without reading what is in them.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Read all of the file, until parts of it are left out."""
        self._file = file
        self._size = file.seek(0, SEEK_END)
        self._at = 0
        self._starts: list[int] = []
        self._ends: list[int] = []

    def leave_out(self, parts: Iterable[tuple[int, int]]) -> None:
        """Leave out parts of the file: where each begins, and how long it is."""
        for start, size in sorted(parts):
            end = min(start + size, self._size)
            if self._ends and start <= self._ends[-1]:
                self._ends[-1] = max(end, self._ends[-1])
            elif start < end:
                self._starts.append(start)
                self._ends.append(end)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Go somewhere."""
        self._at = offset + {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Bytes of the file, or zeros: fewer than asked for where one becomes the other."""
        left = max(0, self._size - self._at)
        size = left if size < 0 else min(size, left)
        part = bisect_right(self._starts, self._at) - 1
        if part >= 0 and self._at < self._ends[part]:
            data = bytes(min(size, self._ends[part] - self._at))
        else:
            following = self._starts[part + 1 : part + 2]
            self._file.seek(self._at)
            data = self._file.read(min([size, *(start - self._at for start in following)]))
        self._at += len(data)
        return data
