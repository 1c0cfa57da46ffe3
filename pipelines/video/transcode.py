"""One video re-encoded for training: small, with short groups of pictures, frame n as frame n.

The frames are those that our own readers deliver, in order: upright, with square pixels, in RGB,
already of the copy's size. So they have the numbers of the index, whatever hides or repeats frames
in the file, and their colours are right whatever its matrix and range; the copy itself is BT.709
with the limited range, and says so.

The copy is read again by the same readers and compared with frames kept from the source: its luma
must be close to them, and nowhere closer to the neighbours of the frames with its numbers.
"""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

from pipelines.video.decode import read_frames
from pipelines.video.frames import Access, luma, resized_shape
from pipelines.video.killable import Tick

KEPT_BYTES = 64 << 20
"""Most memory of the frames that a copy is compared with."""
LEAST_PSNR = 25.0
"""Decibels below which a frame of a copy is not the source's. Noise, the hardest to encode, has 33
at the default CRF; a frame in the wrong place falls below wherever something moves."""
NEARER = 2.0
"""Frames are misplaced where the error against their neighbours is smaller by this factor than the
error against the frames of their own numbers, over `TOGETHER` frames: the quality of single frames
goes up and down while a picture stands still."""
TOGETHER = 16
MOST_DENOMINATOR = 10_000
"""Of the frame rate as a fraction: mp4 counts time in whole numbers of 32 bits."""
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


class CopyError(ValueError):
    """A copy that is not what it should be, or cannot be made; the message says why."""


@dataclass(frozen=True, kw_only=True)
class CopySettings:
    """How copies are encoded."""

    short_side: int
    """Pixels, rounded to even; a smaller video keeps its size."""
    key_frame_every: int = 16
    """Frames in a group of pictures."""
    crf: int = 20
    """Of x264: quality, the lower the better."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What of a video is copied; all as its index has it."""

    path: str
    num_frames: int
    fps: float
    width: int
    height: int
    access: Access
    first: int = 0
    """Number of the first frame; a sample begins later than at 0."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How close a copy is to its source: PSNR of luma, in decibels, over the frames compared."""

    mean_psnr: float
    least_psnr: float


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Luma [height, width] of every so many frames of the source, at the copy's size."""

    every: int
    frames: list[NDArray[np.uint8]]


def copy_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Width and height of a copy in pixels: even, and never larger than the source."""
    wanted = resized_shape(width, height, min(short_side, width, height))
    most = width, height
    even = [min(round(w / 2), m // 2) * 2 for w, m in zip(wanted, most, strict=True)]
    return max(2, even[0]), max(2, even[1])


def write_copy(source: Source, out: Path, settings: CopySettings, tick: Tick) -> Kept:
    """Encode a video as mp4, without sound; returns what `compare` needs.

    Args:
        source: the video, or some frames of it.
        out: the file to write.
        settings: of the encoder.
        tick: called with the share done, 0 to 1.

    Raises:
        DecodeError: if the source does not give its frames.
        CopyError: if they cannot be encoded.
        OSError: if the file cannot be written.
    """
    try:
        return _write(source, out, settings, tick)
    except av.FFmpegError as error:
        if error.errno in _OF_THE_DISK:
            raise OSError(error.errno, os.strerror(error.errno), str(out)) from error
        raise CopyError(f"cannot be encoded: {error.strerror}") from error


def _write(source: Source, out: Path, settings: CopySettings, tick: Tick) -> Kept:
    width, height = copy_size(source.width, source.height, settings.short_side)
    every = max(1, -(-source.num_frames * width * height // KEPT_BYTES))
    kept = Kept(every=every, frames=[])
    frames = read_frames(
        source.path,
        first=source.first,
        num_frames=source.num_frames,
        width=width,
        height=height,
        access=source.access,
    )
    rate = Fraction(source.fps).limit_denominator(MOST_DENOMINATOR)
    with av.open(str(out), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = _add_stream(container, rate, width, height, settings)
        to_yuv = _ToYuv(width, height)
        for number, frame in enumerate(frames):
            if number % every == 0:
                kept.frames.append(luma(frame)[..., 0])
            picture = to_yuv(frame)
            picture.pts, picture.time_base = number, 1 / rate
            container.mux(stream.encode(picture))
            tick(number / source.num_frames)
        container.mux(stream.encode())
    return kept


def compare(copy: Path, kept: Kept, num_frames: int, access: Access, tick: Tick) -> Quality:
    """Read a copy in order and compare it with the frames kept from its source.

    Raises:
        CopyError: if a frame is missing, too different, or in another's place.
        DecodeError: if the copy cannot be read.
    """
    frames = read_frames(
        copy, first=0, num_frames=num_frames, width=None, height=None, access=access
    )
    errors: list[tuple[float, float, float]] = []
    for number, around in _with_neighbours(frames):
        tick(number / num_frames)
        if number % kept.every:
            continue
        expected = kept.frames[number // kept.every]
        own, before, after = (_error(frame, expected) for frame in around)
        if psnr(own) < LEAST_PSNR:
            raise CopyError(
                f"frame {number} of its copy is not the source's: PSNR of luma {psnr(own):.1f} dB"
            )
        errors.append((own, before, after))
    blocks = np.array_split(np.asarray(errors), max(1, len(errors) // TOGETHER))
    for block, first in zip(blocks, np.cumsum([0, *map(len, blocks)]), strict=False):
        for side in (1, 2):
            known = ~np.isnan(block[:, side])
            if NEARER * block[known, side].sum() < block[known, 0].sum():
                raise CopyError(
                    f"its copy is shifted by a frame {'early' if side == 1 else 'late'} "
                    f"from frame {first * kept.every} on"
                )
    found = [psnr(own) for own, _, _ in errors]
    return Quality(mean_psnr=float(np.mean(found)), least_psnr=min(found))


def psnr(error: float) -> float:
    """Peak signal-to-noise ratio in decibels of a mean squared error; at most 68."""
    return float(10 * np.log10(255**2 / max(error, 0.01)))


def _error(frame: NDArray[np.uint8] | None, expected: NDArray[np.uint8]) -> float:
    """Mean squared error of the luma of a frame; NaN without a frame."""
    if frame is None:
        return float("nan")
    difference = luma(frame)[..., 0].astype(np.int16) - expected
    return float(np.mean(np.square(difference, dtype=np.int32)))


def _with_neighbours(frames: Iterator[Any]) -> Iterator[tuple[int, tuple[Any, Any, Any]]]:
    """Each frame's number, and the frame, the one before and the one after, None at the ends."""
    before, current, number = None, next(frames, None), 0
    while current is not None:
        after = next(frames, None)
        yield number, (current, before, after)
        before, current, number = current, after, number + 1


def _add_stream(
    container: Any, rate: Fraction, width: int, height: int, settings: CopySettings
) -> Any:
    every = settings.key_frame_every
    parameters = f"keyint={every}:min-keyint={every}:scenecut=0:bframes=0:open-gop=0"
    options = {
        "preset": "veryfast",
        "tune": "fastdecode",  # a twentieth larger, read a sixth faster
        "crf": str(settings.crf),
        "threads": "1",  # one CPU a copy
        "x264-params": parameters,
    }
    stream = container.add_stream("libx264", rate=rate, options=options)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    context = stream.codec_context
    context.time_base, context.gop_size = 1 / rate, every
    context.sample_aspect_ratio = Fraction(1)
    context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    return stream


class _ToYuv:
    """RGB frames [height, width, 3] to BT.709 of limited range with a quarter of the chroma."""

    def __init__(self, width: int, height: int) -> None:
        self._graph = Graph()
        self._graph.threads = 1
        source = self._graph.add_buffer(
            width=width, height=height, format=av.VideoFormat("rgb24"), time_base=Fraction(1)
        )
        matrix = "out_color_matrix=bt709:out_range=limited"
        scale = self._graph.add("scale", f"{matrix}:flags=bicubic+full_chroma_inp+accurate_rnd")
        pixels = self._graph.add("format", "pix_fmts=yuv420p")
        self._graph.link_nodes(source, scale, pixels, self._graph.add("buffersink")).configure()

    def __call__(self, frame: NDArray[np.uint8]) -> Any:
        self._graph.vpush(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"))
        return self._graph.vpull()
