"""What one searches with: a moment of a video, a video, or an image, as a clip of the encoder."""

from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipelines.config.data import DataConfig
from pipelines.config.run import ConfigError, RunConfig
from pipelines.library.clip_reader import ClipReader
from pipelines.library.embeddings import Embeddings
from pipelines.library.entries import Side, side_of
from pipelines.library.moment import Moment, MomentError
from pipelines.library.parts import TOKENIZER
from pipelines.pairs.decode import EntryReader
from pipelines.pairs.files import EntryError
from pipelines.pairs.table import About, PairTable
from pipelines.storage.folder import absolute, parent_and_name
from pipelines.video.batch import Frames
from pipelines.video.frames import DecodeError, luma, resized_shape
from pipelines.video.index import VideoIndex
from pipelines.video.pairs import central

SOUNDS = (".wav",)
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_CENTRE = np.full(2, 0.5)


def parse_query(text: str) -> Moment:
    """`video.mp4@12.5`, `video.mp4` or `image.png`.

    A file whose name has an @ in it, and no time behind that, is a whole file.
    """
    try:
        return Moment.parse(text)
    except MomentError:
        return Moment(text)


def is_image(moment: Moment) -> bool:
    """Whether the file is an image by its name."""
    return moment.seconds is None and PurePosixPath(moment.path).suffix.lower() in IMAGES


def in_library(moment: Moment, paths: list[str]) -> str | None:
    """The video of a library that a moment names: by its path, or by the end of it.

    Raises:
        ConfigError: if several end so.
    """
    if moment.path in paths:  # an entry of a table: a text, or a digest
        return moment.path
    where = absolute(moment.path)
    if where in paths:
        return where
    ends = [path for path in paths if path.endswith(f"/{moment.path.removeprefix('./')}")]
    if len(ends) > 1 and not _is_file(where):
        raise ConfigError(
            f"{moment.path}: {len(ends)} videos of the library end so, such as {ends[0]} and "
            f"{ends[1]}; give more of the path"
        )
    return ends[0] if len(ends) == 1 and not _is_file(where) else None


def embedded_row(embeddings: Embeddings, path: str, seconds: float | None) -> int | None:
    """The clip of a library that begins at a moment, within half a frame; None where none does.

    Without a time, the clip nearest to the middle of the video.
    """
    rows = np.flatnonzero(embeddings.path == path)
    if not len(rows):
        return None
    start, end = embeddings.start_seconds[rows], embeddings.end_seconds[rows]
    if seconds is None:
        middle = (start[0] + end[-1]) / 2
        return int(rows[np.abs((start + end) / 2 - middle).argmin()])
    nearest = int(np.abs(start - seconds).argmin())
    frame = (end[nearest] - start[nearest]) / embeddings.manifest.frames_per_clip
    return int(rows[nearest]) if abs(start[nearest] - seconds) <= frame / 2 else None


def clip_of(
    moment: Moment,
    data: DataConfig,
    videos: VideoIndex | None = None,
    *,
    cropped: bool = True,
) -> Frames:
    """The clip at a moment.

    Args:
        moment: in a video or an image, which is repeated over the frames.
        data: of the run.
        videos: an index that may have the video; else the file is looked at now.
        cropped: as the encoder sees it; else the whole frames of a video, resized alike.

    Returns:
        uint8 [frames, height, width, channels].

    Raises:
        MomentError: if there is no such file, it cannot be read, or the video ends before.
    """
    if is_image(moment):
        return _image_clip(moment.path, data)
    try:
        return ClipReader(data, videos).clip(moment.path, moment.seconds, cropped=cropped)
    except DecodeError as error:
        raise MomentError(str(error)) from error


def kind_of(query: str, kinds: Collection[str]) -> str:
    """What a query for entries of some kinds is."""
    suffix = PurePosixPath(query).suffix.lower()
    for kind, suffixes in (("image", IMAGES), ("sound", SOUNDS)):
        if kind in kinds and (suffix in suffixes or len(set(kinds)) == 1):
            return kind
    return next((kind for kind in kinds if kind == "text"), next(iter(kinds)))


def read_query(query: str, config: RunConfig, embeddings: Embeddings) -> tuple[NDArray[Any], Side]:
    """A text, or a file, read as the entries of a library are, and which encoder it is for.

    Args:
        query: the text, or the path or URI of the file.
        config: of the run.
        embeddings: the library, of entries of a table.

    Raises:
        MomentError: if it cannot be read.
    """
    kinds = embeddings.manifest.kinds or {}
    kind = kind_of(query, kinds.values())
    view = next(view for view, of in kinds.items() if of == kind)
    about = About.model_validate({"kinds": kinds})
    tokenizer = embeddings.folder.read_text(TOKENIZER)
    alike = PairTable(table=pa.table({}), about=about, folder="", tokenizer=tokenizer)
    entry = query if kind == "text" else absolute(query)
    try:
        found = EntryReader(alike, config.data).read_entry(entry, about.kinds[view], _CENTRE)
    except EntryError as error:
        raise MomentError(f"{query}: {error}") from error
    return found, side_of(config, view, kind)


def _image_clip(path: str, data: DataConfig) -> Frames:
    """An image as a clip in which nothing moves."""
    folder, name = parent_and_name(path)
    with folder.reading(name) as file:
        if file is None:
            raise MomentError(f"{path}: no such file")
        try:
            with Image.open(file) as content:
                image = ImageOps.exif_transpose(content).convert("RGB")
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise MomentError(f"{path}: not a readable image: {error}") from error
    size = (data.frame_size, data.frame_size)
    if data.crop != "none":
        size = resized_shape(*image.size, data.frame_size)
    frame = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
    frames = frame[None] if not data.grayscale else luma(frame[None])
    return np.repeat(central(frames, data.frame_size), data.frames_per_clip, axis=0)


def _is_file(path: str) -> bool:
    folder, name = parent_and_name(path)
    return folder.exists(name)
