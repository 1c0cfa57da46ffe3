"""LeRobot data sets, versions 2 and 3, as videos of single episodes with a table of labels.

meta/info.json          version, rate, features, paths, splits by ranges of episodes
version 2               a video and a table for each episode; meta/episodes.jsonl, tasks.jsonl
version 3               files of many episodes; meta/episodes/*/*.parquet, meta/tasks.parquet

OUT/videos/CAMERA/episode_000000.mp4   a link to the original, or cut from it without a loss where
                                       the episode begins with a key frame
OUT/factors.parquet                    path, frame, episode, task, each state and action
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import UserError
from pipelines.sources.cut import CutError, cut_video

EPISODE = "episode"
"""The column that groups are made by: all cameras of an episode are in one split."""
_NOT_LABELS = ("timestamp", "frame_index", "episode_index", "index", "task_index")


class LeRobotError(UserError, ValueError):
    """What is no LeRobot data set, or lacks what is asked for."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an episode is in a video file, in seconds; None: it is the whole file."""

    file: Path
    seconds: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One episode: its number and length, its tasks, where its table and its videos are."""

    number: int
    num_frames: int
    tasks: tuple[str, ...]
    table: Path
    videos: Mapping[str, Place]


@dataclass(frozen=True, kw_only=True)
class LeRobotSummary:
    """What a call wrote."""

    num_episodes: int
    cameras: tuple[str, ...]
    labels: tuple[str, ...]
    skipped: Mapping[str, str]


def write_lerobot(
    data_set: str | Path, out: str | Path, *, cameras: Sequence[str] = ()
) -> LeRobotSummary:
    """Write OUT/videos and OUT/factors.parquet; videos that are there already stay.

    Args:
        data_set: the folder with meta/info.json.
        out: the folder to write.
        cameras: features that are videos; none: all.

    Raises:
        LeRobotError: if it is no LeRobot data set of version 2 or 3, or has no such camera.
    """
    root, out = Path(data_set).absolute(), Path(out).absolute()
    info = _info(root)
    features: dict[str, Any] = info["features"]
    there = [name for name, feature in features.items() if feature["dtype"] == "video"]
    if unknown := set(cameras) - set(there):
        raise LeRobotError(f"camera {', '.join(sorted(unknown))}: the set has {', '.join(there)}")
    if not there:
        raise LeRobotError(f"{root}: no feature is a video; sets of single pictures are not read")
    chosen = tuple(cameras) or tuple(there)
    columns = _label_columns(features)
    splits = _splits(info)
    skipped: dict[str, str] = {}
    episodes = list(_episodes(root, info, chosen))
    if not episodes:
        raise LeRobotError(f"{root}: it lists no episode")
    (out / "videos").mkdir(parents=True, exist_ok=True)
    tasks = _tasks(root, info)
    writer = None
    unfinished = out / ".factors.parquet.tmp"
    try:
        for episode in episodes:
            labels = _labels(episode, columns, tasks, splits)
            for camera in chosen:
                name = f"videos/{camera}/episode_{episode.number:06d}.mp4"
                try:
                    _place(episode.videos[camera], out / name)
                except (CutError, OSError) as error:
                    skipped[name] = str(error)
                    continue
                table = pa.Table.from_pandas(labels.assign(path=name), preserve_index=False)
                writer = writer or pq.ParquetWriter(unfinished, table.schema)
                writer.write_table(table.cast(writer.schema))
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        first = next(iter(skipped.items()))
        raise LeRobotError(f"{root}: no video can be used; {first[0]}: {first[1]}")
    unfinished.replace(out / "factors.parquet")
    names = tuple(name for names in columns.values() for name in names)
    return LeRobotSummary(num_episodes=len(episodes), cameras=chosen, labels=names, skipped=skipped)


def _info(root: Path) -> dict[str, Any]:
    try:
        info: dict[str, Any] = json.loads((root / "meta" / "info.json").read_text())
        version = str(info["codebase_version"])
        _ = info["features"], info["data_path"]
    except (OSError, ValueError, KeyError) as error:
        raise LeRobotError(
            f"{root}: no LeRobot data set: meta/info.json: {error!r}; name the folder that holds "
            "meta, data and videos"
        ) from error
    if version.lstrip("v").partition(".")[0] not in ("2", "3"):
        raise LeRobotError(f"{root}: LeRobot version {version}; 2 and 3 can be read")
    return info


def _is_version_3(info: Mapping[str, Any]) -> bool:
    return str(info["codebase_version"]).lstrip("v").startswith("3")


def _episodes(root: Path, info: Mapping[str, Any], cameras: Sequence[str]) -> Iterator[Episode]:
    for row in _episode_rows(root, info):
        number = int(row["episode_index"])
        chunk = number // int(info.get("chunks_size", 1000))
        where = {"episode_chunk": chunk, "episode_index": number}
        videos: dict[str, Place] = {}
        if _is_version_3(info):
            where = {"chunk_index": row["data/chunk_index"], "file_index": row["data/file_index"]}
        for camera in cameras:
            seconds = None
            at = where
            if _is_version_3(info):
                own = {
                    key: row[f"videos/{camera}/{key}"]
                    for key in ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
                }
                at = {key: own[key] for key in ("chunk_index", "file_index")}
                seconds = float(own["from_timestamp"]), float(own["to_timestamp"])
            file = root / str(info["video_path"]).format(video_key=camera, **at)
            videos[camera] = Place(file=file, seconds=seconds)
        yield Episode(
            number=number,
            num_frames=int(row["length"]),
            tasks=tuple(str(task) for task in row.get("tasks", ())),
            table=root / str(info["data_path"]).format(**where),
            videos=videos,
        )


def _episode_rows(root: Path, info: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    try:
        if not _is_version_3(info):
            for line in (root / "meta" / "episodes.jsonl").read_text().splitlines():
                if line.strip():
                    yield json.loads(line)
            return
        for file in sorted((root / "meta" / "episodes").rglob("*.parquet")):
            names = pq.read_schema(file).names
            wanted = [n for n in names if not n.startswith("stats/")]
            yield from pq.read_table(file, columns=wanted).to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise LeRobotError(f"{root}: the list of its episodes cannot be read: {error}") from error


def _tasks(root: Path, info: Mapping[str, Any]) -> dict[int, str]:
    """The words of each task, by its number; empty where they are not written down."""
    file = root / "meta" / ("tasks.parquet" if _is_version_3(info) else "tasks.jsonl")
    if not file.exists():
        return {}
    if file.suffix == ".jsonl":
        rows = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
        return {int(row["task_index"]): str(row["task"]) for row in rows}
    table = pd.read_parquet(file)
    words = table.get("task", table.index)
    return dict(zip(table["task_index"].astype(int), map(str, words), strict=True))


def _splits(info: Mapping[str, Any]) -> list[tuple[range, str]]:
    """Ranges of episodes and their splits; none where all are for training."""
    words = {"train": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}
    found = []
    for name, text in dict(info.get("splits") or {}).items():
        first, _, end = str(text).partition(":")
        if name not in words or not (first.isdigit() and end.isdigit()):
            raise LeRobotError(f"meta/info.json: split {name}={text!r}, not such as train=0:90")
        found.append((range(int(first), int(end)), words[name]))
    return found if {split for _, split in found} - {"train"} else []


def _label_columns(features: Mapping[str, Any]) -> dict[str, list[str]]:
    """Of each feature of numbers the names of its columns: `state.elbow` of observation.state."""
    columns: dict[str, list[str]] = {}
    for name, feature in features.items():
        shape = tuple(feature.get("shape") or (1,))
        kind = str(feature["dtype"])
        if name in _NOT_LABELS or kind in ("video", "image", "string") or len(shape) > 1:
            continue
        short = name.removeprefix("observation.")
        names = feature.get("names")
        if isinstance(names, Mapping):  # {"motors": […]}
            names = next(iter(names.values()), None)
        if not isinstance(names, list) or len(names) != shape[0]:
            names = [str(number) for number in range(shape[0])]
        columns[name] = [short] if shape == (1,) else [f"{short}.{each}" for each in names]
    return columns


def _labels(
    episode: Episode,
    columns: Mapping[str, list[str]],
    tasks: Mapping[int, str],
    splits: Sequence[tuple[range, str]],
) -> pd.DataFrame:
    """One row a frame: frame, episode, task, split if there are splits, states and actions."""
    try:
        there = pq.read_schema(episode.table).names
        wanted = [n for n in (*columns, "frame_index", "task_index") if n in there]
        rows = pq.read_table(
            episode.table, columns=wanted, filters=[("episode_index", "=", episode.number)]
        )
    except (OSError, pa.ArrowException) as error:
        raise LeRobotError(f"{episode.table}: cannot be read: {error}") from error
    frames = np.arange(len(rows))
    labels = {"path": "", "frame": frames, EPISODE: np.full(len(rows), episode.number)}
    words = ", ".join(episode.tasks)
    labels["task"] = np.full(len(rows), words, object)
    if tasks and "task_index" in there:
        numbers = rows["task_index"].to_pylist()
        labels["task"] = np.array([tasks.get(n, words) for n in numbers], object)
    if splits:
        named = next((split for where, split in splits if episode.number in where), "train")
        labels["split"] = np.full(len(rows), named, object)
    for feature, names in columns.items():
        if feature in there:
            values = np.asarray(rows[feature].to_pylist()).reshape(len(rows), len(names))
            labels |= dict(zip(names, values.T, strict=True))
    found = pd.DataFrame(labels)
    if "frame_index" in there:
        found["frame"] = rows["frame_index"].to_numpy().astype(np.int64)
    return found


def _place(place: Place, out: Path) -> None:
    """The episode as a video of its own."""
    if out.exists():
        return
    if not place.file.exists():
        raise CutError(f"{place.file} is missing")
    out.parent.mkdir(parents=True, exist_ok=True)
    if place.seconds is None:
        os.symlink(place.file, out)
    else:
        cut_video(place.file, out, *place.seconds)
