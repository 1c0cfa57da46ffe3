"""The entries of a table of pairs, for `adassl embed`: each image, text or sound once.

An entry is known by its content, however many rows, views and splits hold it, and stands where a
clip stands among videos: `Entries` is to a table what `ClipSchedule` is to an index. Its name, the
`path` of its row in the parts, is the path of its file; a text is its own name, and the bytes of a
file in the table are named by their digest.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import ray

from pipelines.config.data import DataConfig
from pipelines.config.run import ConfigError, RunConfig
from pipelines.library.actors import Precision, encoded_table, sent_encoder
from pipelines.library.encode import What
from pipelines.pairs.decode import Array, EntryReader
from pipelines.pairs.files import EntryError
from pipelines.pairs.stream import FETCHERS, ROWS_PER_BLOCK
from pipelines.pairs.table import PairTable, about_of, load_table
from pipelines.video.index import SCHEMA, VideoIndex
from pipelines.video.schedule import LeftOut
from pipelines.video.stream import BYTES_PER_BLOCK
from pipelines.video.tiles import Integers

Side = Literal[0, 1]
"""Which encoder reads an entry: the first, or the second."""
_DIGEST_LENGTH = 32
_CENTRE = np.full(2, 0.5)


@dataclass(frozen=True, kw_only=True)
class Entries:
    """The entries of some rows of a table, one element of each array an entry.

    Attributes:
        table: the rows.
        config: how entries are read.
        index: what is kept of them: path (the name), digest, and the split of their first row.
        view: a view that holds the entry.
        row: a row of the table that does.
        side: of its encoder.
    """

    table: PairTable
    config: DataConfig
    index: VideoIndex
    view: tuple[str, ...]
    row: Integers
    side: Integers
    left_out: tuple[LeftOut, ...] = ()

    @property
    def num_clips(self) -> int:
        """How many entries there are."""
        return len(self.index)

    @property
    def clips_per_video(self) -> Integers:
        """As of videos: an entry is a single clip, of one frame."""
        return np.ones(len(self.index), np.int64)

    def windows_of(self, videos: Sequence[int]) -> Integers:
        """Numbers of some entries: a decoding task reads entries, not windows."""
        return np.asarray(videos, np.int64)

    def blocks(self, numbers: Sequence[int] | Integers) -> Iterator[list[int]]:
        """Entries as each task reads them."""
        reader = EntryReader(self.table, self.config)
        views = {view: (reader.shape(view), np.dtype(reader.dtype(view))) for view in self.view}
        nbytes = max(int(np.prod(shape)) * kind.itemsize for shape, kind in views.values())
        size = max(1, min(ROWS_PER_BLOCK, BYTES_PER_BLOCK // nbytes))
        for at in range(0, len(numbers), size):
            yield [int(number) for number in numbers[at : at + size]]


def entries_of(config: RunConfig, table: PairTable) -> Entries:
    """The entries of the usable rows of a table, for the encoders of a run.

    Args:
        config: of the run.
        table: any, with the texts, images or sounds that the run's encoders read.

    Raises:
        ConfigError: if they read something else, or the table has no usable row.
        UserError: if the tokenizer of the run's own table is not to be had.
    """
    if config.data.frames_per_clip != 1:
        raise ConfigError(
            f"the run's encoder reads clips of {config.data.frames_per_clip} frames, and an entry "
            "of a table of pairs has one; embed with a run that was trained on such a table"
        )
    sides = {view: side_of(config, view, kind) for view, kind in table.about.kinds.items()}
    rows = as_trained(config, table.select())
    if not len(rows):
        raise ConfigError(f"no row of {table.folder} can be used: {table.describe()}")
    digests = rows.table["digest"].to_pandas()
    found = pd.concat(
        pd.DataFrame(
            {
                "digest": digests.str.slice(at * _DIGEST_LENGTH, (at + 1) * _DIGEST_LENGTH),
                "view": view,
                "row": np.arange(len(rows)),
                "side": side,
                "split": rows.table["split"].to_pandas(),
            }
        )
        for at, (view, side) in enumerate(sides.items())
    ).drop_duplicates(["digest", "side"])
    # which never happens but where two encoders read entries of one kind
    again = found["digest"].duplicated().to_numpy()
    names = [
        _name(rows, view, row, digest) + (" (second encoder)" if second else "")
        for view, row, digest, second in zip(
            found["view"], found["row"], found["digest"], again, strict=True
        )
    ]
    found["digest"] = found["digest"].where(~again, found["digest"] + "-second")
    return Entries(
        table=rows,
        config=config.data,
        index=_index(names, found["digest"].tolist(), found["split"].tolist()),
        view=tuple(found["view"]),
        row=found["row"].to_numpy(np.int64),
        side=found["side"].to_numpy(np.int64),
    )


def as_trained(config: RunConfig, table: PairTable) -> PairTable:
    """The table with the tokenizer that the run was trained with: another one's ids mean nothing.

    Raises:
        UserError: if the table of the run, which has it, is not there.
    """
    if table.tokenizer is None:
        return table
    about = about_of(config.data.index)
    if about and about.tokenizer_digest == table.about.tokenizer_digest:
        return table
    trained = load_table(config.data.index)
    changed = {"tokenizer_digest": trained.about.tokenizer_digest}
    about = table.about.model_copy(update=changed)
    return replace(table, tokenizer=trained.tokenizer, about=about)


def side_of(config: RunConfig, view: str, kind: str) -> Side:
    """The encoder for a view.

    Raises:
        ConfigError: if none reads what the view is.
    """
    backbones = [config.backbone]
    if config.method.encoders == "separate":
        backbones.append(config.second_backbone)
    reads = [backbone.reads_text == (kind == "text") for backbone in backbones]
    if not any(reads):
        raise ConfigError(
            f"{view} of the table is {kind}, and the run's encoder reads "
            f"{'text' if config.backbone.reads_text else 'images'} (backbone.name="
            f"{config.backbone.name}): embed with a run that was trained on such entries"
        )
    if all(reads) and len(reads) == 2 and view in ("target", "surrogate"):
        return 1
    return 0 if reads[0] else 1


def _name(table: PairTable, view: str, row: int, digest: str) -> str:
    entry = table.entry(view, row)
    return digest if isinstance(entry, bytes) else entry


def _index(names: list[str], digests: list[str], splits: list[Any]) -> VideoIndex:
    """Entries in the form in which the videos of a library are kept."""
    given = {
        "path": names,
        "digest": digests,
        "split": [split if isinstance(split, str) else None for split in splits],
        "num_frames": [1] * len(names),
        "fps": [1.0] * len(names),
        "usable": [True] * len(names),
    }
    columns = {
        field.name: pa.array(given[field.name], field.type)
        if field.name in given
        else pa.nulls(len(names), field.type)
        for field in SCHEMA
    }
    return VideoIndex(table=pa.table(columns, schema=SCHEMA))


class EntryEncoder:
    """An actor that reads and encodes entries.

    Files are read by threads, so that one actor a GPU is enough: an entry is small.
    """

    def __init__(self, entries: Any, encoders: Any, what: What, precision: Precision) -> None:
        """Take the entries and the encoders from Ray's object store."""
        self._entries: Entries = ray.get(entries)
        self._read = EntryReader(self._entries.table, self._entries.config)
        self._encode = [sent_encoder(encoder, what) for encoder in ray.get(encoders)]
        self._precision = np.dtype(precision)
        self._threads = ThreadPoolExecutor(FETCHERS)

    def __call__(self, block: pa.Table) -> pa.Table:
        """From numbers to the table of `embed.embedded`."""
        numbers = block["number"].to_numpy()
        sides = self._entries.side[numbers]
        tables = []
        for side in np.unique(sides).tolist():
            some = numbers[sides == side]
            found = list(self._threads.map(self._entry, some.tolist()))
            tables.append(
                encoded_table(
                    self._encode[side],
                    [entry for entry in found if not isinstance(entry, str)],
                    self._precision,
                    video=some.tolist(),
                    start=[0] * len(some),
                    error=[entry if isinstance(entry, str) else None for entry in found],
                )
            )
        return pa.concat_tables(tables, promote_options="default")

    def _entry(self, number: int) -> Array | str:
        """What the encoder reads, or why it cannot be had."""
        view, row = self._entries.view[number], int(self._entries.row[number])
        try:
            return self._read.read(view, row, _CENTRE)
        except EntryError as error:
            return str(error)
