"""A few labelled moments or videos, as somebody wrote them into a table."""

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.config.run import ConfigError
from pipelines.evaluation.probes import Kind
from pipelines.storage.folder import absolute, parent_and_name
from pipelines.storage.objects import is_remote

_REMEDY = "columns path and label, and seconds where a label is of a moment, not of a video"


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Labelled rows, one entry of each field a row.

    Attributes:
        kind: "class" where labels are words, "value" where all are numbers.
        path: absolute, or a URI.
        seconds: the moment, NaN for a whole video.
        label: words or float64.
        skipped: rows that say nothing, in words.
    """

    kind: Kind
    path: NDArray[np.object_]
    seconds: NDArray[np.float64]
    label: NDArray[Any]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.label)

    def take(self, rows: NDArray[np.integer[Any]], *, skipped: tuple[str, ...] = ()) -> "Labels":
        """Some rows, and further ones that were skipped."""
        return Labels(
            kind=self.kind,
            path=self.path[rows],
            seconds=self.seconds[rows],
            label=self.label[rows],
            skipped=(*self.skipped, *skipped),
        )


def read_labels(where: str) -> Labels:
    """Read a table: `path` (absolute, or relative to the table), `label`, perhaps `seconds`.

    Rows without a path or label, or with a moment that is no number, are skipped.

    Raises:
        ConfigError: if there is no such table, or it has no such columns.
        StorageError: if the place cannot be reached.
    """
    folder, name = parent_and_name(where)
    with folder.reading(name) as file:
        if file is None:
            raise ConfigError(f"{where}: no such table of labels; it needs {_REMEDY}")
        try:
            table = pd.read_csv(file, dtype=str, skipinitialspace=True, keep_default_na=False)
        except (ValueError, OSError) as error:
            first = str(error).splitlines()[0]
            raise ConfigError(f"{where}: not a CSV table ({first}); it needs {_REMEDY}") from error
    table.columns = [str(column).strip() for column in table.columns]
    if missing := [column for column in ("path", "label") if column not in table]:
        raise ConfigError(
            f"{where}: no column {' and no column '.join(missing)}, only "
            f"{', '.join(map(str, table.columns))}; it needs {_REMEDY}"
        )
    known: list[tuple[str, float, str]] = []
    skipped: list[str] = []
    moments = table["seconds"] if "seconds" in table else [""] * len(table)
    for line, (path, second, label) in enumerate(
        zip(table["path"], moments, table["label"], strict=True), start=2
    ):
        seconds = _seconds(second.strip())
        if not path.strip() or not label.strip():
            skipped.append(f"line {line}: no {'label' if path.strip() else 'path'}")
        elif seconds is None:
            skipped.append(f"line {line}: seconds={second!r} is no number of 0 or more")
        else:
            known.append((_absolute(path.strip(), str(folder)), seconds, label.strip()))
    if not known:
        raise ConfigError(f"{where}: no row has a path and a label; it needs {_REMEDY}")
    words = [label for _, _, label in known]
    values = [_number(word) for word in words]
    is_value = all(value is not None for value in values)
    return Labels(
        kind="value" if is_value else "class",
        path=np.array([path for path, _, _ in known], object),
        seconds=np.array([seconds for _, seconds, _ in known]),
        label=np.array(values, np.float64) if is_value else np.array(words),
        skipped=tuple(skipped),
    )


def _absolute(path: str, folder: str) -> str:
    if is_remote(path) or os.path.isabs(path):
        return path
    return f"{folder.rstrip('/')}/{path}" if is_remote(folder) else absolute(f"{folder}/{path}")


def _seconds(word: str) -> float | None:
    """A moment; NaN where none is given, None where it is none."""
    if not word:
        return math.nan
    value = _number(word)
    return value if value is not None and value >= 0 else None


def _number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
