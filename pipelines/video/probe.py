"""What is in one video file, found by decoding all of it once.

A count of packets lies for damaged files, and decord's frames after a seek can be wrong. So every
frame is decoded in order, small, and its hash kept; then a few windows are read again by seeking
and compared. The first way to seek that gives the same frames is the one the index writes down.
"""

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import numpy as np

from pipelines.video.decode import (
    DecodeError,
    Seek,
    look,
    read_in_order,
    read_window,
    resized_shape,
)
from pipelines.video.killable import Tick

THUMBNAIL_SIDE = 32
"""Short side of the frames that are compared, pixels."""
CHECKED_KEY_FRAMES = 16
CHECKED_FRAMES = 3
DIGEST_CHUNK_BYTES = 1 << 22


class UnusableVideoError(ValueError):
    """A file that cannot be trained on; the message is `kind` or `kind: detail`."""


@dataclass(frozen=True, kw_only=True)
class Unusable:
    """Why a file is set aside: `kind` or `kind: detail`."""

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
    seek: Seek
    digest: str


@dataclass(frozen=True, kw_only=True)
class _Container:
    """What the container says, without decoding more than one frame."""

    codec: str
    fps: float
    duration_seconds: float
    width: int
    height: int
    rotation: int
    num_frames: int
    key_frames: list[int]
    ordered: bool
    """Every packet has its own presentation time."""

    @property
    def thumbnail(self) -> tuple[int, int]:
        """Width and height of the frames that are compared."""
        return resized_shape(self.width, self.height, THUMBNAIL_SIDE)


def probe_video(path: str, tick: Tick) -> Probe | Unusable:
    """Decode a file in order and find out how to seek in it.

    Args:
        path: the file.
        tick: called with the share done, 0 to 1, while the probe is alive.
    """
    try:
        return _probe(path, tick)
    except OSError as error:
        return Unusable(reason=f"unreadable: {error.strerror or error}")
    except DecodeError as error:
        return Unusable(reason=f"does not decode: {error.reason}")
    except UnusableVideoError as error:
        return Unusable(reason=str(error))


def _probe(path: str, tick: Tick) -> Probe:
    digest = _digest(path, tick)
    container = _read_container(path, tick)
    frames = _frame_hashes(path, container, tick)
    seek = _way_to_seek(path, container, frames, tick)
    return Probe(
        num_frames=len(frames),
        fps=container.fps,
        width=container.width,
        height=container.height,
        duration_seconds=container.duration_seconds,
        codec=container.codec,
        rotation=container.rotation,
        key_frames=container.key_frames,
        seek=seek,
        digest=digest,
    )


def _digest(path: str, tick: Tick) -> str:
    """BLAKE2 of the file's content: the same wherever the file lies and whatever its name."""
    digest = hashlib.blake2b(digest_size=16)
    num_bytes = 0
    with open(path, "rb") as file:
        while chunk := file.read(DIGEST_CHUNK_BYTES):
            digest.update(chunk)
            num_bytes += len(chunk)
            tick(0.0)
    if not num_bytes:
        raise UnusableVideoError("empty file")
    return digest.hexdigest()


def _read_container(path: str, tick: Tick) -> _Container:
    try:
        with av.open(path) as container:
            stream = container.streams.best("video")
            if stream is None:
                raise UnusableVideoError("no video stream")
            packets, frame = [], None
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:  # edit lists: decoded, never shown
                    packets.append((packet.pts, packet.is_keyframe))
                frame = frame or next(iter(packet.decode()), None)
                tick(0.0)
            if frame is None:
                raise UnusableVideoError("no frames")
            return _describe(stream, frame, packets)
    except av.FFmpegError as error:
        raise UnusableVideoError(f"not a readable video: {error.strerror}") from error


def _describe(stream: Any, frame: Any, packets: list[tuple[int | None, bool]]) -> _Container:
    times = [pts for pts, _ in packets if pts is not None]
    ordered = len(times) == len(set(times)) == len(packets)
    shown = sorted(packets, key=lambda packet: packet[0] or 0) if ordered else packets
    span = float((max(times) - min(times)) * stream.time_base) if times else 0.0
    rate = stream.average_rate or stream.guessed_rate
    fps = float(rate) if rate else (len(packets) - 1) / span if span else 0.0
    if fps <= 0:
        raise UnusableVideoError("no frame rate")
    rotation = -round(frame.rotation) % 360  # FFmpeg counts against the clock
    aspect = stream.sample_aspect_ratio or Fraction(1)
    width, height = max(1, round(frame.width * aspect)), frame.height
    return _Container(
        codec=stream.codec_context.codec.canonical_name,
        fps=fps,
        duration_seconds=span + 1 / fps,
        width=height if rotation in (90, 270) else width,
        height=width if rotation in (90, 270) else height,
        rotation=rotation,
        num_frames=len(packets),
        key_frames=sorted({0} | {n for n, (_, is_key) in enumerate(shown) if is_key}),
        ordered=ordered,
    )


def _frame_hashes(path: str, container: _Container, tick: Tick) -> list[int]:
    """One hash per decoded frame: eight bytes each, however long the video."""
    hashes = []
    width, height = container.thumbnail
    for frame in read_in_order(path, num_frames=container.num_frames, width=width, height=height):
        hashes.append(hash(frame.tobytes()))
        tick(len(hashes) / container.num_frames)
    return hashes


def _way_to_seek(path: str, container: _Container, frames: list[int], tick: Tick) -> Seek:
    """The first way to seek under which windows come back as reading in order gave them."""
    starts = _checked_starts(container.key_frames, len(frames))
    ways: list[Seek] = ["key_frame"] if container.ordered else []
    # Where decord has the key frames wrong, a sample of windows could miss the ones it gets wrong.
    if look(path).key_frames == container.key_frames:
        ways.insert(0, "exact")
    for way in ways:
        if all(_same_after_seek(path, container, way, s, frames, tick) for s in starts):
            return way
    return "start"


def _checked_starts(key_frames: list[int], num_frames: int) -> list[int]:
    """Some key frames, spread over the video, and for each a frame soon after it."""
    edges = [*key_frames, num_frames]
    groups = list(pairwise(edges))
    chosen = np.unique(np.linspace(0, len(groups) - 1, CHECKED_KEY_FRAMES).round().astype(int))
    starts = {s for n in chosen for s in (groups[n][0], min(groups[n][0] + 8, groups[n][1] - 1))}
    return sorted(starts - {0})


def _same_after_seek(
    path: str, container: _Container, seek: Seek, first: int, frames: list[int], tick: Tick
) -> bool:
    expected = frames[first : first + CHECKED_FRAMES]
    width, height = container.thumbnail
    tick(1.0)
    try:
        window = read_window(
            path,
            first=first,
            num_frames=len(expected),
            seek=seek,
            key_frames=container.key_frames,
            width=width,
            height=height,
        )
    except DecodeError:
        return False
    return [hash(frame.tobytes()) for frame in window] == expected
