"""A part of a video as a file of its own: its packets where that is exact, else encoded anew."""

from pathlib import Path
from typing import Any

import av
from av.video.frame import PictureType

from pipelines.errors import UserError

ENCODER = {"crf": "16", "preset": "veryfast", "threads": "1"}
KEY_FRAME_EVERY = 30


class CutError(UserError, ValueError):
    """A part that a video does not have."""


def cut_video(video: Path, out: Path, start: float, end: float) -> None:
    """Write the frames shown in [start, end) to a file; its first frame is shown at 0.

    Where the part begins with a key frame and nothing of it is stored outside, its packets are
    copied and no pixel changes. Else it is decoded and encoded as H.264.

    Args:
        video: the file to cut from.
        out: an mp4 file, whole or not there.
        start: seconds on the video's own clock.
        end: likewise, not included.

    Raises:
        CutError: if no frame is shown then, or the video cannot be read.
    """
    unfinished = out.with_name(f".{out.name}.tmp")
    try:
        if not _copy(video, unfinished, start, end):
            _encode(video, unfinished, start, end)
    except av.FFmpegError as error:
        unfinished.unlink(missing_ok=True)
        raise CutError(f"{video}: cannot be cut from {start:g} to {end:g} s: {error}") from error
    unfinished.replace(out)


def _ticks(stream: Any, start: float, end: float) -> tuple[int, int]:
    """The bounds on the stream's clock, half a frame early: the frames stand between them."""
    half = 0.5 / float(stream.average_rate)
    base, origin = float(stream.time_base), stream.start_time or 0
    return origin + round((start - half) / base), origin + round((end - half) / base)


def _copy(video: Path, out: Path, start: float, end: float) -> bool:
    """Whether the packets of the part are whole on their own; then they are in the file."""
    with av.open(str(video)) as source:
        stored: Any = source.streams.video[0]
        first, last = _ticks(stored, start, end)
        source.seek(max(0, first), stream=stored, backward=True)
        packets: list[Any] = []
        is_past = False
        for packet in source.demux(stored):
            if not packet.size or packet.pts is None:
                continue
            if first <= packet.pts < last:
                if is_past:  # stored behind what comes after it, which it needs
                    return False
                packets.append(packet)
            elif packets:
                is_past = True
                if packet.dts is not None and packet.dts >= last:
                    break
        if not packets or not packets[0].is_keyframe:
            return False
        shift = min(packet.pts for packet in packets)
        if packets[0].pts != shift:  # frames before the first key frame need others
            return False
        with av.open(str(out), "w", format="mp4") as container:
            stream = container.add_stream_from_template(stored)
            for packet in packets:
                packet.pts -= shift
                packet.dts -= shift
                packet.stream = stream
                container.mux(packet)
    return True


def _encode(video: Path, out: Path, start: float, end: float) -> None:
    with av.open(str(video)) as source, av.open(str(out), "w", format="mp4") as container:
        stored: Any = source.streams.video[0]
        first, last = _ticks(stored, start, end)
        source.seek(max(0, first), stream=stored, backward=True)
        rate = stored.average_rate
        stream: Any = container.add_stream("libx264", rate=rate, options=ENCODER)
        stream.width, stream.height = stored.width, stored.height
        is_even = stored.width % 2 == stored.height % 2 == 0
        stream.pix_fmt, stream.gop_size = "yuv420p" if is_even else "yuv444p", KEY_FRAME_EVERY
        stream.codec_context.time_base = 1 / rate
        number = 0
        for frame in source.decode(stored):
            if frame.pts is None or frame.pts < first:
                continue
            if frame.pts >= last:
                break
            frame.pts, frame.time_base, frame.pict_type = number, 1 / rate, PictureType.NONE
            container.mux(stream.encode(frame))
            number += 1
        container.mux(stream.encode())
    if not number:
        raise CutError(f"{video}: shows nothing from {start:g} to {end:g} s")
