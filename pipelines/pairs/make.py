"""`adassl data pairs`: read every entry of a listing once, and write the table of what can be used.

What cannot be read stands in the table with the reason. Splits are those of the source, else by the
hash of the group, or of the content of x, as with videos.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from rich.console import Console
from rich.progress import track

from pipelines.pairs.files import EntryError, file_content, opened_image
from pipelines.pairs.sound import read_sound
from pipelines.pairs.table import (
    ITEM,
    OWN_COLUMNS,
    VIEWS,
    About,
    Kind,
    PairTable,
    PairTableError,
    beside,
    placed,
    save_table,
    text_digest,
)
from pipelines.pairs.text import train_tokenizer
from pipelines.sources.listing import Listing
from pipelines.storage.folder import parent_and_name
from pipelines.video.splits import SPLITS, hash_split

_THREADS = 8
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class MadeTable:
    """What was written."""

    table: PairTable
    path: str
    skipped: Mapping[str, str]
    """Name and reason of what cannot be used."""

    def lines(self) -> list[str]:
        """What there is, in words."""
        named = list(self.skipped.items())
        lines = [f"skipped {name}: {reason}" for name, reason in named[:_SHOWN]]
        if len(named) > _SHOWN:
            lines.append(f"skipped … and {len(named) - _SHOWN} more")
        return [*lines, self.table.describe()]


def make_table(
    listing: Listing,
    out: str,
    *,
    val_share: float = 0.1,
    test_share: float = 0.1,
    tokenizer: str | None = None,
    vocabulary: int = 8192,
    console: Console | None = None,
) -> MadeTable:
    """Check every entry and write the table.

    Args:
        listing: what a source says.
        out: the Parquet file, a path or a URI.
        val_share: share of the rows, or groups, for validation where no split is given.
        test_share: the same for tests.
        tokenizer: JSON of a tokenizer for the texts; None: one is trained on the training split.
        vocabulary: tokens of the one that is trained, at most.
        console: shows the progress.

    Raises:
        PairTableError: if the listing makes no table, or no row can be used.
        StorageError: if the table cannot be written.
    """
    rows = _checked_columns(listing)
    folder, _ = parent_and_name(out)
    for view, kind in listing.kinds.items():
        if kind != "text":
            rows[view] = [beside(v, folder) if isinstance(v, str) else v for v in rows[view]]
    where = str(folder).partition("?")[0]
    found = list(_digests(rows, listing.kinds, where, console))
    rows["digest"] = ["".join(digests) for digests, _ in found]
    reasons = [reason for _, reason in found]
    rows["reason"] = pd.Series(reasons, dtype=object)
    rows["usable"] = [reason is None for reason in reasons]
    splits = _splits(rows, [d for d, _ in found], val_share, test_share)
    rows["split"] = pd.Series(splits, dtype=object)
    skipped = dict(listing.skipped)
    first = next(iter(listing.kinds))
    for number, name, reason in zip(range(len(rows)), rows[first], reasons, strict=True):
        if reason is not None:
            is_path = isinstance(name, str) and listing.kinds[first] != "text"
            skipped[placed(name, where) if is_path else f"row {number}"] = reason
    if not rows["usable"].any():
        name, reason = next(iter(skipped.items()), ("the listing", "it is empty"))
        raise PairTableError(f"no row can be used; {name}: {reason}")
    words = None
    if "text" in listing.kinds.values():
        trained_on = rows[rows["usable"] & (rows["split"] == "train")]
        texts = (t for view, k in listing.kinds.items() if k == "text" for t in trained_on[view])
        words = tokenizer or train_tokenizer(texts, vocabulary)
    about = About(
        kinds=dict(listing.kinds),
        rule=listing.rule,
        tokenizer_digest=None if words is None else text_digest(words),
    )
    table = _arrow(rows, list(listing.kinds))
    made = PairTable(table=table, about=about, folder=where, tokenizer=words)
    save_table(made, out)
    numbered = table.append_column("_number", pa.array(np.arange(len(table)), pa.int64()))
    made = PairTable(table=numbered, about=about, folder=where, tokenizer=words)
    return MadeTable(table=made, path=out, skipped=skipped)


def _checked_columns(listing: Listing) -> pd.DataFrame:
    """The rows with every column that a table has."""
    rows = listing.rows.reset_index(drop=True).copy()
    views = set(listing.kinds)
    if not ({ITEM} == views or {"context", "target"} <= views <= set(VIEWS)):
        raise PairTableError(
            f"views {', '.join(sorted(views))}: a table has context and target, and surrogate "
            "and negative if you like, or item alone with a pairing rule"
        )
    if (ITEM in views) != (listing.rule is not None):
        raise PairTableError("a pairing rule needs the column item, and the column item a rule")
    for name in (*views, *(listing.rule.all_columns if listing.rule else ())):
        if name not in rows:
            raise PairTableError(f"no column {name}; there are {', '.join(map(str, rows.columns))}")
    for name in ("group", "split"):
        if name not in rows:
            rows[name] = None
        words = [None if pd.isna(v) else str(v) for v in rows[name]]
        rows[name] = pd.Series(words, dtype=object)  # as text, pandas would make NaN of None
    unknown = set(rows["split"].dropna()) - set(SPLITS)
    if unknown:
        raise PairTableError(f"split {min(unknown)}: it must be one of {', '.join(SPLITS)}")
    _check_groups(rows)
    return rows


def _check_groups(rows: pd.DataFrame) -> None:
    """See that no group is in two splits."""
    known = rows.dropna(subset=["group", "split"])
    counts = known.groupby("group")["split"].nunique()
    if (counts > 1).any():
        raise PairTableError(
            f"the group {counts.idxmax()} has rows in several splits: a group must not be in two"
        )


def _digests(
    rows: pd.DataFrame, kinds: Mapping[str, Kind], where: str, console: Console | None
) -> Iterator[tuple[list[str], str | None]]:
    """The digests of each row's entries, and why it cannot be used, None where it can."""
    views = list(kinds)

    def check(entries: tuple[Any, ...]) -> tuple[list[str], str | None]:
        digests = []
        for view, entry in zip(views, entries, strict=True):
            try:
                digests.append(checked_digest(entry, kinds[view], where))
            except EntryError as error:
                which = "" if len(views) == 1 else f" ({view})"
                return [], f"{error}{which}"
        return digests, None

    every = list(zip(*(rows[view] for view in views), strict=True))
    with ThreadPoolExecutor(_THREADS) as threads:
        checked: Iterable[Any] = threads.map(check, every)
        if console is not None and set(kinds.values()) != {"text"}:
            checked = track(checked, "reading", len(every), console=console, transient=True)
        yield from checked


def checked_digest(entry: Any, kind: Kind, where: str) -> str:
    """BLAKE2 of what an entry holds.

    Raises:
        EntryError: if it cannot be read as what it should be.
    """
    if entry is None or entry is pd.NA or (isinstance(entry, float) and np.isnan(entry)):
        raise EntryError("missing")
    if kind == "text":
        if not isinstance(entry, str) or not entry.strip():
            raise EntryError("empty text" if isinstance(entry, str) else "not a text")
        return text_digest(entry)
    if not isinstance(entry, str | bytes):
        raise EntryError(f"neither a path nor bytes: {type(entry).__name__}")
    content = entry if isinstance(entry, bytes) else file_content(placed(entry, where))
    if kind == "image":
        opened_image(content)
    else:
        read_sound(content)
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _splits(
    rows: pd.DataFrame, digests: Sequence[Sequence[str]], val_share: float, test_share: float
) -> list[str | None]:
    """The split of each row: the one that is given, else by its group or the content of x.

    Where a source gives splits but none is val (or test), it is drawn from the training rows.
    """
    named = set(rows["split"].dropna())
    shares = {
        "val_share": 0.0 if "val" in named else val_share,
        "test_share": 0.0 if "test" in named else test_share,
    }
    found: list[str | None] = []
    for group, split, usable, digest in zip(
        rows["group"], rows["split"], rows["usable"], digests, strict=True
    ):
        if not usable or (named and split is None):
            found.append(None)
        elif split is None or split == "train":
            key = digest[0] if group is None else text_digest(group)
            found.append(hash_split(key, **shares))
        else:
            found.append(split)
    return found


def _arrow(rows: pd.DataFrame, views: Sequence[str]) -> pa.Table:
    """The rows as a table, the columns of its own first."""
    own = [name for name in OWN_COLUMNS if name in rows]
    further = [str(name) for name in rows.columns if name not in own]
    columns = {}
    for name in (*own, *further):
        values = rows[name]
        if name in views:
            kinds = Counter(type(v) for v in values.dropna())
            kind = pa.large_binary() if kinds[bytes] else pa.string()
            columns[name] = pa.array([None if _none(v) else v for v in values], kind)
        elif name == "usable":
            columns[name] = pa.array(values, pa.bool_())
        elif name in own:
            columns[name] = pa.array([None if _none(v) else v for v in values], pa.string())
        else:
            columns[name] = pa.Array.from_pandas(values)
            if pa.types.is_nested(columns[name].type):
                raise PairTableError(f"the column {name} holds lists; one value a row, please")
    return pa.table(columns)


def _none(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value)) or value is pd.NA
