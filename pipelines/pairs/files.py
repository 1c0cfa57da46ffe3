"""Files of entries: their bytes, and pictures."""

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pipelines.config.data import DataConfig
from pipelines.storage.folder import StorageError
from pipelines.storage.objects import is_remote, read_object
from pipelines.video.frames import resized_shape
from pipelines.video.pairs import cropped


class EntryError(RuntimeError):
    """An entry that cannot be read; the message says why."""


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


def read_image(content: bytes, config: DataConfig, crop: NDArray[np.float64]) -> NDArray[np.uint8]:
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
