"""The folder of embeddings: what it was made by, its parts, and which clips they hold.

OUT/manifest.json     the run, the checkpoint, the stride: what must not change
OUT/videos.parquet    the videos of the library, as an index
OUT/parts/*.parquet   a row a clip; a part is written whole or not at all
OUT/skipped.json      videos of which the newest run could not embed every clip, and why

Of a table of pairs, its entries stand there as videos of one clip (see `entries`).

A clip is known by its video's path and content and by its first frame, never by its place in an
index. So a library may grow, shrink, move or change between two runs.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config.run import ConfigError
from pipelines.library.encode import What
from pipelines.storage.folder import Folder, StorageError
from pipelines.video.index import SCHEMA, VideoIndex, load_index
from pipelines.video.tiles import Integers

MANIFEST, VIDEOS, PARTS, SKIPPED = "manifest.json", "videos.parquet", "parts", "skipped.json"
TOKENIZER = "tokenizer.json"
PART_CLIPS = 16_384
"""Clips of a part, at most about."""
PART_SECONDS = 20.0
"""After which a part is written however few clips it has: no more work than that is lost."""
KEYS = ("path", "digest", "start_frame", "split")
_MAY_CHANGE = ("run", "checkpoint", "index")
_WORDS = {
    "fingerprint": "the run's config",
    "weights": "the weights",
    "step": "the checkpoint's step",
    "stride_seconds": "--stride",
    "what": "--what",
    "precision": "--precision",
    "frames_per_clip": "frames of a clip",
    "kinds": "the kinds of entries",
    "tokenizer": "the tokenizer",
}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a folder of embeddings was made by.

    Attributes:
        run: path or URI of the run's folder.
        checkpoint: newest or best.
        step: of the checkpoint.
        fingerprint: of the run's config.
        weights: digest of the encoder's weights.
        index: path or URI of the index of the newest run of `adassl embed`.
        stride_seconds: between the starts of two clips of a video.
        frames_per_clip: frames of a clip.
        what: "h", "z" or "both".
        precision: of the numbers in the parts.
        kinds: of a table of pairs, what its views are, or `item`; None: clips of videos.
        tokenizer: digest of the tokenizer of its texts, which lies beside as `TOKENIZER`.
    """

    run: str
    checkpoint: str
    step: int
    fingerprint: str
    weights: str
    index: str
    stride_seconds: float
    frames_per_clip: int
    what: What
    precision: str
    kinds: Mapping[str, str] | None = None
    tokenizer: str | None = None


def read_manifest(folder: Folder) -> Manifest | None:
    """What a folder was made by; None where nothing says it."""
    content = folder.read_json(MANIFEST)
    try:
        return None if content is None else Manifest(**content)
    except TypeError:
        raise ConfigError(
            f"{folder}/{MANIFEST} is not that of a folder of embeddings; choose another folder"
        ) from None


def register(folder: Folder, manifest: Manifest) -> None:
    """Take a folder for these embeddings, or go on where they are the same.

    Raises:
        ConfigError: if it holds other embeddings, or something else.
    """
    before = read_manifest(folder)
    if before is None and folder.exists(PARTS):
        raise ConfigError(f"{folder} has {PARTS}/ but no {MANIFEST}; choose another folder")
    if before is not None:
        old, new = asdict(before), asdict(manifest)
        changed = [
            f"{_WORDS[name]} {old[name]}, now {new[name]}"
            for name in _WORDS
            if old[name] != new[name] and name not in _MAY_CHANGE
        ]
        if changed:
            raise ConfigError(
                f"{folder} holds embeddings by {before.run} that were made otherwise: "
                f"{'; '.join(changed)}. Give these another --out, or delete {folder}"
            )
    folder.write_json(MANIFEST, asdict(manifest))


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the parts of a folder hold.

    Attributes:
        starts: first frames of the clips of each video, by its path.
        num_parts: the number of the next part.
    """

    starts: Mapping[str, Integers]
    num_parts: int

    @property
    def num_clips(self) -> int:
        """Clips of all videos."""
        return sum(map(len, self.starts.values()))


def adopt(folder: Folder, videos: VideoIndex) -> Known:
    """Bring the parts in line with an index, write `VIDEOS`, and say what the parts hold.

    Clips of a video that has another path or split now get these; those of a video whose content
    is another now go; those of videos that the index lacks stay.
    """
    keys = read_keys(folder)
    row_of = {path: row for row, path in enumerate(videos.path)}
    digests, splits = videos.column("digest"), videos.table["split"].to_pylist()
    place_of: dict[str, str] = dict(zip(reversed(digests), reversed(videos.path), strict=True))

    def place(path: str, digest: str) -> str | None:
        if path in row_of:
            return path if digests[row_of[path]] == digest else None
        return place_of.get(digest, path)

    pairs = keys[["path", "digest"]].drop_duplicates()
    pairs["now"] = [place(*pair) for pair in pairs.itertuples(index=False, name=None)]
    keys = keys.merge(pairs, on=["path", "digest"], how="left")
    keys["kept"] = keys["now"].notna() & ~keys.duplicated(["now", "start_frame"])
    old = keys["split"].tolist()
    keys["split"] = [
        splits[row_of[path]] if path in row_of else before
        for path, before in zip(keys["now"], old, strict=True)
    ]
    same_split = [now == before for now, before in zip(keys["split"], old, strict=True)]
    is_stale = ~keys["kept"] | (keys["now"] != keys["path"]) | ~np.array(same_split, bool)
    for name in keys.loc[is_stale, "part"].unique():
        _rewrite(folder, name, keys[keys["part"] == name])
    kept = keys[keys["kept"]]
    starts = {
        str(path): np.sort(of.to_numpy(np.int64)) for path, of in kept.groupby("now")["start_frame"]
    }
    _write_videos(folder, videos, starts.keys() - row_of.keys())
    numbers = [int(name.partition(".")[0]) for name in part_names(folder)]
    return Known(starts=starts, num_parts=max(numbers, default=-1) + 1)


def part_names(folder: Folder) -> list[str]:
    """Names of the parts, in the order in which they were written."""
    names = folder.child(PARTS).files()
    return [name for name in names if name.endswith(".parquet") and not name.startswith(".")]


def read_keys(folder: Folder) -> pd.DataFrame:
    """`KEYS` of every clip, and the `part` that it is in, without the embeddings.

    Raises:
        StorageError: if a part cannot be read.
    """
    found = [
        read_part(folder, name, KEYS).to_pandas().assign(part=name) for name in part_names(folder)
    ]
    if not found:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in (*KEYS, "part")})
    together: pd.DataFrame = pd.concat(found, ignore_index=True)
    return together


def read_part(folder: Folder, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A part, or some of its columns.

    Raises:
        StorageError: if it cannot be read.
    """
    try:
        with folder.opened(f"{PARTS}/{name}") as file:
            return pq.read_table(file, columns=columns and list(columns))
    except (pa.ArrowException, OSError) as error:
        raise StorageError(
            f"{folder}/{PARTS}/{name} cannot be read ({error}): delete it, and `adassl embed` "
            "makes its clips again"
        ) from error


def _rewrite(folder: Folder, name: str, keys: pd.DataFrame) -> None:
    """Give the clips of a part the paths and splits that they have now."""
    table = read_part(folder, name)
    for column, values in (("path", keys["now"]), ("split", keys["split"])):
        field = table.schema.field(column)
        new = [None if pd.isna(value) else value for value in values]
        table = table.set_column(
            table.schema.get_field_index(column), field, pa.array(new, field.type)
        )
    table = table.filter(pa.array(keys["kept"].to_numpy(bool)))
    if table.num_rows:
        _write(folder, name, table)
    else:
        folder.remove(f"{PARTS}/{name}")


def _write_videos(folder: Folder, videos: VideoIndex, others: Collection[str]) -> None:
    """The index of the library: what the index has now, and what else has clips."""
    tables = [videos.table]
    if others and folder.exists(VIDEOS):
        before = load_index(folder.child(VIDEOS).uri)
        rows = [row for row, path in enumerate(before.path) if path in others]
        tables.append(before.take(rows).table)
    with folder.writing(VIDEOS) as file:
        pq.write_table(pa.concat_tables([t.cast(SCHEMA) for t in tables]), file)


class PartWriter:
    """Gathers clips as they come, and writes a part when there are enough or some time has gone."""

    def __init__(self, folder: Folder, first: int) -> None:
        """Go on with a number that no part has."""
        self._folder, self._number = folder, first
        self._rows: list[pa.Table] = []
        self._since = time.monotonic()

    def add(self, rows: pa.Table) -> None:
        """Take some clips.

        Raises:
            StorageError: if they cannot be written.
        """
        if rows.num_rows:
            self._rows.append(rows)
        is_due = time.monotonic() - self._since > PART_SECONDS
        if is_due or sum(table.num_rows for table in self._rows) >= PART_CLIPS:
            self.write()

    def write(self) -> None:
        """Write what there is."""
        if self._rows:
            _write(self._folder, f"{self._number:06d}.parquet", pa.concat_tables(self._rows))
            self._number, self._rows = self._number + 1, []
        self._since = time.monotonic()


def _write(folder: Folder, name: str, table: pa.Table) -> None:
    with folder.writing(f"{PARTS}/{name}") as file:
        pq.write_table(table, file, compression="zstd", use_dictionary=["path", "digest", "split"])
