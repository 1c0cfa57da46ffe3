"""Moving digits as real videos with their true factors: the embedded data set.

How they move is in `digit_motion`. Videos are H.264 as a phone or a film library has it, with
B-frames, nearly lossless, so that everything downstream is exercised as on any other folder.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from av.video.frame import PictureType
from numpy.typing import NDArray
from rich.console import Console

from pipelines.sources.digit_motion import (
    CHANGE_EVERY,
    SEGMENT_FRAMES,
    MovingDigitsError,
    MovingDigitsSettings,
    Setting,
    Track,
    draw_track,
    glyph_splits,
    load_glyphs,
    render,
)
from pipelines.sources.many_files import write_files

LABELS = ("digit",)
"""Columns of factors.parquet that name a class."""
FACTORS = ("position_x", "position_y", "velocity_x", "velocity_y", "change_x", "change_y")
"""Columns that are quantities: pixels and pixels per frame, at the segment's first frame."""

KEY_FRAME_EVERY = 12
"""Frames: every second change; a window from any multiple of six decodes at most six in vain. A
scene begins with a key frame too."""
ENCODER = {"crf": "14", "preset": "veryfast", "threads": "1", "x264-params": "scenecut=0"}
VIDEOS_PER_TASK = 16
METADATA = b"adassl.moving_digits"


@dataclass(frozen=True, kw_only=True)
class MovingDigitsSummary:
    """What a call wrote."""

    out: Path
    num_videos: int
    num_written: int
    num_kept: int


def write_moving_digits(
    out: str | Path,
    *,
    num_videos: int = 1000,
    setting: Setting = "A",
    num_frames: int = 9,
    scenes: int = 1,
    canvas: int = 64,
    fps: int = 10,
    seed: int = 0,
    num_workers: int | None = None,
    console: Console | None = None,
) -> MovingDigitsSummary:
    """Write OUT/videos/000000.mp4, ... and OUT/factors.parquet.

    Video i depends on the settings and i alone. A call continues one that was interrupted
    or asked for fewer videos: finished files stay.

    factors.parquet has a row for each nine frames from a multiple of six of a scene: `path`,
    `frame` (the first), `split` (by glyph), `digit`, `glyph`, `setting`, `change_axis` (0: x, 1: y)
    and FACTORS.

    Args:
        out: the folder.
        num_videos: how many.
        setting: A, the axis of the change is a fair coin; B, it depends on the digit.
        num_frames: of each scene, at least 9.
        scenes: one after another in each video, each another digit on another way, all of one
            split. Opening a file costs more than reading nine small frames, so scenes save time.
        canvas: side in pixels, even, at least 24.
        fps: frames per second, in name only.
        seed: of everything random.
        num_workers: processes; by default one for each core; 1: this one.
        console: where to show progress; None: nowhere.

    Raises:
        MovingDigitsError: if the settings make no sense or OUT holds something else.
    """
    settings = MovingDigitsSettings(
        setting=setting,
        num_frames=num_frames,
        scenes=scenes,
        canvas=canvas,
        fps=fps,
        seed=seed,
    )
    if num_videos < 1:
        raise MovingDigitsError(f"num_videos={num_videos}: at least 1")
    out = Path(out)
    _check_folder(out, settings, num_videos)
    glyphs, digits = load_glyphs()
    splits = glyph_splits(len(digits), settings.seed)
    videos = [_video(settings, number, digits, splits) for number in range(num_videos)]
    (out / "videos").mkdir(parents=True, exist_ok=True)
    _write_factors(out, settings, videos, digits, splits)  # first: it says what the folder is
    todo = [
        _Task(
            path=path,
            glyphs=[glyphs[scene.glyph] for scene in scenes_],
            positions=[scene.track.positions for scene in scenes_],
            settings=settings,
        )
        for number, scenes_ in enumerate(videos)
        if not (path := out / _name(number)).exists()
    ]
    write_files(
        todo,
        _write_chunk,
        tasks_at_once=VIDEOS_PER_TASK,
        what="moving digits",
        unit="videos",
        num_workers=num_workers,
        console=console,
    )
    return MovingDigitsSummary(
        out=out, num_videos=num_videos, num_written=len(todo), num_kept=num_videos - len(todo)
    )


@dataclass(frozen=True, kw_only=True)
class _Scene:
    glyph: int
    track: Track


@dataclass(frozen=True, kw_only=True)
class _Task:
    path: Path
    glyphs: list[NDArray[np.float64]]
    positions: list[NDArray[np.float64]]
    settings: MovingDigitsSettings


def _name(number: int) -> str:
    return f"videos/{number:06d}.mp4"


def _video(
    settings: MovingDigitsSettings,
    number: int,
    digits: NDArray[np.int64],
    splits: NDArray[np.str_],
) -> list[_Scene]:
    rng = np.random.default_rng([settings.seed, 1, number])
    scenes: list[_Scene] = []
    choice = np.arange(len(digits))
    for _ in range(settings.scenes):
        glyph = int(choice[rng.integers(len(choice))])
        track = draw_track(
            rng, setting=settings.setting, digit=int(digits[glyph]), num_frames=settings.num_frames
        )
        scenes.append(_Scene(glyph=glyph, track=track))
        choice = np.flatnonzero(splits == splits[scenes[0].glyph])
    return scenes


def _check_folder(out: Path, settings: MovingDigitsSettings, num_videos: int) -> None:
    factors = out / "factors.parquet"
    if not factors.exists():
        if (out / "videos").exists():
            raise MovingDigitsError(f"{out} holds videos of another kind; choose another folder")
        return
    written = json.loads((pq.read_schema(factors).metadata or {}).get(METADATA, b"{}"))
    asked = asdict(settings) | {"num_videos": num_videos}
    other = {k: v for k, v in written.items() if v != asked.get(k) and k != "num_videos"}
    if not written or other or written["num_videos"] > num_videos:
        raise MovingDigitsError(
            f"{out} was written with {written or 'something else'}, asked for now is {asked}; "
            "choose another folder or remove this one (num_videos alone may grow)"
        )


def _write_factors(
    out: Path,
    settings: MovingDigitsSettings,
    videos: list[list[_Scene]],
    digits: NDArray[np.int64],
    splits: NDArray[np.str_],
) -> None:
    segments = range(0, settings.num_frames - SEGMENT_FRAMES + 1, CHANGE_EVERY)
    rows: list[dict[str, Any]] = []
    for number, scenes in enumerate(videos):
        for place, scene in enumerate(scenes):
            for segment, frame in enumerate(segments):
                quantities = (
                    scene.track.positions[frame],
                    scene.track.velocities[frame],
                    scene.track.changes[segment],
                )
                rows.append(
                    {
                        "path": _name(number),
                        "frame": place * settings.num_frames + frame,
                        "split": str(splits[scene.glyph]),
                        "digit": int(digits[scene.glyph]),
                        "glyph": scene.glyph,
                        "setting": settings.setting,
                        "change_axis": int(scene.track.axes[segment]),
                        **dict(zip(FACTORS, np.concatenate(quantities).tolist(), strict=True)),
                    }
                )
    table = pa.Table.from_pylist(rows)
    written = json.dumps(asdict(settings) | {"num_videos": len(videos)})
    unfinished = out / ".factors.parquet.tmp"
    pq.write_table(table.replace_schema_metadata({METADATA: written}), unfinished)
    unfinished.replace(out / "factors.parquet")


def _write_chunk(tasks: Sequence[_Task]) -> int:
    for task in tasks:
        scenes = [
            render(glyph, positions, task.settings.canvas)
            for glyph, positions in zip(task.glyphs, task.positions, strict=True)
        ]
        unfinished = task.path.with_name(f".{task.path.name}.tmp")
        _encode(unfinished, scenes, task.settings.fps)
        unfinished.replace(task.path)
    return len(tasks)


def _encode(path: Path, scenes: list[NDArray[np.uint8]], fps: int) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options=ENCODER)
        stream.height, stream.width = scenes[0].shape[1:]
        stream.pix_fmt = "yuv420p"
        stream.gop_size = KEY_FRAME_EVERY
        for scene in scenes:
            for number, pixels in enumerate(scene):
                frame = av.VideoFrame.from_ndarray(pixels, format="gray")
                if number == 0:
                    frame.pict_type = PictureType.I
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
