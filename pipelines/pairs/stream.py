"""The Ray Data graph of a table: row numbers → decoding actors → views, in order → batches.

As with videos, each training worker runs a graph of its own over the rows that are its by
arithmetic, so that what it gets depends on nothing but (seed, row).
"""

from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from pipelines.pairs.decode import Array, EntryReader
from pipelines.pairs.files import EntryError
from pipelines.pairs.rows import PairRows
from pipelines.video.ahead import Ahead
from pipelines.video.batch import PairBatch, StreamCounts
from pipelines.video.pairs import TooManyFailuresError, note_failure
from pipelines.video.stream import (
    BATCHES_AHEAD,
    BLOCKS_PER_BATCH,
    BLOCKS_PER_SEGMENT,
    BYTES_PER_BLOCK,
    Share,
    decoder_pool,
    mapped_blocks,
)

ROWS_PER_BLOCK = 512
"""Most rows of a decoding task; the first ones have fewer, for the first batch to come soon."""
FETCHERS = 16
"""Threads of an actor that read files at once, where they are objects."""


@dataclass(frozen=True, kw_only=True)
class DecodedRow:
    """The views of a row of the run, or why there are none."""

    number: int
    views: dict[str, Array]
    error: str | None = None
    name: str = ""
    """Of the entry that failed."""


class RowReader:
    """Reads the rows of a run, in the process that it is made in."""

    def __init__(self, rows: PairRows) -> None:
        """Open nothing yet."""
        self.rows = rows
        self.reader = EntryReader(rows.index, rows.config)

    def read(self, number: int) -> DecodedRow:
        """The views of one row."""
        pair = self.rows.pair(number)
        views = {}
        for view in self.rows.config.clips:
            row = pair.context if view == "context" else pair.target
            try:
                views[view] = self.reader.read(view, row, pair.crop)
            except EntryError as error:
                name = self.rows.index.label(row)
                return DecodedRow(number=number, views={}, error=str(error), name=name)
        return DecodedRow(number=number, views=views)


class PairDecoder:
    """An actor of the decoding pool: from row numbers to views."""

    def __init__(self, rows: "ray.ObjectRef[PairRows]") -> None:
        """Take the rows from Ray's store, where the bytes of a table stand once a node."""
        self._reader = RowReader(ray.get(rows))
        remote = self._reader.rows.index.is_remote
        self._threads = ThreadPoolExecutor(FETCHERS) if remote else None

    def __call__(self, block: pa.Table) -> pa.Table:
        """Read the rows of one block."""
        numbers = block["number"].to_pylist()
        run = self._threads.map if self._threads else map
        return _table_of(list(run(self._reader.read, numbers)), self._reader)


class TableStream:
    """One worker's batches of a run of global batches; iterate once, then read `counts`."""

    def __init__(self, rows: PairRows, batches: range, share: Share) -> None:
        """Start nothing yet: decoding begins with the iteration."""
        self.rows, self.batch_numbers, self.share = rows, batches, share
        self.counts = StreamCounts()

    def __iter__(self) -> Ahead:
        """Start decoding; the batches come in order, put together ahead of their use."""
        decoded = decoded_rows(self.rows, self.batch_numbers, self.share)
        batches = batches_of(self.rows, decoded, self.batch_numbers, self.share, self.counts)
        return Ahead(batches, BATCHES_AHEAD)


def rows_here(rows: PairRows, batches: range, share: Share) -> list[PairBatch]:
    """All of a few small batches, read at once by threads of this process."""
    reader = RowReader(rows)
    numbers = rows.numbers(batches, rank=share.rank, num_workers=share.num_workers)
    with ThreadPoolExecutor(share.num_decoders) as threads:
        decoded = (row for row in threads.map(reader.read, numbers))  # to be closed
        return list(batches_of(rows, decoded, batches, share, StreamCounts()))


def row_blocks(rows: PairRows, batches: range, share: Share) -> Iterator[list[int]]:
    """The rows of a worker, as each decoding task reads them."""
    reader = EntryReader(rows.index, rows.config)
    views = rows.config.clips
    nbytes = sum(int(np.prod(reader.shape(v))) * np.dtype(reader.dtype(v)).itemsize for v in views)
    most = max(1, min(ROWS_PER_BLOCK, BYTES_PER_BLOCK // nbytes))
    batch = rows.global_batch_size // share.num_workers
    size = max(1, batch // (BLOCKS_PER_BATCH * share.num_decoders))
    numbers = rows.numbers(batches, rank=share.rank, num_workers=share.num_workers)
    while block := list(islice(numbers, min(size, most))):
        yield block
        size *= 2


def decoded_rows(rows: PairRows, batches: range, share: Share) -> Generator[DecodedRow, None, None]:
    """Read on the Ray cluster the rows that one worker needs, in order."""
    blocks = row_blocks(rows, batches, share)
    reader = EntryReader(rows.index, rows.config)
    kept = ray.put(rows)
    while segment := list(islice(blocks, BLOCKS_PER_SEGMENT)):
        pool = decoder_pool(rows.index, min(share.num_decoders, len(segment)))
        with closing(mapped_blocks(segment, PairDecoder, kept, pool)) as tables:
            for table in tables:
                yield from _rows_of(table, rows.config.clips, reader)


def batches_of(
    rows: PairRows,
    decoded: Generator[DecodedRow, None, None],
    batches: range,
    share: Share,
    counts: StreamCounts,
) -> Generator[PairBatch, None, None]:
    """Batch after batch from rows that arrive in order.

    A row that failed is stood in for by another of the same batch, and has the number -1.
    """
    with closing(decoded):
        for batch in batches:
            due = rows.rows(batch, rank=share.rank, num_workers=share.num_workers)
            come = [_accepted(next(decoded), number, rows, counts) for number in due]
            good = [row for row in come if row.error is None]
            if not good:
                raise TooManyFailuresError(f"no row of {due.start} and on could be read")
            used = [
                row if row.error is None else good[turn % len(good)]
                for turn, row in enumerate(come)
            ]
            yield _batch_of(rows, used, come)


def _accepted(row: DecodedRow, expected: int, rows: PairRows, counts: StreamCounts) -> DecodedRow:
    if row.number != expected:
        raise RuntimeError(f"row {row.number} came where {expected} was due")
    counts.windows += 1
    if row.error is None:
        counts.pairs_due += 1
        counts.frames_decoded += 1
        counts.frames_shipped += 1
        return row
    counts.windows_failed += 1
    note_failure(
        counts,
        row.name,
        row.error,
        allowed=rows.config.max_failed_share,
        units="pairs",
        remedy="Make the table again, or allow more.",
    )
    return row


def _batch_of(rows: PairRows, used: Iterable[DecodedRow], come: list[DecodedRow]) -> PairBatch:
    used = list(used)
    views = {name: np.stack([row.views[name] for row in used]) for name in rows.config.clips}
    places = np.asarray([rows.context(row.number) for row in used], np.int64)
    return PairBatch(
        row=np.asarray([row.number if row.error is None else -1 for row in come], np.int64),
        video=rows.index.group[places],
        start=rows.index.number[places],
        context=views["context"],
        target=views.get("target", views["context"]),
        surrogate=views.get("surrogate"),
        negative=views.get("negative"),
    )


def _table_of(rows: list[DecodedRow], reader: RowReader) -> pa.Table:
    """Rows as a block: each view as one run of bytes."""
    columns = {
        "number": pa.array([row.number for row in rows], pa.int64()),
        "error": pa.array([row.error for row in rows], pa.string()),
        "name": pa.array([row.name for row in rows], pa.string()),
    }
    for view in reader.rows.config.clips:
        arrays = [row.views[view].tobytes() if row.error is None else b"" for row in rows]
        columns[f"view_{view}"] = pa.array(arrays, pa.large_binary())
    return pa.table(columns)


def _rows_of(table: pa.Table, views: Iterable[str], reader: EntryReader) -> Iterator[DecodedRow]:
    """The rows of a block; views of its bytes."""
    columns: dict[str, Any] = {view: table[f"view_{view}"] for view in views}
    for at, about in enumerate(table.select(["number", "error", "name"]).to_pylist()):
        found = {}
        if about["error"] is None:
            for view, column in columns.items():
                data = np.frombuffer(column[at].as_buffer(), reader.dtype(view))
                found[view] = data.reshape(reader.shape(view))
        yield DecodedRow(views=found, **about)
