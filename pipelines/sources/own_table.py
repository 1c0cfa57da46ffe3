"""A table of one's own: Parquet or csv with context and target, or item; other columns are factors.

Paths are relative to the table's folder. What a column is follows from its first entry: bytes are
images, names that end like an image or a sound are paths, everything else is text.
"""

from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config.pairing import PairingRule
from pipelines.sources.listing import IMAGE_SUFFIXES, Listing, SourceError
from pipelines.storage.folder import absolute, scheme_of

SOUND_SUFFIXES = frozenset({".wav"})
_VIEWS = ("context", "target", "surrogate", "negative", "item")


def read_own_table(
    file: str | Path, *, rule: PairingRule | None = None, group: str | None = None
) -> Listing:
    """The rows of a table.

    Args:
        file: Parquet or csv.
        rule: pairs its items; None: its rows are pairs.
        group: a column whose values must not be in two splits.

    Raises:
        SourceError: if it cannot be read or has not the columns.
    """
    where = Path(file).absolute()
    try:
        if where.suffix == ".parquet":
            rows = pq.read_table(where).to_pandas()
        else:
            rows = pd.read_csv(where)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise SourceError(f"{file}: cannot be read: {error}") from error
    views = [name for name in _VIEWS if name in rows]
    wanted = ["item"] if rule else ["context", "target"]
    if missing := [name for name in wanted if name not in views]:
        raise SourceError(
            f"{file}: no column {missing[0]}; a table of pairs has context and target, one of "
            "items has item and is paired by --same, --near or --redraw"
        )
    if rule is not None:
        views = ["item"]
    if group is not None:
        if group not in rows:
            raise SourceError(f"{file}: no column {group} to make groups by")
        rows["group"] = rows[group]
    kinds = {view: _kind(rows[view]) for view in views}
    for view, kind in kinds.items():
        if kind != "text":
            rows[view] = [_placed(entry, where.parent) for entry in rows[view]]
    return Listing(rows=rows, kinds=kinds, rule=rule)


def _kind(column: "pd.Series[Any]") -> Literal["image", "text", "sound"]:
    first = next(iter(column.dropna()), "")
    if isinstance(first, bytes):
        return "sound" if first[:4] == b"RIFF" else "image"
    suffix = Path(str(first)).suffix.lower()
    return "image" if suffix in IMAGE_SUFFIXES else "sound" if suffix in SOUND_SUFFIXES else "text"


def _placed(entry: Any, folder: Path) -> Any:
    if not isinstance(entry, str):
        return entry
    return entry if scheme_of(entry) else absolute(str(folder / entry))
