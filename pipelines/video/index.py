"""The index of a collection of videos: one Parquet file, one row a file, made by `indexer`.

A row says how many frames decode, how large they are shown, where the key frames lie, by which
decoder and how they are reached (see `frames`), the video's split, or the reason why the file is
skipped.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.storage.folder import parent_and_name
from pipelines.storage.objects import Stamp, is_remote
from pipelines.storage.parquet import not_parquet
from pipelines.video.containers import Source, opened_bytes
from pipelines.video.frames import Access
from pipelines.video.splits import SPLITS

VERSION_KEY = b"adassl.index_version"
VERSION = b"4"
"""Of the columns. An index of an earlier version, which lacks some, serves as it is; when it is
made again, files that decord alone had looked at, as in version 1, are probed again."""
SCHEMA = pa.schema(
    {
        "path": pa.string(),
        "num_frames": pa.int64(),
        "fps": pa.float64(),
        "width": pa.int32(),
        "height": pa.int32(),
        "duration_seconds": pa.float64(),
        "codec": pa.string(),
        "rotation": pa.int32(),
        "key_frames": pa.list_(pa.int32()),
        "decoder": pa.string(),
        "seek": pa.string(),
        "stream": pa.int32(),
        "key_times": pa.list_(pa.int64()),
        "key_bytes": pa.list_(pa.int64()),
        "header_bytes": pa.list_(pa.int64()),
        "check": pa.string(),
        "digest": pa.string(),
        "size_bytes": pa.int64(),
        "mtime_ns": pa.int64(),
        "split": pa.string(),
        "factors": pa.list_(pa.string()),
        "label": pa.string(),
        "group": pa.string(),
        "original": pa.string(),
        "usable": pa.bool_(),
        "reason": pa.string(),
    },
    metadata={VERSION_KEY: VERSION},
)
_EARLIER_VERSIONS = (b"1", b"2", b"3")
_IN_EARLIER: dict[str, object] = {
    "decoder": "decord",
    "stream": 0,
    "key_times": [],
    "key_bytes": [],
    "header_bytes": [],
    "check": "full",
    "label": None,
    "group": None,
    "original": None,
}
"""What held in an index that lacks a column, for usable videos."""

DIGEST_CHUNK_BYTES = 1 << 22
SAMPLE_CHUNKS, SAMPLE_CHUNK_BYTES = 16, 1 << 18
"""Parts of a file that is checked by a sample, and their size, of which its digest is made."""


class IndexFileError(UserError, ValueError):
    """A file that is not an index."""


@dataclass(frozen=True, kw_only=True)
class VideoIndex:
    """Rows of an index; the columns as arrays."""

    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> NDArray[Any]:
        """A column as an array, strings as objects."""
        values: NDArray[Any] = self.table[name].to_numpy(zero_copy_only=False)
        return values

    @cached_property
    def path(self) -> NDArray[np.object_]:
        """Absolute path of each file."""
        return self.column("path")

    @property
    def named(self) -> NDArray[np.object_]:
        """The path by which labels name each video: of the original, where it is a copy."""
        originals = self.column("original")
        return np.where(pc.is_valid(self.table["original"]), originals, self.path)

    @cached_property
    def is_remote(self) -> bool:
        """Whether some of the videos are objects."""
        return any(map(is_remote, self.path))

    @cached_property
    def num_frames(self) -> NDArray[np.int64]:
        """Frames of each video that decode."""
        return self.column("num_frames")

    @cached_property
    def fps(self) -> NDArray[np.float64]:
        """Frames per second of each video, on average."""
        return self.column("fps")

    @cached_property
    def width(self) -> NDArray[np.int32]:
        """Pixels, as displayed: after rotation, with square pixels."""
        return self.column("width")

    @cached_property
    def height(self) -> NDArray[np.int32]:
        """Pixels, as displayed."""
        return self.column("height")

    @cached_property
    def factors(self) -> list[list[str]]:
        """The tables of labels that name each video, the nearest last."""
        tables: list[list[str] | None] = self.table["factors"].to_pylist()
        return [each or [] for each in tables]

    def labels(self) -> dict[str, int]:
        """How many videos there are of each class that a folder or a list gives."""
        return dict(Counter(name for name in self.table["label"].to_pylist() if name))

    @property
    def is_current(self) -> bool:
        """Whether its files were probed as they are now: all since version 2."""
        return bool(self.table.schema.metadata[VERSION_KEY] != b"1")

    def key_frames(self, row: int) -> NDArray[np.int32]:
        """Numbers of one video's key frames, in presentation order; the first is 0."""
        frames: NDArray[np.int32] = self.table["key_frames"][int(row)].values.to_numpy()
        return frames

    def all_key_frames(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Numbers of all videos' key frames, one video after another, and how many each has."""
        column = self.table["key_frames"].combine_chunks()
        frames: NDArray[np.int32] = column.flatten().to_numpy()
        counts: NDArray[np.int64] = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
        return frames, counts

    def access(self, row: int) -> Access:
        """How one video's frames are reached."""
        row = int(row)
        names = ("decoder", "seek", "stream", "size_bytes", "mtime_ns")
        decoder, seek, stream, size, changed = (self.table[name][row].as_py() for name in names)
        return Access(
            decoder=decoder,
            seek=seek,
            key_frames=self.key_frames(row),
            key_times=self._numbers("key_times", row),
            key_bytes=self._numbers("key_bytes", row),
            header_bytes=self._numbers("header_bytes", row),
            stream=stream,
            stamp=None if size is None else Stamp(size_bytes=size, mtime_ns=changed),
        )

    def _numbers(self, name: str, row: int) -> NDArray[np.int64]:
        values = self.table[name][row].values
        return np.empty(0, np.int64) if values is None else values.to_numpy()

    def take(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> "VideoIndex":
        """Some rows, in the order given."""
        return VideoIndex(table=self.table.take(pa.array(rows, pa.int64())).combine_chunks())

    def select(self, *, split: str | None = None, usable: bool = True) -> "VideoIndex":
        """The usable videos (or those skipped), of one split or of all."""
        return VideoIndex(table=selected(self.table, split=split, usable=usable))

    def digest(self) -> str:
        """The same for the same videos in the same splits and order, wherever they lie."""
        rows = self.table.select(["digest", "num_frames", "split"]).to_pylist()
        return hashlib.blake2b(json.dumps(rows).encode(), digest_size=16).hexdigest()

    def reasons(self) -> dict[str, int]:
        """Files skipped, by kind of reason, the most frequent first."""
        return reasons_in(self.table)

    def describe(self) -> str:
        """A line about what is here."""
        splits = Counter(self.select().table["split"].to_pylist())
        shares = ", ".join(f"{splits[split]} {split}" for split in SPLITS)
        reasons = "; ".join(f"{kind} ({count})" for kind, count in self.reasons().items())
        skipped = f"; skipped: {reasons}" if reasons else ""
        by_pyav = self.table["decoder"].to_pylist().count("pyav")
        decoders = f", {by_pyav} of them by PyAV" if by_pyav else ""
        sampled = self.table["check"].to_pylist().count("sample")
        checks = f", {sampled} checked by a sample" if sampled else ""
        shares += f", {splits[None]} in no split" if splits[None] else ""
        return f"{len(self)} files, {splits.total()} usable{decoders}{checks} ({shares}){skipped}"


def selected(table: pa.Table, *, split: str | None, usable: bool) -> pa.Table:
    """The rows with that `usable`, of one split or of all."""
    if split is not None and split not in SPLITS:
        raise ValueError(f"split={split!r}: it must be one of {', '.join(SPLITS)}")
    kept = pc.equal(table["usable"], usable)
    if split is not None:
        kept = pc.and_(kept, pc.equal(table["split"], split))
    return table.filter(kept).combine_chunks()


def reasons_in(table: pa.Table) -> dict[str, int]:
    """Rows skipped, by kind of `reason`, the most frequent first."""
    reasons = selected(table, split=None, usable=False)["reason"].to_pylist()
    return dict(Counter(reason.split(":")[0] for reason in reasons).most_common())


def load_index(path: str | Path) -> VideoIndex:
    """Read an index, at a path or a URI.

    Raises:
        IndexFileError: if the file is missing or is not an index of this version.
        StorageError: if it cannot be reached.
    """
    folder, name = parent_and_name(path)
    with folder.reading(name) as file:
        if file is None:
            raise IndexFileError(f"{path}: no such file; `adassl data index FOLDER --out {path}`")
        try:
            table = pq.read_table(file)
        except (pa.ArrowException, OSError) as error:
            raise IndexFileError(f"{path}: {not_parquet(file, error)}") from error
    version = (table.schema.metadata or {}).get(VERSION_KEY)
    if version in _EARLIER_VERSIONS:
        table = _completed(table)
    if version not in (*_EARLIER_VERSIONS, VERSION) or not table.schema.equals(SCHEMA):
        raise IndexFileError(
            f"{path}: its columns are not those of a video index of version {VERSION.decode()}; "
            f"remove it and run `adassl data index FOLDER --out {path}`"
        )
    return VideoIndex(table=table.combine_chunks())


def content_digest(source: Source, tick: Callable[[float], None] | None = None) -> str:
    """BLAKE2 of a file's content: the same wherever the file lies and whatever its name.

    `tick` is called after each part that was read. The digest of an empty file is "".
    """
    digest = hashlib.blake2b(digest_size=16)
    num_bytes = 0
    with opened_bytes(source) as file:
        while chunk := file.read(DIGEST_CHUNK_BYTES):
            digest.update(chunk)
            num_bytes += len(chunk)
            if tick:
                tick(0.0)
    return digest.hexdigest() if num_bytes else ""


def sample_digest(source: Source) -> str:
    """BLAKE2 of a file's size, its head, its tail and some parts between; "" of an empty file.

    A small file is read whole. It is never equal to `content_digest`.
    """
    with opened_bytes(source) as file:
        num_bytes = file.seek(0, os.SEEK_END)
        digest = hashlib.blake2b(b"%d" % num_bytes, digest_size=16, person=b"sample")
        last = max(0, num_bytes - SAMPLE_CHUNK_BYTES)
        for number in range(SAMPLE_CHUNKS):
            file.seek(last * number // (SAMPLE_CHUNKS - 1))
            digest.update(file.read(SAMPLE_CHUNK_BYTES))
    return digest.hexdigest() if num_bytes else ""


def digest_of(path: str, check: str) -> str:
    """The digest that the index has of a file that was checked in this way."""
    return sample_digest(path) if check == "sample" else content_digest(path)


def _completed(table: pa.Table) -> pa.Table:
    """An index of an earlier version with the columns of today; its version stays."""
    usable = table["usable"].to_pylist()
    for name, value in _IN_EARLIER.items():
        if name not in table.schema.names:
            values = [value if each else None for each in usable]
            table = table.append_column(name, pa.array(values, SCHEMA.field(name).type))
    at, field = table.schema.get_field_index("factors"), SCHEMA.field("factors")
    if at >= 0 and pa.types.is_string(table.schema.field(at).type):  # at most one table of labels
        tables = [[path] if path else [] for path in table["factors"].to_pylist()]
        table = table.set_column(at, field, pa.array(tables, field.type))
    return table.select([name for name in SCHEMA.names if name in table.schema.names])
