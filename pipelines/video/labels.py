"""Tables of labels beside the videos: where they are, how they are read, which videos they mean.

A table names a video in each row, in a column called `path`, `clip`, `video`, `file` or `filename`,
relative to its own folder or to one below, with or without its suffix. Optional are `split`
(train, val, test) and `frame`, the number that the row is about; every other column is a label.
"""

import io
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import UserError
from pipelines.storage.folder import StorageError
from pipelines.storage.objects import is_remote, read_object
from pipelines.storage.parquet import not_parquet
from pipelines.video.splits import SPLITS, VIDEO_SUFFIXES, VideoFile

STEMS = ("clips", "frames", "labels", "factors")
"""Names of tables that are found, without their suffix; of two that say different things in one
folder the later counts."""
SUFFIXES = (".csv", ".parquet")
_PATHS, _FRAMES = ("path", "clip", "video", "file", "filename"), ("frame", "frame_index")


class FactorsError(UserError, ValueError):
    """A table of labels that makes no sense."""


class VideoNames:
    """Finds the videos that a table or a list means by a name."""

    def __init__(self, paths: Iterable[str]) -> None:
        """Know the absolute paths of the videos."""
        self._by_stem: dict[str, list[str]] = {}
        for path in paths:
            self._by_stem.setdefault(os.path.basename(_stem(path)), []).append(path)

    def meant_by(self, name: str, folder: str | None, *, below: bool = True) -> list[str]:
        """The video at that path from the folder, else all whose paths end with the name.

        Args:
            name: a path, relative or absolute, with or without a video's suffix.
            folder: that the name is relative to; None: to any.
            below: whether only videos in or below the folder can be meant.
        """
        name = _normal(name)
        exact = _normal(name if folder is None else os.path.join(folder, name))
        same = self._by_stem.get(os.path.basename(_stem(name)), [])
        if exact in same:
            return [exact]
        end = os.sep + _stem(name)
        start = folder + os.sep if folder and below else ""
        return [path for path in same if path.startswith(start) and _stem(path).endswith(end)]


def _normal(path: str) -> str:
    """Without `.` and `..`; of a URI, whose two slashes stay, the path."""
    scheme, mark, rest = path.rpartition("://")
    return scheme + mark + os.path.normpath(rest)


def _stem(path: str) -> str:
    stem, suffix = os.path.splitext(path)
    return stem if suffix.lower() in VIDEO_SUFFIXES else path


def find_tables(files: Iterable[VideoFile], objects: Collection[str] = ()) -> list[str]:
    """Tables in the folders of videos and those above, up to one above the folder that was named.

    The farthest from the videos come first.

    Args:
        files: the videos.
        objects: that lie beside videos that are objects.
    """
    folders: set[str] = set()
    for file in files:
        folder, last = os.path.dirname(file.path), os.path.dirname(file.root)
        while folder not in folders:
            folders.add(folder)
            if folder == last:
                break
            folder = os.path.dirname(folder)
    names = [stem + suffix for stem in STEMS for suffix in SUFFIXES]
    tables = [os.path.join(f, n) for f in sorted(folders, key=lambda f: (len(f), f)) for n in names]
    return [
        table
        for table in tables
        if (table in objects or os.path.isfile(table)) and _names_videos(table)
    ]


def _names_videos(table: str) -> bool:
    """Whether a table is of videos; one called factors has to be."""
    return Path(table).stem == "factors" or not set(_PATHS).isdisjoint(_columns(table))


def read_table(table: str, only: Sequence[str] | None = None) -> pd.DataFrame:
    """A table with its columns `path` and `frame` (if it has frames), and all or only some others.

    Raises:
        FactorsError: if it cannot be read or names no videos.
    """
    columns = _columns(table)
    path = next((name for name in _PATHS if name in columns), None)
    if path is None:
        raise FactorsError(
            f"{table}: no column path; it must name each video's path, relative to its own folder"
        )
    frame = next((name for name in _FRAMES if name in columns), None)
    wanted = [n for n in columns if only is None or n in only or n in (path, frame)]
    try:
        if table.endswith(".csv"):
            found = pd.read_csv(_opened(table), usecols=wanted, dtype={path: str})
        else:
            found = pd.read_parquet(_opened(table), columns=wanted)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FactorsError(f"{table}: cannot be read: {error}") from error
    found = found.rename(columns={path: "path"} | ({frame: "frame"} if frame else {}))
    if found["path"].isna().any():
        raise FactorsError(f"{table}: {int(found['path'].isna().sum())} rows name no video")
    found["path"] = found["path"].astype(str)
    return found


def read_splits(table: str) -> dict[str, str | None]:
    """The split that a table gives each name; None where it has no splits.

    Raises:
        FactorsError: for an unknown split, or a video in two.
    """
    found = read_table(table, ["split"])
    if "split" not in found:
        return dict.fromkeys(found["path"].unique())
    splits: dict[str, str | None] = {}
    for name, split in found[["path", "split"]].drop_duplicates().itertuples(index=False):
        if split not in SPLITS:
            raise FactorsError(f"{table}: split {split!r}, not one of {', '.join(SPLITS)}")
        if name in splits:
            raise FactorsError(f"{table}: {name} is in two splits")
        splits[name] = split
    return splits


def read_groups(table: str, column: str) -> dict[str, str]:
    """The group that a column of a table gives each name; empty where there is no such column.

    Raises:
        FactorsError: if a video is in two groups.
    """
    found = read_table(table, [column])
    if column not in found:
        return {}
    groups: dict[str, str] = {}
    for name, group in found[["path", column]].dropna().drop_duplicates().itertuples(index=False):
        if name in groups:
            raise FactorsError(
                f"{table}: {name} has several values of {column}; a group holds whole videos"
            )
        groups[name] = str(group)
    return groups


def _opened(table: str) -> Any:
    """A table's path, or the content of one that is an object."""
    return io.BytesIO(read_object(table)) if is_remote(table) else table


def _columns(table: str) -> list[str]:
    try:
        if table.endswith(".csv"):
            return [str(name) for name in pd.read_csv(_opened(table), nrows=0).columns]
        return [str(name) for name in pq.read_schema(_opened(table)).names]
    except StorageError as error:
        raise FactorsError(str(error)) from error
    except (pa.ArrowException, OSError) as error:
        why = error if is_remote(table) else not_parquet(table, error)
        raise FactorsError(f"{table}: {why}") from error
    except ValueError as error:
        raise FactorsError(f"{table}: not a table of comma-separated values: {error}") from error
