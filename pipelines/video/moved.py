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
from pipelines.storage.folder import absolute
from pipelines.storage.objects import Stamp, is_remote, objects_below, stamp_of
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
        missing = missing_files(paths)
    else:
        index, missing = _moved(index, rows.tolist(), absolute(data.videos_root))
    if len(missing) > data.max_failed_share * len(paths):
        where = "where the index has them" if data.videos_root is None else "there"
        shown = ", ".join(missing[:_SHOWN]) + (", …" if len(missing) > _SHOWN else "")
        raise ConfigError(
            f"{len(missing)} of {len(paths)} videos of {data.index} are not {where}: {shown}. "
            "Where they were moved, give the folder that holds them now: --videos-root FOLDER "
            "(data.videos_root); where they changed, index them again"
        )
    return index


def _moved(index: VideoIndex, rows: list[int], root: str) -> tuple[VideoIndex, list[str]]:
    """The index with the paths that its videos have below `root`, and those not found there."""
    there: dict[tuple[str, int], list[str]] = {}
    stamps = _files_below(root)
    for path, stamp in stamps.items():
        there.setdefault((os.path.basename(path), stamp.size_bytes), []).append(path)
    paths, factors = list(index.path), list(index.factors)
    sizes, digests = index.column("size_bytes"), index.column("digest")
    checks = index.column("check")
    changed, missing = index.column("mtime_ns").copy(), []
    for row in rows:
        old = str(paths[row])
        found = there.get((Path(old).name, int(sizes[row])), [])
        if len(found) > 1:  # same name and size: compare contents
            found = [path for path in found if digest_of(path, checks[row]) == digests[row]]
            found.sort(key=lambda path: -_shared_parts(path, old))
        if not found:
            missing.append(old)
            continue
        paths[row], changed[row] = found[0], stamps[found[0]].mtime_ns
        factors[row] = [_moved_table(table, old, found[0]) for table in factors[row]]
    columns = {"path": paths, "factors": factors, "mtime_ns": changed}
    if is_remote(root):
        columns |= _decoded_by_pyav(index, rows)
    table = index.table
    for name, values in columns.items():
        at = SCHEMA.get_field_index(name)
        table = table.set_column(at, SCHEMA.field(name), pa.array(values, SCHEMA.field(name).type))
    return VideoIndex(table=table), missing


def _decoded_by_pyav(index: VideoIndex, rows: list[int]) -> dict[str, list[str | None]]:
    """How PyAV reaches the frames of videos that decord would have read as files."""
    decoders, seeks = (index.table[name].to_pylist() for name in ("decoder", "seek"))
    times = index.table["key_times"].to_pylist()
    for row in rows:
        if decoders[row] == "decord":
            decoders[row], seeks[row] = "pyav", "key_frame" if times[row] else "start"
    return {"decoder": decoders, "seek": seeks}


def missing_files(paths: Sequence[str]) -> list[str]:
    """Those that are not there.

    Folders and buckets are listed, for to ask for each of very many takes longer. A web server
    need not tell what it has: what is missing there comes out when it is read.
    """
    objects: dict[str, list[str]] = {}
    folders = set()
    for path in paths:
        if is_remote(path):
            objects.setdefault("/".join(path.split("/")[:3]), []).append(path)
        else:
            folders.add(os.path.dirname(path))
    there: set[str] = set()
    for bucket, some in objects.items():
        if bucket.startswith("http"):
            there |= set(some)
        else:
            within = os.path.commonpath([path.removeprefix(bucket) for path in some])
            folder = os.path.dirname(within) if len(some) == 1 else within
            there |= objects_below(bucket + folder.rstrip("/")).keys()
    for folder in folders:
        with suppress(OSError), os.scandir(folder) as entries:
            there.update(e.path for e in entries if not e.is_symlink() or os.path.exists(e.path))
    return [path for path in paths if path not in there]


def _files_below(root: str) -> dict[str, Stamp]:
    """All files below a folder, at a path or a URI."""
    if is_remote(root):
        return objects_below(root)
    files = {}
    for folder, _, names in os.walk(root, followlinks=True):
        for path in (Path(folder, name) for name in names):
            if path.is_file():
                files[str(path.absolute())] = stamp_of(str(path))
    return files


def _moved_table(table: str, old: str, new: str) -> str:
    """Where a table of labels is that moved together with a video."""
    within = os.path.relpath(old, os.path.dirname(table))
    moved = new.endswith(os.sep + within)
    return new.removesuffix(within) + os.path.basename(table) if moved else table


def _shared_parts(path: str, other: str) -> int:
    """How many folders two paths share, counted from their ends."""
    pairs = zip(reversed(Path(path).parts), reversed(Path(other).parts), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
