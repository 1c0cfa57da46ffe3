"""Test videos whose pixels spell their own frame number, in the ways that videos come."""

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

NUM_FRAMES = 60
KEY_FRAME_EVERY = 20
FPS = 25
X264 = {"preset": "veryfast", "threads": "1", "x264-params": "scenecut=0:bframes=3"}
X265 = {
    "preset": "veryfast",
    "x265-params": f"keyint={KEY_FRAME_EVERY}:min-keyint={KEY_FRAME_EVERY}:scenecut=0:"
    "open-gop=1:bframes=4:log-level=none",
}


def spell(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """A frame of 4×4 black and white blocks: the bits of its number, the lowest first."""
    bits = (number >> np.arange(16) & 1).reshape(4, 4).astype(np.uint8)
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    blocks: NDArray[np.uint8] = 16 + 219 * bits[rows][:, columns]
    return np.repeat(blocks[..., None], 3, axis=2)


def read_number(frame: NDArray[np.uint8]) -> int:
    """The number that a frame [height, width, channels] of any size spells."""
    height, width = frame.shape[:2]
    rows, columns = ((np.arange(4) + 0.5) * side / 4 for side in (height, width))
    centres = frame[rows.astype(int)][:, columns.astype(int)].mean(axis=-1)
    return int(((centres > 128).reshape(-1) << np.arange(16)).sum())


def write_video(
    path: Path,
    codec: str = "libx264",
    *,
    num_frames: int = NUM_FRAMES,
    width: int = 128,
    height: int = 96,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    times_ms: NDArray[np.int64] | None = None,
    turn: int = 0,
    empty_track: bool = False,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write frames 0, 1, 2, ...

    `turn` is the degrees clockwise by which players turn them; `empty_track` adds a first video
    track without a frame.
    """
    with av.open(str(path), "w", options=container_options or {}) as container:
        if empty_track:
            first: Any = container.add_stream(codec, rate=FPS, options=X264)
            first.width, first.height, first.pix_fmt = 2 * width, 2 * height, pix_fmt
        stream: Any = container.add_stream(
            codec, rate=FPS, options=X264 if options is None else options
        )
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.gop_size = KEY_FRAME_EVERY
        time_base = Fraction(1, FPS if times_ms is None else 1000)
        stream.codec_context.time_base = time_base
        if turn:
            stream.set_display_rotation(-turn)
        container.start_encoding()
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(spell(number, width, height), format="rgb24")
            frame.pts = number if times_ms is None else int(times_ms[number])
            frame.time_base = time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_h264(folder: Path) -> Path:
    return write_video(folder / "h264.mp4")


def write_hevc(folder: Path) -> Path:
    """Open groups of pictures: frames shown before a key frame are stored after it."""
    return write_video(folder / "hevc.mp4", "libx265", options=X265)


def write_hevc_mkv(folder: Path) -> Path:
    return write_video(folder / "hevc_mkv.mkv", "libx265", options=X265)


def write_av1(folder: Path) -> Path:
    options = {"preset": "8", "crf": "20", "svtav1-params": "lp=1"}
    path = write_video(folder / "av1.mkv", "libsvtav1", options=options)
    # As root SVT-AV1 leaves its caller at real-time priority, and then whatever waits by spinning
    # (libvpx does) never ends where two such processes share two cores.
    if hasattr(os, "sched_setscheduler"):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path


def write_variable_rate(folder: Path) -> Path:
    gaps = np.random.default_rng(0).integers(10, 90, NUM_FRAMES)
    return write_video(folder / "variable.mp4", times_ms=np.cumsum(gaps) - gaps[0])


def write_odd(folder: Path) -> Path:
    return write_video(folder / "odd.mp4", width=131, height=97, pix_fmt="yuv444p")


def write_turned(folder: Path) -> Path:
    return write_video(folder / "turned.mov", turn=90)


def write_avi(folder: Path) -> Path:
    """A container without presentation times."""
    return write_video(folder / "avi.avi")


def write_trimmed(folder: Path) -> Path:
    """An edit list, as phones write for a trimmed clip: the first five frames are not shown."""
    whole, path = write_video(folder / ".whole.mp4"), folder / "trimmed.mp4"
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(whole)) as source, av.open(str(path), "w", options=options) as container:
        stored: Any = source.streams.video[0]
        stream = container.add_stream_from_template(stored)
        shift = int(Fraction(TRIMMED_FRAMES, FPS) / stored.time_base)
        packet: Any
        for packet in source.demux(stored):
            if packet.size:
                packet.pts -= shift
                packet.dts -= shift
                packet.stream = stream
                container.mux(packet)
    return path


def write_transport_stream(folder: Path) -> Path:
    """decord begins to read these at the second key frame."""
    return write_video(folder / "transport_stream.ts")


def write_hevc_transport_stream(folder: Path) -> Path:
    """decord does not open these."""
    return write_video(folder / "hevc_transport_stream.m2ts", "libx265", options=X265)


def write_raw(folder: Path) -> Path:
    """A stream without a container: no times, no length."""
    return write_video(folder / "raw.h264")


def write_recorded(folder: Path) -> Path:
    """As a browser's MediaRecorder writes it: without a duration."""
    options, live = {"threads": "1"}, {"live": "1"}
    return write_video(folder / "recorded.webm", "libvpx", options=options, container_options=live)


def _without_beginning(whole: Path, path: Path) -> Path:
    """The same stream from its eighth packet on, which is no key frame."""
    with av.open(str(whole)) as source, av.open(str(path), "w") as container:
        stored: Any = source.streams.video[0]
        stream = container.add_stream_from_template(stored)
        packet: Any
        for number, packet in enumerate(source.demux(stored)):
            if packet.size and number >= 7:
                packet.stream = stream
                container.mux(packet)
    return path


def write_cut(folder: Path) -> Path:
    """The first frame that can be shown is the second key frame."""
    return _without_beginning(write_video(folder / ".uncut.mp4"), folder / "cut.mkv")


def write_cut_mpeg4(folder: Path) -> Path:
    """FFmpeg shows frames of MPEG-4 that are predicted from nothing."""
    whole = write_video(folder / ".uncut.avi", "mpeg4", options={})
    return _without_beginning(whole, folder / "cut_mpeg4.mkv")


def write_joined(folder: Path) -> Path:
    """Two files, one written behind the other: the times begin anew."""
    part = write_video(folder / ".part.ts", num_frames=NUM_FRAMES // 2)
    path = folder / "joined.ts"
    path.write_bytes(2 * part.read_bytes())
    return path


def write_empty_track(folder: Path) -> Path:
    """The first video track holds no frame."""
    return write_video(folder / "empty_track.mp4", empty_track=True)


TRIMMED_FRAMES = 5

GOOD: dict[str, Callable[[Path], Path]] = {
    "h264": write_h264,
    "hevc": write_hevc,
    "hevc_mkv": write_hevc_mkv,
    "av1": write_av1,
    "variable": write_variable_rate,
    "odd": write_odd,
    "turned": write_turned,
    "avi": write_avi,
    "trimmed": write_trimmed,
    "transport_stream": write_transport_stream,
    "hevc_transport_stream": write_hevc_transport_stream,
    "raw": write_raw,
    "recorded": write_recorded,
    "cut": write_cut,
    "joined": write_joined,
    "empty_track": write_empty_track,
}


def shown_numbers(kind: str) -> list[int]:
    """The numbers that the frames of a good file spell, in the order in which they are shown."""
    if kind == "joined":
        return [*range(NUM_FRAMES // 2), *range(NUM_FRAMES // 2)]
    hidden = {"trimmed": TRIMMED_FRAMES, "cut": KEY_FRAME_EVERY}
    return list(range(hidden.get(kind, 0), NUM_FRAMES))


def write_damaged(folder: Path) -> Path:
    """Its header is whole and promises every frame."""
    path = write_video(folder / "damaged.mp4")
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat")
    size = int.from_bytes(data[start - 4 : start], "big")
    middle = slice(start + size // 3, start + size * 2 // 3)
    noise = np.random.default_rng(0).integers(0, 256, middle.stop - middle.start, dtype=np.uint8)
    data[middle] = noise.tobytes()
    path.write_bytes(data)
    return path


def write_cut_off(folder: Path) -> Path:
    path = write_video(folder / "cut_off.mp4")
    path.write_bytes(path.read_bytes()[:2000])
    return path


def write_text(folder: Path) -> Path:
    path = folder / "text.mp4"
    path.write_text("This is no video.\n" * 100)
    return path


def write_empty(folder: Path) -> Path:
    path = folder / "empty.mp4"
    path.touch()
    return path


def write_no_frames(folder: Path) -> Path:
    return write_video(folder / "no_frames.avi", num_frames=0)


def write_sound(folder: Path) -> Path:
    path = folder / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        silence = np.zeros((1, 1024), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.rate, frame.pts = 8000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "damaged": (write_damaged, "damaged or encrypted"),
    "cut_off": (write_cut_off, "not a readable video"),
    "text": (write_text, "not a readable video"),
    "empty": (write_empty, "empty file"),
    "no_frames": (write_no_frames, "no frames"),
    "sound": (write_sound, "no video stream"),
}
