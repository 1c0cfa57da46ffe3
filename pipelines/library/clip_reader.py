"""Clips at moments of any video files, indexed or not, cut as an encoder takes them.

A video of the index is read as the index says. Any other file is probed once, by a sample of its
groups of pictures and by PyAV alone, which never hangs.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pipelines.config.data import DataConfig
from pipelines.storage.objects import Stamp, stamp_of
from pipelines.storage.remote import StorageError
from pipelines.video.batch import Frames
from pipelines.video.decode import read_window
from pipelines.video.frames import Access, DecodeError, resized_shape
from pipelines.video.index import VideoIndex
from pipelines.video.pairs import central
from pipelines.video.probe import Probe
from pipelines.video.sampled import probe_sampled

_KEPT_PROBES = 4096


@dataclass(frozen=True, kw_only=True)
class VideoFile:
    """What is known of a video: its frames, how many a second, their size, how they are reached."""

    num_frames: int
    fps: float
    width: int
    height: int
    access: Access


class ClipReader:
    """Reads clips as the settings of an encoder's data have them.

    Args:
        data: frames of a clip, their size, crop (of the centre) and colours.
        videos: an index that has some of the videos.
    """

    def __init__(self, data: DataConfig, videos: VideoIndex | None = None) -> None:
        """Keep what is found of files, for the next moments of them."""
        self._data, self._videos = data, videos
        paths = () if videos is None else videos.path
        self._rows = {str(path): row for row, path in enumerate(paths)}
        self._probe = lru_cache(maxsize=_KEPT_PROBES)(_probed)

    def starts(self, path: str, num_moments: int) -> list[float]:
        """Seconds of moments that divide a video evenly, fewer where it is short.

        Raises:
            DecodeError: if it is no readable video, or too short for one clip.
        """
        video = self.about(path)
        last = video.num_frames - self._data.frames_per_clip
        frames = np.unique(np.linspace(0, last, num_moments + 2)[1:-1].round().astype(int))
        return [float(frame / video.fps) for frame in frames]

    def first_frame(self, path: str, seconds: float | None) -> int:
        """Where the clip at a moment begins: at the nearest frame, or the last that fits before it.

        Raises:
            DecodeError: if it is no readable video, too short for one clip, or ends before.
        """
        video = self.about(path)
        last = video.num_frames - self._data.frames_per_clip
        if seconds is None:
            return last // 2
        if not 0 <= seconds < math.inf:
            raise DecodeError(path, f"second {seconds:g}: must be 0 or more")
        if seconds * video.fps >= video.num_frames:
            end = video.num_frames / video.fps
            raise DecodeError(path, f"second {seconds:g}: the video ends at {end:.2f} s")
        return min(int(seconds * video.fps + 0.5), last)

    def clip(self, path: str, seconds: float | None, *, cropped: bool = True) -> Frames:
        """The clip at a moment; without a time, in the middle of the video.

        Args:
            path: of the video, a path or a URI.
            seconds: see `first_frame`.
            cropped: as the encoder sees it; else the whole frames, resized alike.

        Returns:
            uint8 [frames, height, width, channels].

        Raises:
            DecodeError: as `first_frame`, or if it cannot be decoded.
        """
        return self.clip_from(path, self.first_frame(path, seconds), cropped=cropped)

    def clip_from(self, path: str, first: int, *, cropped: bool = True) -> Frames:
        """The clip that begins at a frame; the rest as for `clip`."""
        video, data = self.about(path), self._data
        width = height = data.frame_size
        if data.crop != "none":
            width, height = resized_shape(video.width, video.height, data.frame_size)
        frames = read_window(
            path,
            first=first,
            num_frames=data.frames_per_clip,
            width=width,
            height=height,
            grayscale=data.grayscale,
            access=video.access,
        )
        return central(frames, data.frame_size) if cropped else frames

    def clips_from(self, paths: Iterable[str], starts: Iterable[int]) -> list[Frames | None]:
        """Clips that begin at frames of videos; None for what cannot be decoded (any more)."""
        found: list[Frames | None] = []
        for path, start in zip(paths, starts, strict=True):
            try:
                found.append(self.clip_from(str(path), int(start)))
            except DecodeError:
                found.append(None)
        return found

    def about(self, path: str) -> VideoFile:
        """What is known of a video that has room for a clip.

        Raises:
            DecodeError: if it is no readable video, or too short for one clip.
        """
        found = self._known(path)
        length = self._data.frames_per_clip
        if found.num_frames < length:
            raise DecodeError(path, f"{found.num_frames} frames; one clip has {length}")
        return found

    def _known(self, path: str) -> VideoFile:
        if self._videos is not None and (row := self._rows.get(path)) is not None:
            return VideoFile(
                num_frames=int(self._videos.num_frames[row]),
                fps=float(self._videos.fps[row]),
                width=int(self._videos.width[row]),
                height=int(self._videos.height[row]),
                access=self._videos.access(row),
            )
        try:
            found = self._probe(path, stamp_of(path))
        except FileNotFoundError:
            raise DecodeError(path, "no such file") from None
        except (StorageError, OSError) as error:
            raise DecodeError(path, f"unreadable: {error}") from error
        if isinstance(found, str):
            raise DecodeError(path, found)
        return VideoFile(
            num_frames=found.num_frames,
            fps=found.fps,
            width=found.width,
            height=found.height,
            access=found.access,
        )


def _probed(path: str, stamp: Stamp) -> Probe | str:
    """What is in a file, as it is since a time, or why it cannot be read."""
    found = probe_sampled(path, lambda _: None, try_decord=False)
    return found if isinstance(found, Probe) else found.reason
