"""Frames by PyAV: the reference for every file, and the decoder of those that decord gets wrong.

Sizes, colours and rotation come from the same filters of FFmpeg that decord uses, so that the
pixels of both agree to the last bit where both are built on the same FFmpeg.
"""

from collections.abc import Iterator
from itertools import chain, dropwhile, islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

from pipelines.video.frames import Access, DecodeError

_TURNS = {90: ["1"], 180: ["1", "1"], 270: ["2"]}
"""Degrees clockwise to the directions of FFmpeg's transpose."""
_SHOWS_BEFORE_KEY_FRAME = ("flv", "h263", "mpeg4", "msmpeg4", "wmv")
"""Beginnings of the names of decoders that deliver frames predicted from nothing."""


def read(
    path: str | Path,
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
        with av.open(str(path)) as container:
            stream, entry = container.streams[access.stream], access.entry(first)
            frames = frames_from(container, stream, entry, access)
            to_rgb = ToRgb(width, height)
            for frame in islice(frames, first - entry, first - entry + num_frames):
                yield to_rgb(frame)
                number += 1
    except FileNotFoundError as error:
        raise DecodeError(path, "no such file") from error
    except (av.FFmpegError, IndexError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DecodeError(path, f"PyAV says {reason!r}") from error
    if number < num_frames:
        raise DecodeError(path, f"only {number} of {num_frames} frames from frame {first} on")


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


def frames_from(container: Any, stream: Any, entry: int, access: Access) -> Iterator[Any]:
    """The frames from `entry` on, which is 0 or a key frame.

    Raises:
        FFmpegError: where a packet cannot be decoded.
        IndexError: if no seek leads to the key frame.
    """
    if entry == 0:
        return _flat(container, stream)
    time = int(access.key_times[list(access.key_frames).index(entry)])
    second = round(1 / stream.time_base)
    back = 0
    while True:
        container.seek(time - back, stream=stream)
        frames = _flat(container, stream)
        found = next(frames, None)
        # Where nothing marks the key frames, as in MPEG-TS, a seek can land behind its aim.
        if found is not None and found.pts is not None and found.pts <= time:
            return dropwhile(
                lambda frame: frame.pts is None or frame.pts < time, chain([found], frames)
            )
        if back > time - (stream.start_time or 0) + second:
            raise IndexError(f"no seek leads to frame {entry}")
        back = max(second, 2 * back)


def _flat(container: Any, stream: Any) -> Iterator[Any]:
    for _, frames in frames_of(container, stream):
        yield from frames


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
