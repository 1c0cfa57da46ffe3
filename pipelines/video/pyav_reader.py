"""Frames by PyAV: the reference for every file, and the decoder of those that decord gets wrong.

Sizes, colours and rotation come from the same filters of FFmpeg that decord uses, so that the
pixels of both agree to the last bit where both are built on the same FFmpeg.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, dropwhile, islice
from typing import Any

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

from pipelines.storage.remote import StorageError
from pipelines.video.containers import Source, open_container, seek_to
from pipelines.video.frames import Access, DecodeError
from pipelines.video.remote_file import RemoteFile

_TURNS = {90: ["1"], 180: ["1", "1"], 270: ["2"]}
"""Degrees clockwise to the directions of FFmpeg's transpose."""
_SHOWS_BEFORE_KEY_FRAME = ("flv", "h263", "mpeg4", "msmpeg4", "wmv")
"""Beginnings of the names of decoders that deliver frames predicted from nothing."""


def read(
    path: Source,
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
    number = 0
    try:
        # Of a remote file, what is behind the last group would be a request of its own.
        stops = isinstance(path, RemoteFile) and len(access.key_bytes) > 0
        for stops_early in (True, False) if stops else (False,):
            if number < num_frames:
                frames = _window(path, first + number, num_frames - number, access, stops_early)
                to_rgb = ToRgb(width, height)
                for frame in frames:
                    yield to_rgb(frame)
                    number += 1
        if isinstance(path, RemoteFile):
            path.verify()
    except FileNotFoundError as error:
        raise DecodeError(path, "no such file") from error
    except StorageError as error:
        raise DecodeError(path, str(error)) from error
    except (av.FFmpegError, IndexError) as error:
        _refuse_replaced(path)
        reason = getattr(error, "strerror", None) or str(error)
        raise DecodeError(path, f"PyAV says {reason!r}") from error
    if number < num_frames:
        _refuse_replaced(path)
        raise DecodeError(path, f"only {number} of {num_frames} frames from frame {first} on")


def _refuse_replaced(path: Source) -> None:
    """Of an object that does not decode, first ask whether it is still the one indexed."""
    if isinstance(path, RemoteFile):
        try:
            path.verify(anew=True)
        except (StorageError, FileNotFoundError) as error:
            raise DecodeError(path, str(error)) from error


def _window(
    path: Source, first: int, num_frames: int, access: Access, stops_early: bool
) -> Iterator[Any]:
    with open_container(path) as container:
        stream, entry = container.streams[access.stream], access.entry(first)
        end = access.group_end(first + num_frames - 1) if stops_early else None
        frames = frames_from(container, stream, entry, access, end)
        yield from islice(frames, first - entry, first - entry + num_frames)


def frames_of(container: Any, stream: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Yield each packet of a stream with the frames that it completes, in presentation order.

    What comes before the first frame that can be decoded is passed over: recordings and cuts often
    begin between two key frames.

    Raises:
        FFmpegError: where a later packet cannot be decoded.
    """
    if not stream.codec_context.is_open:
        stream.codec_context.thread_count = 1  # as decord: a worker's decoders share the cores
    name = stream.codec_context.name
    waits = name.startswith(_SHOWS_BEFORE_KEY_FRAME)
    started = False
    for packet in container.demux(stream):
        if waits and packet.is_keyframe:
            waits = False
        if waits and packet.size:
            continue
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            if started:
                raise
            frames = []
        started = started or bool(frames)
        yield packet, frames


def frames_from(
    container: Any, stream: Any, entry: int, access: Access, end: int | None = None
) -> Iterator[Any]:
    """The frames from `entry` on, which is 0 or a key frame, at least up to the key frame `end`.

    Raises:
        FFmpegError: where a packet cannot be decoded.
        IndexError: if no seek leads to the key frame.
    """
    numbers = list(access.key_frames)
    due = None
    if end is not None and len(access.key_times):
        times = [int(access.key_times[numbers.index(number)]) for number in (entry, end)]
        due = _Due(num_packets=end - entry, first_time=times[0], end_time=times[1])
    if entry == 0:
        return _flat(container, stream, due)
    at = numbers.index(entry)
    time, byte = (
        int(access.key_times[at]),
        int(access.key_bytes[at]) if len(access.key_bytes) else None,
    )
    second = round(1 / stream.time_base)
    back = 0
    while True:
        seek_to(container, stream, time - back, None if back else byte)
        frames = _flat(container, stream, due)
        found = next(frames, None)
        # Where nothing marks the key frames, as in MPEG-TS, a seek can land behind its aim.
        if found is not None and found.pts is not None and found.pts <= time:
            return dropwhile(
                lambda frame: frame.pts is None or frame.pts < time, chain([found], frames)
            )
        if back > time - (stream.start_time or 0) + second:
            raise IndexError(f"no seek leads to frame {entry}")
        back = max(second, 2 * back)


@dataclass(frozen=True, kw_only=True)
class _Due:
    """The packets of some groups of pictures, one for each frame, by their presentation times."""

    num_packets: int
    first_time: int
    end_time: int

    def has(self, packet: Any) -> bool:
        """Whether a packet is one of them."""
        return packet.pts is not None and self.first_time <= packet.pts < self.end_time


def _flat(container: Any, stream: Any, due: _Due | None = None) -> Iterator[Any]:
    """Frames, all; or those that the packets due complete, without reading what is behind them."""
    num_packets = 0
    for packet, frames in frames_of(container, stream):
        yield from frames
        num_packets += due is not None and due.has(packet)
        if due is not None and num_packets == due.num_packets:
            yield from stream.codec_context.decode(None)
            return


class ToRgb:
    """Decoded frames to arrays [height, width, 3], upright, all of one size."""

    def __init__(self, width: int | None, height: int | None) -> None:
        """Give the size as displayed, after rotation, in pixels; None keeps the stored one."""
        self.width, self.height = width, height
        self._graph: Any = None
        self._takes: tuple[Any, ...] = ()

    def __call__(self, frame: Any) -> NDArray[np.uint8]:
        """Convert one frame; a frame of another size or format than the last one is fine."""
        kind = frame.width, frame.height, frame.format.name, clockwise(frame)
        if kind != self._takes:
            self._graph, self._takes = self._build(frame), kind
        self._graph.vpush(frame)
        image: NDArray[np.uint8] = self._graph.vpull().to_ndarray()
        return image

    def _build(self, frame: Any) -> Any:
        graph = Graph()
        graph.threads = 1
        links = [
            graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=frame.time_base,
            )
        ]
        links += [graph.add("transpose", turn) for turn in _TURNS.get(clockwise(frame), [])]
        if self.width and self.height:
            links.append(graph.add("scale", f"{self.width}:{self.height}"))
        links += [graph.add("format", "pix_fmts=rgb24"), graph.add("buffersink")]
        graph.link_nodes(*links).configure()
        return graph


def clockwise(frame: Any) -> int:
    """Degrees by which a player turns a frame; FFmpeg counts against the clock."""
    return int(-round(frame.rotation) % 360)
