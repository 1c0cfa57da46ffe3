"""The videos of an index where they are now: at the paths of the index, or under another folder."""

import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.config.data import DataConfig
from pipelines.config.run import ConfigError
from pipelines.video.index import SCHEMA, VideoIndex, digest_of, load_index

_SHOWN = 3


def find_indexed(data: DataConfig) -> VideoIndex:
    """Read an index and find its usable videos, below `data.videos_root` if it is set.

    Raises:
        ConfigError: if more of the videos are missing than `data.max_failed_share` allows.
    """
    index = load_index(data.index)
    rows = np.flatnonzero(index.column("usable"))
    paths = [str(index.path[row]) for row in rows]
    if data.videos_root is None:
        missing = _missing(paths)
    else:
        index, missing = _moved(index, rows.tolist(), data.videos_root)
    if len(missing) > data.max_failed_share * len(paths):
        where = "where the index has them" if data.videos_root is None else "there"
        shown = ", ".join(missing[:_SHOWN]) + (", …" if len(missing) > _SHOWN else "")
        raise ConfigError(
            f"{len(missing)} of {len(paths)} videos of {data.index} are not {where}: {shown}. "
            "Where they were moved, give the folder that holds them now: --videos-root FOLDER "
            "(data.videos_root); where they changed, index them again"
        )
    return index


def _missing(paths: Sequence[str]) -> list[str]:
    """Which files are not there, by a list of each folder: to ask for each takes longer."""
    there: set[str] = set()
    for folder in {os.path.dirname(path) for path in paths}:
        with suppress(OSError), os.scandir(folder) as entries:
            there.update(e.path for e in entries if not e.is_symlink() or os.path.exists(e.path))
    return [path for path in paths if path not in there]


def _moved(index: VideoIndex, rows: list[int], root: str) -> tuple[VideoIndex, list[str]]:
    """The index with the paths that its videos have below `root`, and those not found there."""
    there: dict[tuple[str, int], list[str]] = {}
    for folder, _, names in os.walk(root, followlinks=True):
        for path in (Path(folder, name) for name in names):
            if path.is_file():
                there.setdefault((path.name, path.stat().st_size), []).append(str(path.absolute()))
    paths, factors = list(index.path), list(index.factors)
    sizes, digests = index.column("size_bytes"), index.column("digest")
    checks = index.column("check")
    missing = []
    for row in rows:
        old = str(paths[row])
        found = there.get((Path(old).name, int(sizes[row])), [])
        if len(found) > 1:  # same name and size: compare contents
            found = [path for path in found if digest_of(path, checks[row]) == digests[row]]
            found.sort(key=lambda path: -_shared_parts(path, old))
        if not found:
            missing.append(old)
            continue
        paths[row] = found[0]
        factors[row] = [_moved_table(table, old, found[0]) for table in factors[row]]
    table = index.table
    for name, values in (("path", paths), ("factors", factors)):
        at = SCHEMA.get_field_index(name)
        table = table.set_column(at, SCHEMA.field(name), pa.array(values, SCHEMA.field(name).type))
    return VideoIndex(table=table), missing


def _moved_table(table: str, old: str, new: str) -> str:
    """Where a table of labels is that moved together with a video."""
    within = os.path.relpath(old, os.path.dirname(table))
    moved = new.endswith(os.sep + within)
    return new.removesuffix(within) + os.path.basename(table) if moved else table


def _shared_parts(path: str, other: str) -> int:
    """How many folders two paths share, counted from their ends."""
    pairs = zip(reversed(Path(path).parts), reversed(Path(other).parts), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
