"""What one searches with: a moment of a video, a video, or an image, as a clip of the encoder."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageOps

from pipelines.config.data import DataConfig
from pipelines.config.run import ConfigError
from pipelines.library.embeddings import Embeddings
from pipelines.storage.folder import absolute, parent_and_name
from pipelines.video.batch import Frames
from pipelines.video.frames import luma, resized_shape
from pipelines.video.index import VideoIndex
from pipelines.video.indexer import build_index
from pipelines.video.pairs import central
from pipelines.video.schedule import Window
from pipelines.video.stream import WindowDecoder

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_MOMENT = re.compile(r"(?P<path>.+)@(?P<seconds>\d+(\.\d*)?|\.\d+)")


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A place in a video, or an image.

    Attributes:
        path: of the file, a path or a URI.
        seconds: from which on the clip is taken; None: its middle, or an image.
    """

    path: str
    seconds: float | None = None

    @property
    def is_image(self) -> bool:
        """Whether the file is an image by its name."""
        return self.seconds is None and PurePosixPath(self.path).suffix.lower() in IMAGES

    def __str__(self) -> str:
        return self.path if self.seconds is None else f"{self.path}@{self.seconds:g}"


def parse_moment(text: str) -> Moment:
    """`video.mp4@12.5`, `video.mp4` or `image.png`."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        return Moment(path=text)
    return Moment(path=found["path"], seconds=float(found["seconds"]))


def in_library(moment: Moment, paths: list[str]) -> str | None:
    """The video of a library that a moment names: by its path, or by the end of it.

    Raises:
        ConfigError: if several end so.
    """
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


def clip_of(moment: Moment, data: DataConfig, videos: VideoIndex | None = None) -> Frames:
    """The clip at a moment, as the encoder of a run sees it.

    Args:
        moment: in a video or an image, which is repeated over the frames.
        data: of the run.
        videos: an index that may have the video; else the file is looked at now.

    Returns:
        uint8 [frames, height, width, channels].

    Raises:
        ConfigError: if there is no such file, it cannot be read, or the video ends before.
    """
    if moment.is_image:
        return _image_clip(moment.path, data)
    return central(decode_clip(moment, data, videos), data.frame_size)


def decode_clip(moment: Moment, data: DataConfig, videos: VideoIndex | None = None) -> Frames:
    """The frames of a clip, resized but not cropped; otherwise as `clip_of`."""
    decoder = WindowDecoder(_OneClip(moment, data, row_of(moment.path, videos)))
    window = decoder.decode(0)
    if window.frames is None:
        raise ConfigError(f"{moment}: {window.error}")
    return window.frames


def row_of(path: str, videos: VideoIndex | None) -> VideoIndex:
    """The row of a video in an index, or that of an index made of it now.

    Raises:
        ConfigError: if there is no such file, or it is no readable video.
    """
    if videos is not None and len(rows := np.flatnonzero(videos.path == path)):
        return videos.take(rows[:1])
    if not _is_file(path):
        raise ConfigError(f"{path}: no such file")
    with TemporaryDirectory(prefix="adassl-") as folder:
        made = build_index([path], f"{folder}/index.parquet", val_share=0, test_share=0)
    return made.index.take([0])


class _OneClip:
    """The window of one clip, as decoders read it."""

    def __init__(self, moment: Moment, data: DataConfig, video: VideoIndex) -> None:
        self.index, self.config = video, data
        num_frames, fps = int(video.num_frames[0]), float(video.fps[0])
        last = num_frames - data.frames_per_clip
        if last < 0:
            raise ConfigError(
                f"{moment.path}: {num_frames} frames; one clip has {data.frames_per_clip}"
            )
        first = last // 2
        if moment.seconds is not None:
            first = int(moment.seconds * fps + 0.5)
            if moment.seconds * fps >= num_frames:
                raise ConfigError(f"{moment}: the video ends after {num_frames / fps:.2f} s")
        self._first = min(first, last)

    def window(self, number: int) -> Window:
        """The only one."""
        return Window(
            number=number,
            video=0,
            first=self._first,
            num_frames=self.config.frames_per_clip,
            starts=np.zeros(1, np.int64),
            gaps=np.zeros(1, np.int64),
            crops=np.full((1, 2), 0.5),
        )


def _image_clip(path: str, data: DataConfig) -> Frames:
    """An image as a clip in which nothing moves."""
    folder, name = parent_and_name(path)
    with folder.reading(name) as file:
        if file is None:
            raise ConfigError(f"{path}: no such file")
        try:
            with Image.open(file) as content:
                image = ImageOps.exif_transpose(content).convert("RGB")
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise ConfigError(f"{path}: not a readable image: {error}") from error
    size = (data.frame_size, data.frame_size)
    if data.crop != "none":
        size = resized_shape(*image.size, data.frame_size)
    frame = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
    frames = frame[None] if not data.grayscale else luma(frame[None])
    return np.repeat(central(frames, data.frame_size), data.frames_per_clip, axis=0)


def _is_file(path: str) -> bool:
    folder, name = parent_and_name(path)
    return folder.exists(name)
