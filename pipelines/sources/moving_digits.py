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
    mirrored,
    render_together,
)
from pipelines.sources.many_files import write_files

LABELS = ("digit",)
"""Columns of factors.parquet that name a class."""
FACTORS = ("position_x", "position_y", "velocity_x", "velocity_y", "change_x", "change_y")
"""Columns that are quantities: pixels and pixels per frame, at the segment's first frame."""


def column_of(name: str, number: int) -> str:
    """The column of a factor of digit 1, 2 or 3: `velocity_x`, `velocity_x_2`, `velocity_x_3`."""
    return name if number == 1 else f"{name}_{number}"


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
    digits: int = 1,
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
    and FACTORS. A second and a third digit have columns of their own, such as `digit_2` and
    `velocity_x_2` (`column_of`); the first one moves as it does alone.

    Args:
        out: the folder.
        num_videos: how many.
        setting: A, the axis of the change is a fair coin; B, it depends on the digit.
        num_frames: of each scene, at least 9.
        scenes: one after another in each video, each another digit on another way, all of one
            split. Opening a file costs more than reading nine small frames, so scenes save time.
        digits: in each scene at once, 1 to 3, all of one split.
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
        digits=digits,
        canvas=canvas,
        fps=fps,
        seed=seed,
    )
    if num_videos < 1:
        raise MovingDigitsError(f"num_videos={num_videos}: at least 1")
    out = Path(out)
    _check_folder(out, settings, num_videos)
    glyphs, labels = load_glyphs()
    splits = glyph_splits(len(labels), settings.seed)
    videos = [_video(settings, number, labels, splits) for number in range(num_videos)]
    (out / "videos").mkdir(parents=True, exist_ok=True)
    _write_factors(out, settings, videos, labels, splits)  # first: it says what the folder is
    todo = [
        _Task(
            path=path,
            glyphs=[[glyphs[moving.glyph] for moving in scene] for scene in scenes_],
            positions=[[moving.track.positions for moving in scene] for scene in scenes_],
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
class _Moving:
    """One digit of a scene."""

    glyph: int
    track: Track


_Scene = Sequence[_Moving]


@dataclass(frozen=True, kw_only=True)
class _Task:
    path: Path
    glyphs: list[list[NDArray[np.float64]]]
    positions: list[list[NDArray[np.float64]]]
    settings: MovingDigitsSettings


def _name(number: int) -> str:
    return f"videos/{number:06d}.mp4"


def _video(
    settings: MovingDigitsSettings,
    number: int,
    labels: NDArray[np.int64],
    splits: NDArray[np.str_],
) -> list[_Scene]:
    first = _moving(settings, number, 1, labels, np.arange(len(labels)), splits)
    same_split = np.flatnonzero(splits == splits[first[0].glyph])
    others = (
        _moving(settings, number, place, labels, same_split, splits)
        for place in range(2, settings.digits + 1)
    )
    return list(zip(first, *others, strict=True))


def _moving(
    settings: MovingDigitsSettings,
    number: int,
    place: int,
    labels: NDArray[np.int64],
    choice: NDArray[np.int64],
    splits: NDArray[np.str_],
) -> list[_Moving]:
    """The first, second or third digit of each scene of a video, whatever else is in them."""
    rng = np.random.default_rng([settings.seed, place, number])
    found: list[_Moving] = []
    for _ in range(settings.scenes):
        glyph = int(choice[rng.integers(len(choice))])
        track = draw_track(
            rng, setting=settings.setting, digit=int(labels[glyph]), num_frames=settings.num_frames
        )
        found.append(_Moving(glyph=glyph, track=mirrored(track, place, settings.canvas)))
        choice = np.flatnonzero(splits == splits[found[0].glyph])
    return found


def _check_folder(out: Path, settings: MovingDigitsSettings, num_videos: int) -> None:
    factors = out / "factors.parquet"
    if not factors.exists():
        if (out / "videos").exists():
            raise MovingDigitsError(f"{out} holds videos of another kind; choose another folder")
        return
    written = json.loads((pq.read_schema(factors).metadata or {}).get(METADATA, b"{}"))
    asked = _described(settings) | {"num_videos": num_videos}
    keys = ({*written} | {*asked}) - {"num_videos"}
    other = {key for key in keys if written.get(key) != asked.get(key)}
    if not written or other or written["num_videos"] > num_videos:
        raise MovingDigitsError(
            f"{out} was written with {written or 'something else'}, asked for now is {asked}; "
            "choose another folder or remove this one (num_videos alone may grow)"
        )


def _described(settings: MovingDigitsSettings) -> dict[str, Any]:
    """As factors.parquet keeps them: without a number of digits that older sets do not have."""
    return {k: v for k, v in asdict(settings).items() if (k, v) != ("digits", 1)}


def _write_factors(
    out: Path,
    settings: MovingDigitsSettings,
    videos: list[list[_Scene]],
    labels: NDArray[np.int64],
    splits: NDArray[np.str_],
) -> None:
    segments = range(0, settings.num_frames - SEGMENT_FRAMES + 1, CHANGE_EVERY)
    rows: list[dict[str, Any]] = []
    for number, scenes in enumerate(videos):
        for place, scene in enumerate(scenes):
            for segment, frame in enumerate(segments):
                row = {
                    "path": _name(number),
                    "frame": place * settings.num_frames + frame,
                    "split": str(splits[scene[0].glyph]),
                }
                for which, moving in enumerate(scene, 1):
                    own: dict[str, Any] = {
                        "digit": int(labels[moving.glyph]),
                        "glyph": moving.glyph,
                        **({"setting": settings.setting} if which == 1 else {}),
                        **_motion(moving.track, segment, frame),
                    }
                    row |= {column_of(name, which): value for name, value in own.items()}
                rows.append(row)
    table = pa.Table.from_pylist(rows)
    written = json.dumps(_described(settings) | {"num_videos": len(videos)})
    unfinished = out / ".factors.parquet.tmp"
    pq.write_table(table.replace_schema_metadata({METADATA: written}), unfinished)
    unfinished.replace(out / "factors.parquet")


def _motion(track: Track, segment: int, frame: int) -> dict[str, Any]:
    quantities = track.positions[frame], track.velocities[frame], track.changes[segment]
    values = dict(zip(FACTORS, np.concatenate(quantities).tolist(), strict=True))
    return {"change_axis": int(track.axes[segment]), **values}


def _write_chunk(tasks: Sequence[_Task]) -> int:
    for task in tasks:
        scenes = [
            render_together(glyphs, positions, task.settings.canvas)
            for glyphs, positions in zip(task.glyphs, task.positions, strict=True)
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
