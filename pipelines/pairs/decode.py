"""From an entry of a table to what an encoder reads: a square of pixels, token ids, a spectrogram.

image   uint8 [1, side, side, channels], cut and resized as frames of videos are
sound   uint8 [1, side, side, channels], its log-mel spectrogram: a picture, too
text    int32 [max_tokens], 0 where it has ended
"""

import io
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pipelines.config.data import DataConfig
from pipelines.pairs.table import PairTable
from pipelines.storage.folder import StorageError
from pipelines.storage.objects import is_remote, read_object
from pipelines.video.frames import resized_shape
from pipelines.video.pairs import cropped

Array = NDArray[Any]


class EntryError(RuntimeError):
    """An entry that cannot be read; the message says why."""


class EntryReader:
    """Reads the views of a table's rows under a data config."""

    def __init__(self, table: PairTable, config: DataConfig) -> None:
        """Open nothing yet."""
        self._table, self._config = table, config
        self._texts: Any = None

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
        entry, kind = self._table.entry(view, row), self._table.kind(view)
        if kind == "text":
            assert isinstance(entry, str)
            return self._tokens(entry)
        content = entry if isinstance(entry, bytes) else file_content(entry)
        if kind == "sound":
            from pipelines.pairs.sound import spectrogram

            return spectrogram(content, self._config, crop)
        return read_image(content, self._config, crop)

    def _tokens(self, text: str) -> Array:
        if self._texts is None:
            from pipelines.pairs.text import Texts

            assert self._table.tokenizer is not None
            self._texts = Texts(self._table.tokenizer, self._config.max_tokens)
        tokens: Array = self._texts(text)
        return tokens


def file_content(path: str) -> bytes:
    """The bytes of a file at a path or a URI.

    Raises:
        EntryError: if they cannot be had.
    """
    try:
        if is_remote(path):
            return read_object(path)
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise EntryError("no such file") from None
    except StorageError as error:
        raise EntryError(str(error)) from error
    except OSError as error:
        raise EntryError(f"cannot be read: {error.strerror}") from error


def opened_image(content: bytes) -> Image.Image:
    """A picture, decoded, upright, in 8 bits.

    Raises:
        EntryError: if it is none, or is damaged.
    """
    if not content:
        raise EntryError("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(io.BytesIO(content))
            image.load()
            image = ImageOps.exif_transpose(image)
    except UnidentifiedImageError:
        raise EntryError("not an image") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise EntryError(f"damaged image: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise EntryError(f"too large an image: {error}") from error
    if image.mode.startswith("I;16"):  # of 65,535 levels, which `convert` would cut off at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image


def read_image(content: bytes, config: DataConfig, crop: NDArray[np.float64]) -> Array:
    """The square of a picture that the encoder sees.

    Raises:
        EntryError: if it is no picture, or is damaged.
    """
    image = opened_image(content).convert("L" if config.grayscale else "RGB")
    side = config.frame_size
    size = (side, side) if config.crop == "none" else resized_shape(*image.size, side)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)  # with antialiasing
    pixels = np.asarray(image).reshape(1, image.height, image.width, -1)
    return np.ascontiguousarray(cropped(pixels, side, crop))
