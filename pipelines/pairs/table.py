"""A table of pairs: one Parquet file, a row a pair, or a row an item with a rule that pairs them.

context, target              a path, the bytes of a file, or a text; with a rule `item` alone
surrogate, negative          the same, of a further view of the target, and of what is not one
group                        rows of one group are never in two splits; what a video is to clips
split                        train, val or test; none: the row is not used
usable, reason, digest       whether its entries could be read, why not, and of what content
all other columns            factors: words and whole numbers are classes, fractions are values

Paths are relative to the table's folder, or absolute, or URIs. What each view is, the rule, and the
digest of the tokenizer beside a table of texts stand in the metadata of the schema.
"""

import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from pipelines.config.data import DataConfig
from pipelines.config.fields import Record
from pipelines.config.pairing import PairingRule
from pipelines.config.run import ConfigError
from pipelines.errors import UserError
from pipelines.storage.folder import Folder, absolute, parent_and_name
from pipelines.storage.objects import is_remote
from pipelines.storage.parquet import not_parquet
from pipelines.video.index import reasons_in, selected
from pipelines.video.moved import missing_files
from pipelines.video.splits import SPLITS

VERSION_KEY, ABOUT_KEY = b"adassl.pairs_version", b"adassl.pairs"
VERSION = b"1"
VIEWS = ("context", "target", "surrogate", "negative")
ITEM = "item"
SCORE = "score"
"""The column that says how alike the two texts of a pair are."""
OWN_COLUMNS = (*VIEWS, ITEM, "group", "split", "usable", "reason", "digest")
_SHOWN = 3

Kind = Literal["image", "text", "sound"]


class PairTableError(UserError, ValueError):
    """What is no table of pairs, or one that cannot be used."""


class About(Record):
    """What a table's metadata says of it."""

    kinds: dict[str, Kind]
    """Of each view, or of `item`."""
    rule: PairingRule | None = None
    tokenizer_digest: str | None = None
    """Of the tokenizer beside a table with texts."""


@dataclass(frozen=True, kw_only=True)
class PairTable:
    """The rows of a table of pairs.

    Attributes:
        table: the rows.
        about: what its metadata says.
        folder: that relative paths are in, a path or a URI.
        tokenizer: the tokenizer of its texts, as JSON; None: it has no texts.
    """

    table: pa.Table
    about: About
    folder: str
    tokenizer: str | None = None

    def __len__(self) -> int:
        """How many rows there are."""
        return int(self.table.num_rows)

    @property
    def rule(self) -> PairingRule | None:
        """How items are paired; None: each row is a pair."""
        return self.about.rule

    @property
    def views(self) -> tuple[str, ...]:
        """The views that it has, in order."""
        return VIEWS[:2] if ITEM in self.about.kinds else tuple(self.about.kinds)

    def kind(self, view: str) -> Kind:
        """What a view is."""
        return self.about.kinds.get(ITEM) or self.about.kinds[view]

    def column_of(self, view: str) -> str:
        """The column that a view is read from."""
        return ITEM if ITEM in self.about.kinds else view

    def entry(self, view: str, row: int) -> str | bytes:
        """A view's text, the bytes of its file, or the path of its file as others can open it."""
        value: str | bytes = self.table[self.column_of(view)][int(row)].as_py()
        if isinstance(value, bytes) or self.kind(view) == "text":
            return value
        return placed(value, self.folder)

    def label(self, row: int) -> str:
        """What a row is called in messages."""
        view = self.views[0]
        entry = self.table[self.column_of(view)][int(row)].as_py()
        is_path = isinstance(entry, str) and self.kind(view) != "text"
        return entry if is_path else f"row {self.number[int(row)]}"

    @cached_property
    def number(self) -> NDArray[np.int64]:
        """The number of each row in its file."""
        numbers: NDArray[np.int64] = self.table["_number"].to_numpy()
        return numbers

    @cached_property
    def _groups(self) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
        """The group of each row, by number, and their names; a row without one is its own."""
        group = self.table["group"]
        own = pc.binary_join_element_wise(
            "row", pc.cast(self.table["_number"], pa.string()), " ", null_handling="replace"
        )
        coded = pc.dictionary_encode(pc.coalesce(group, own)).combine_chunks()
        codes: NDArray[np.int64] = coded.indices.to_numpy().astype(np.int64)
        return codes, coded.dictionary.to_numpy(zero_copy_only=False)

    @property
    def group(self) -> NDArray[np.int64]:
        """The number of each row's group."""
        return self._groups[0]

    @property
    def path(self) -> NDArray[np.object_]:
        """The names of the groups by number, which stand where videos have paths."""
        return self._groups[1]

    @cached_property
    def is_remote(self) -> bool:
        """Whether some of its files are objects."""
        return any(map(is_remote, self.files()))

    def files(self) -> list[str]:
        """The files that its views are read from, each once a row."""
        return [
            placed(path, self.folder)
            for view in self._with_paths
            for path in self.table[self.column_of(view)].to_pylist()
        ]

    @property
    def _with_paths(self) -> list[str]:
        """Views that are read from paths."""
        own = self.views if self.rule is None else self.views[:1]
        return [
            view
            for view in own
            if self.kind(view) != "text"
            and pa.types.is_string(self.table.schema.field(self.column_of(view)).type)
        ]

    @property
    def factors(self) -> pd.DataFrame:
        """The columns of classes and values, a row a row."""
        names = [name for name in self.table.schema.names if name not in (*OWN_COLUMNS, "_number")]
        found: pd.DataFrame = self.table.select(names).to_pandas()
        for name in names:  # a missing class must not turn whole numbers into fractions
            if pa.types.is_integer(self.table.schema.field(name).type) and found[name].isna().any():
                found[name] = found[name].astype("Int64")
        return found

    def take(self, rows: NDArray[np.integer[Any]]) -> "PairTable":
        """Some rows, in the order given."""
        return replace(self, table=self.table.take(pa.array(rows, pa.int64())).combine_chunks())

    def select(self, *, split: str | None = None, usable: bool = True) -> "PairTable":
        """The usable rows (or those skipped), of one split or of all."""
        return replace(self, table=selected(self.table, split=split, usable=usable))

    def digest(self) -> str:
        """The same for the same pairs in the same splits and order, wherever their files lie."""
        rows = self.table.select(["digest", "split", "usable"]).to_pylist()
        content = [rows, self.about.model_dump(mode="json")]
        return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()

    def reasons(self) -> dict[str, int]:
        """Rows skipped, by kind of reason, the most frequent first."""
        return reasons_in(self.table)

    def describe(self) -> str:
        """A line about what is here."""
        splits = Counter(self.select().table["split"].to_pylist())
        shares = ", ".join(f"{splits[split]} {split}" for split in SPLITS)
        shares += f", {splits[None]} in no split" if splits[None] else ""
        reasons = "; ".join(f"{kind} ({count})" for kind, count in self.reasons().items())
        what = "pairs" if self.rule is None else "items"
        kinds = " and ".join(dict.fromkeys(self.about.kinds.values()))
        rule = f"; paired by {self.rule.describe()}" if self.rule else ""
        skipped = f"; skipped: {reasons}" if reasons else ""
        return f"{len(self)} {what} ({kinds}), {splits.total()} usable ({shares}){rule}{skipped}"


def placed(path: str, folder: str) -> str:
    """The place of a file that a table names."""
    if is_remote(path) or os.path.isabs(path) or path.startswith("file:"):
        return absolute(path)
    return f"{folder.rstrip('/')}/{path}"


def about_of(path: str | Path) -> About | None:
    """What a file says that it is; None where it is no table of pairs, such as an index of videos.

    Raises:
        PairTableError: if it is of another version.
        StorageError: if it cannot be reached.
    """
    folder, name = parent_and_name(path)
    with folder.reading(name) as file:
        if file is None:
            return None
        try:
            metadata = pq.read_schema(file).metadata or {}
        except (pa.ArrowException, OSError):
            return None  # whoever reads it says why
    return _about(path, metadata)


def _about(path: str | Path, metadata: dict[bytes, bytes]) -> About | None:
    if VERSION_KEY not in metadata:
        return None
    try:
        if metadata[VERSION_KEY] == VERSION:
            return About.model_validate_json(metadata[ABOUT_KEY])
    except (ValidationError, KeyError):
        pass
    raise PairTableError(
        f"{path}: no table of pairs of version {VERSION.decode()}; make it again by "
        "`adassl data pairs`"
    )


def tokenizer_name(table: str) -> str:
    """The name of the tokenizer beside a table of that name."""
    return f"{table.removesuffix('.parquet')}.tokenizer.json"


def default_recipe(index: str) -> str:
    """The recipe to begin with where none is named, by what the index is."""
    about = about_of(index)
    if about is None:
        return "videos"
    kinds = list(dict.fromkeys(about.kinds.values()))
    if len(kinds) > 1:
        return f"{kinds[0]}-{kinds[1]}"
    return f"{kinds[0]}s"


def load_table(path: str | Path, *, root: str | None = None) -> PairTable:
    """Read a table of pairs, at a path or a URI.

    Args:
        path: of the Parquet file.
        root: the folder that relative paths are in; None: the table's own.

    Raises:
        PairTableError: if the file is missing or no table of pairs, or its tokenizer is not the one
            that it was made with.
        StorageError: if it cannot be reached.
    """
    folder, name = parent_and_name(path)
    with folder.reading(name) as file:
        if file is None:
            raise PairTableError(f"{path}: no such file; see `adassl data pairs --help`")
        try:
            table = pq.read_table(file)
        except (pa.ArrowException, OSError) as error:
            raise PairTableError(f"{path}: {not_parquet(file, error)}") from error
    about = _about(path, table.schema.metadata or {})
    if about is None:
        raise PairTableError(
            f"{path}: no table of pairs; make one of it by `adassl data pairs table {path}`"
        )
    table = table.replace_schema_metadata(None).combine_chunks()
    numbered = table.append_column("_number", pa.array(np.arange(len(table)), pa.int64()))
    tokenizer = None
    if about.tokenizer_digest:
        tokenizer = folder.read_text(tokenizer_name(name))
        if tokenizer is None or text_digest(tokenizer) != about.tokenizer_digest:
            state = "is missing" if tokenizer is None else "is not the one that it was made with"
            raise PairTableError(
                f"{path}: {tokenizer_name(name)} beside it {state}; bring it back, or make the "
                "table again"
            )
    where = root or str(folder).partition("?")[0]
    return PairTable(table=numbered, about=about, folder=where, tokenizer=tokenizer)


def text_digest(text: str) -> str:
    """BLAKE2 of a text."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def save_table(table: PairTable, path: str | Path) -> None:
    """Write a table, with its tokenizer beside it.

    Raises:
        StorageError: if it cannot be written.
    """
    folder, name = parent_and_name(path)
    metadata = {VERSION_KEY: VERSION, ABOUT_KEY: table.about.model_dump_json().encode()}
    if table.tokenizer is not None:
        folder.write_text(tokenizer_name(name), table.tokenizer)
    rows = table.table
    if "_number" in rows.schema.names:
        rows = rows.drop_columns(["_number"])
    with folder.writing(name) as file:
        pq.write_table(rows.replace_schema_metadata(metadata), file)


def find_table(data: DataConfig) -> PairTable:
    """Read a table of pairs and find the files of its usable rows.

    Raises:
        ConfigError: if more of them are missing than `data.max_failed_share` allows.
    """
    root = None if data.videos_root is None else absolute(data.videos_root)
    table = load_table(data.index, root=root)
    usable = table.select()
    paths = usable.files()
    missing = missing_files(paths)
    if len(missing) > data.max_failed_share * len(paths):
        shown = ", ".join(missing[:_SHOWN]) + (", …" if len(missing) > _SHOWN else "")
        raise ConfigError(
            f"{len(missing)} of {len(paths)} files of {data.index} are not there: {shown}. Where "
            "they were moved, give the folder that relative paths are in now: --videos-root FOLDER "
            "(data.videos_root)"
        )
    return table


def beside(path: str, table: Folder) -> str:
    """A path as a table in a folder names it: relative where the file is below that folder."""
    above = str(table).partition("?")[0].rstrip("/") + "/"
    full = absolute(path)
    return full.removeprefix(above)
