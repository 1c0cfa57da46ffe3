"""One copy: the frames of its original by their numbers, in its colours, or an error."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from pipelines.video.decode import read_window
from pipelines.video.frames import Access
from pipelines.video.probe import Probe, probe_video
from pipelines.video.transcode import (
    CopyError,
    CopySettings,
    Source,
    compare,
    copy_size,
    write_copy,
)
from tests.videos import FPS, GOOD, NUM_FRAMES, X264, read_number, shown_numbers, spell, write_video

SETTINGS = CopySettings(short_side=64)
COLOURS = np.array(
    [(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 200), (180, 120, 60), (16, 16, 16)]
)


def silent(_: float) -> None:
    """No progress."""


def probed(path: Path) -> Probe:
    found = probe_video(str(path), silent)
    assert isinstance(found, Probe), found
    return found


def source_of(path: Path) -> Source:
    found = probed(path)
    return Source(
        path=str(path),
        num_frames=found.num_frames,
        fps=found.fps,
        width=found.width,
        height=found.height,
        access=found.access,
    )


def write_with_sound(folder: Path) -> Path:
    """B-frames, pixels twice as wide as high, and a track of sound."""
    path = folder / "sound_too.mp4"
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=FPS, options=X264)
        video.width, video.height, video.pix_fmt = 64, 96, "yuv420p"
        video.codec_context.sample_aspect_ratio = Fraction(2)
        sound: Any = container.add_stream("aac", rate=8000)
        for number in range(NUM_FRAMES):
            frame = av.VideoFrame.from_ndarray(spell(number, 64, 96), format="rgb24")
            container.mux(video.encode(frame))
        silence = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        silence.rate, silence.pts = 8000, 0
        container.mux(sound.encode(silence))
        container.mux([*video.encode(), *sound.encode()])
    return path


KINDS = {kind: GOOD[kind] for kind in ("hevc", "variable", "odd", "turned", "trimmed", "joined")}


@pytest.mark.parametrize("kind", [*KINDS, "sound_too"])
def test_frame_n_of_the_copy_is_frame_n_of_the_original(kind: str, tmp_path: Path) -> None:
    path = {**KINDS, "sound_too": write_with_sound}[kind](tmp_path)
    source, out = source_of(path), tmp_path / "copy.mp4"
    kept = write_copy(source, out, SETTINGS, silent)
    copy = probed(out)
    assert copy.num_frames == source.num_frames
    frames = read_window(out, first=0, num_frames=copy.num_frames, access=copy.access)
    upright = np.rot90(frames, axes=(1, 2)) if kind == "turned" else frames
    assert [read_number(frame) for frame in upright] == shown_numbers(kind)
    assert (copy.width, copy.height) == copy_size(source.width, source.height, 64)
    assert copy.rotation == 0
    assert copy.fps == pytest.approx(source.fps, rel=1e-6)
    assert copy.key_frames == list(range(0, copy.num_frames, SETTINGS.key_frame_every))
    quality = compare(out, kept, copy.num_frames, copy.access, silent)
    assert quality.least_psnr > 38


def test_the_file_is_made_for_reading(tmp_path: Path) -> None:
    source, out = source_of(write_with_sound(tmp_path)), tmp_path / "copy.mp4"
    write_copy(source, out, SETTINGS, silent)
    data = out.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(out)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        stream: Any = container.streams.video[0]
        packets: list[Any] = [packet for packet in container.demux(stream) if packet.size]
        assert all(packet.pts == packet.dts for packet in packets)  # no frame waits for a later one
        assert {packet.duration * stream.time_base for packet in packets} == {Fraction(1, FPS)}
        context = stream.codec_context
        assert (context.color_range, context.colorspace) == (ColorRange.MPEG, Colorspace.ITU709)
        assert (stream.sample_aspect_ratio, context.pix_fmt) == (1, "yuv420p")


def write_colours(path: Path, matrix: Colorspace, scale: ColorRange) -> Path:
    """Stripes of COLOURS, 32 pixels wide, converted by the formulas of BT.601 or BT.709."""
    red, blue = (0.2126, 0.0722) if matrix == Colorspace.ITU709 else (0.299, 0.114)
    r, g, b = (np.repeat(COLOURS[:, i] / 255, 32)[None].repeat(64, 0) for i in range(3))
    y = red * r + (1 - red - blue) * g + blue * b
    u, v = (b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red)
    low, luma, chroma = (0, 255, 255) if scale == ColorRange.JPEG else (16, 219, 224)
    planes = [low + luma * y, 128 + chroma * u[::2, ::2], 128 + chroma * v[::2, ::2]]
    pixels = np.concatenate([plane.round().astype(np.uint8).ravel() for plane in planes])
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = y.shape[1], y.shape[0], "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, scale
        for _ in range(4):
            image = pixels.reshape(-1, y.shape[1])
            frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
            frame.colorspace, frame.color_range = matrix, scale
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def stripes(path: Path, access: Access) -> NDArray[np.int64]:
    """The colour in the middle of each stripe of the first frame."""
    frame = read_window(path, first=0, num_frames=1, access=access)[0].astype(np.int64)
    centres = (np.arange(len(COLOURS)) * 2 + 1) * frame.shape[1] // (2 * len(COLOURS))
    middle: NDArray[np.int64] = frame[frame.shape[0] // 2, centres]
    return middle


@pytest.mark.parametrize("matrix", [Colorspace.ITU709, Colorspace.ITU601])
@pytest.mark.parametrize("scale", [ColorRange.MPEG, ColorRange.JPEG])
def test_colours_are_those_of_the_original(
    matrix: Colorspace, scale: ColorRange, tmp_path: Path
) -> None:
    path = write_colours(tmp_path / "colours.mp4", matrix, scale)
    write_copy(source_of(path), tmp_path / "copy.mp4", SETTINGS, silent)
    for access in (Access(seek="start"), Access(decoder="pyav", seek="start")):
        assert np.abs(stripes(path, access) - COLOURS).max() <= 4  # the readers heed the tags
        assert np.abs(stripes(tmp_path / "copy.mp4", access) - COLOURS).max() <= 6


def write_faint(path: Path) -> Path:
    """The frames of `write_video` with a sixteenth of their contrast."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(NUM_FRAMES):
            pixels = 120 + spell(number, 128, 96) // 16
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (write_video, "frame 0 of its copy is not the source's: PSNR"),
        (write_faint, "shifted by a frame early from frame 0 on"),  # with a good PSNR
    ],
)
def test_a_shifted_copy_is_refused(
    write: Callable[[Path], Path], reason: str, tmp_path: Path
) -> None:
    source = replace(source_of(write(tmp_path / "a.mp4")), num_frames=NUM_FRAMES - 1)
    late = replace(source, first=1)
    right, shifted, start = tmp_path / "1.mp4", tmp_path / "2.mp4", Access(seek="start")
    kept, kept_late = (
        write_copy(each, path, SETTINGS, silent)
        for each, path in ((source, right), (late, shifted))
    )
    compare(right, kept, source.num_frames, start, silent)
    compare(shifted, kept_late, source.num_frames, start, silent)
    with pytest.raises(CopyError, match=reason):
        compare(shifted, kept, source.num_frames, start, silent)
    with pytest.raises(CopyError, match=reason.replace("early", "late")):
        compare(right, kept_late, source.num_frames, start, silent)


def test_sizes_are_even_and_never_larger() -> None:
    assert copy_size(1920, 1080, 128) == (228, 128)
    assert copy_size(1080, 1920, 64) == (64, 114)
    assert copy_size(131, 97, 128) == (130, 96)
    assert copy_size(131, 97, 97) == (130, 96)
    assert copy_size(129, 1000, 128) == (128, 992)
