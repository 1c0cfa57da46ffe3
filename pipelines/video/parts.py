"""Rows of an index that is being made, kept beside it until it is written.

videos.parquet.parts/part-00000.parquet, part-00001.parquet, …: a run that was killed goes on from
them.
"""

import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.storage.folder import Folder
from pipelines.video.index import SCHEMA, VERSION, VERSION_KEY

PART_ROWS = 1000
PART_SECONDS = 30.0
"""A part is written when it has so many rows, or when so much time has passed since the last."""

Row = dict[str, Any]


class Parts:
    """The rows that runs of the indexer have found since the index was written last."""

    def __init__(self, folder: Folder, name: str) -> None:
        """Read what a run that was killed has left.

        Args:
            folder: where the index is to be.
            name: the index's name.

        Raises:
            StorageError: if the folder cannot be reached.
        """
        self._parent, self._name = folder, f"{name}.parts"
        self._folder = folder.child(self._name)
        self.tables: list[pa.Table] = []
        """What has been kept, the oldest first."""
        while table := self._read(len(self.tables)):
            self.tables.append(table)
        self._rows: list[Row] = []
        self._kept_at = time.monotonic()

    def add(self, row: Row) -> None:
        """Take a row, with any of the index's columns."""
        self._rows.append(row)
        if len(self._rows) >= PART_ROWS:
            self.keep()

    def keep_sometimes(self) -> None:
        """Write what is new, if that was done long ago."""
        if self._rows and time.monotonic() - self._kept_at > PART_SECONDS:
            self.keep()

    def keep(self) -> None:
        """Write what is new."""
        if self._rows:
            table = table_of(self._rows)
            with self._folder.writing(_part(len(self.tables))) as path:
                pq.write_table(table, path)
            self.tables.append(table)
            self._rows = []
        self._kept_at = time.monotonic()

    def remove(self) -> None:
        """Remove all of it: the index holds the rows now."""
        self._parent.remove(self._name)

    def _read(self, number: int) -> pa.Table | None:
        with self._folder.reading(_part(number)) as path:
            if path is None:
                return None
            try:
                table = pq.read_table(path)
            except (pa.ArrowException, OSError):
                return None
        version = (table.schema.metadata or {}).get(VERSION_KEY)
        return table if table.schema.equals(SCHEMA) and version == VERSION else None


def table_of(rows: list[Row]) -> pa.Table:
    """Rows as a table with the index's columns; what a row lacks is unset."""
    none: Mapping[str, Any] = dict.fromkeys(SCHEMA.names)
    return pa.Table.from_pylist([{**none, **row} for row in rows], schema=SCHEMA)


def _part(number: int) -> str:
    return f"part-{number:05}.parquet"
