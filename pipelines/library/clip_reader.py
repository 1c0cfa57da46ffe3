"""Clips at moments of any video files, indexed or not, cut as an encoder takes them.

A file that is in no index is probed once, by a sample of its groups of pictures and by PyAV alone,
which never hangs.
"""

import math
from functools import lru_cache

import numpy as np

from pipelines.config.data import DataConfig
from pipelines.storage.objects import Stamp, stamp_of
from pipelines.storage.remote import StorageError
from pipelines.video.batch import Frames
from pipelines.video.decode import read_window
from pipelines.video.frames import DecodeError, resized_shape
from pipelines.video.pairs import central
from pipelines.video.probe import Probe
from pipelines.video.sampled import probe_sampled

_KEPT_PROBES = 4096


class ClipReader:
    """Reads clips as the settings of an encoder's data have them."""

    def __init__(self, data: DataConfig) -> None:
        """Keep what is found of files, for the next moments of them."""
        self._data = data
        self._probe = lru_cache(maxsize=_KEPT_PROBES)(_probed)

    def starts(self, path: str, num_moments: int) -> list[float]:
        """Seconds of moments that divide a video evenly, fewer where it is short.

        Raises:
            DecodeError: if it is no readable video, or too short for one clip.
        """
        probe = self._about(path)
        last = probe.num_frames - self._data.frames_per_clip
        frames = np.unique(np.linspace(0, last, num_moments + 2)[1:-1].round().astype(int))
        return [float(frame / probe.fps) for frame in frames]

    def clip(self, path: str, seconds: float) -> Frames:
        """The clip that begins at the frame nearest to a moment, or is the last to fit behind it.

        Returns:
            uint8 [frames, height, width, channels], of the size that the encoder sees.

        Raises:
            DecodeError: if it is no readable video, too short for one clip, or ends before.
        """
        probe, data = self._about(path), self._data
        if not 0 <= seconds < math.inf:
            raise DecodeError(path, f"second {seconds:g}: must be 0 or more")
        first, end = int(seconds * probe.fps + 0.5), probe.num_frames / probe.fps
        if seconds >= end:
            raise DecodeError(path, f"second {seconds:g}: the video ends at {end:.2f} s")
        width = height = data.frame_size
        if data.crop != "none":
            width, height = resized_shape(probe.width, probe.height, data.frame_size)
        frames = read_window(
            path,
            first=min(first, probe.num_frames - data.frames_per_clip),
            num_frames=data.frames_per_clip,
            width=width,
            height=height,
            grayscale=data.grayscale,
            access=probe.access,
        )
        return central(frames, data.frame_size)

    def _about(self, path: str) -> Probe:
        try:
            found = self._probe(path, stamp_of(path))
        except FileNotFoundError:
            raise DecodeError(path, "no such file") from None
        except (StorageError, OSError) as error:
            raise DecodeError(path, f"unreadable: {error}") from error
        if isinstance(found, str):
            raise DecodeError(path, found)
        if found.num_frames < self._data.frames_per_clip:
            raise DecodeError(
                path, f"{found.num_frames} frames; one clip has {self._data.frames_per_clip}"
            )
        return found


def _probed(path: str, stamp: Stamp) -> Probe | str:
    """What is in a file, as it is since a time, or why it cannot be read."""
    found = probe_sampled(path, lambda _: None, try_decord=False)
    return found if isinstance(found, Probe) else found.reason
