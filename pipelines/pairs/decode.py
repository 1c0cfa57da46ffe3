"""From an entry of a table to what an encoder reads: a square of pixels, token ids, a spectrogram.

image   uint8 [1, side, side, channels], cut and resized as frames of videos are
sound   uint8 [1, side, side, channels], its log-mel spectrogram: a picture, too
text    int32 [max_tokens], 0 where it has ended
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.config.data import DataConfig
from pipelines.pairs.files import file_content, read_image
from pipelines.pairs.sound import spectrogram
from pipelines.pairs.table import Kind, PairTable
from pipelines.pairs.text import Texts

Array = NDArray[Any]


class EntryReader:
    """Reads the views of a table's rows under a data config."""

    def __init__(self, table: PairTable, config: DataConfig) -> None:
        """Open nothing yet."""
        self._table, self._config = table, config
        self._texts: Texts | None = None

    def shape(self, view: str) -> tuple[int, ...]:
        """The shape of a view, as all rows have it."""
        if self._table.kind(view) == "text":
            return (self._config.max_tokens,)
        side = self._config.frame_size
        return 1, side, side, self._config.channels

    def dtype(self, view: str) -> type[np.generic]:
        """Its numbers."""
        return np.int32 if self._table.kind(view) == "text" else np.uint8

    def read(self, view: str, row: int, crop: NDArray[np.float64]) -> Array:
        """One view of a row.

        Raises:
            EntryError: if it cannot be had or is not what the table says.
        """
        return self.read_entry(self._table.entry(view, row), self._table.kind(view), crop)

    def read_entry(self, entry: str | bytes, kind: Kind, crop: NDArray[np.float64]) -> Array:
        """An entry of the table, or another one that is read as they are.

        Raises:
            EntryError: if it cannot be had or is not of that kind.
        """
        if kind == "text":
            assert isinstance(entry, str)
            return self._tokens(entry)
        content = entry if isinstance(entry, bytes) else file_content(entry)
        if kind == "sound":
            return spectrogram(content, self._config, crop)
        return read_image(content, self._config, crop)

    def _tokens(self, text: str) -> Array:
        if self._texts is None:
            assert self._table.tokenizer is not None
            self._texts = Texts(self._table.tokenizer, self._config.max_tokens)
        return self._texts(text)
