"""Which pair stands in which row: pure arithmetic on (seed, row), no I/O and no stored order.

Window t is one run of frames of one video.
With G pairs a batch and P pairs a window, a batch takes one pair from each of the G windows then
in the shuffle window; before the next batch the G/P oldest leave, having given all their pairs, and
as many new ones come. So

    shuffle window of batch k       t in [G/P * k, G/P * k + G)
    row i = k * G + j     the window in the shuffle window with t mod G = j
    worker of window t    t mod (number of workers)

and every global batch, whatever the number of workers, is the same rows; what the shuffle window
holds at batch k follows from k alone, so that a run goes on at any batch, on any number of workers,
decoding nothing that lies behind it. (MosaicML Streaming and Grain promise the same.)
"""

import math
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.config.run import ConfigError, DataConfig
from pipelines.video.index import VideoIndex

_VIDEO_ORDER, _WINDOW = 0, 1  # what a random stream is for: part of its counter


@dataclass(frozen=True, kw_only=True)
class Window:
    """One run of frames to read in order, and the pairs to cut from it.

    `starts`, `gaps` and `crops` hold one entry a pair: the first frame of its first clip within the
    window, the distance between its clips in frames, and the place of the crop along (height,
    width) in [0, 1].
    """

    number: int
    video: int
    first: int
    num_frames: int
    starts: NDArray[np.int64]
    gaps: NDArray[np.int64]
    crops: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A video that this recipe cannot use, and why."""

    path: str
    reason: str


class Schedule:
    """The rows of one split of an index under one data config, seed and global batch size."""

    def __init__(
        self, index: VideoIndex, config: DataConfig, *, seed: int, global_batch_size: int
    ) -> None:
        """Check that the videos can carry the batches.

        Raises:
            ConfigError: if no video is long enough, or a batch needs more pairs of one video than
                `max_pairs_per_video` allows.
        """
        self.config, self.seed, self.global_batch_size = config, seed, global_batch_size
        if global_batch_size % config.pairs_per_window:
            raise ConfigError(
                f"a batch of {global_batch_size} pairs is no multiple of "
                f"data.pairs_per_window={config.pairs_per_window}"
            )
        self.windows_per_batch = global_batch_size // config.pairs_per_window
        low, high = _gap_frames(config, index.fps)
        # Also where x alone is decoded, so that the rows do not depend on `data.views`.
        gaps = 1 + config.surrogate + config.context_surrogate
        spans = gaps * high + config.frames_per_clip
        starts = np.maximum(0, index.num_frames - spans + 1)
        long_enough = np.flatnonzero(starts > 0)
        self.left_out = [
            LeftOut(
                path=str(index.path[i]),
                reason=f"{index.num_frames[i]} frames; one pair spans {spans[i]}",
            )
            for i in np.flatnonzero(starts <= 0)
        ]
        if not len(long_enough):
            shortest = f" (the shortest pair spans {spans.min()} frames)" if len(spans) else ""
            raise ConfigError(
                f"none of {len(index)} videos is long enough for one pair{shortest}; "
                "use a smaller data.gap or data.frames_per_clip, or longer videos"
            )
        self.index = index.take(long_enough)
        self._gaps = np.stack([low, high], axis=1)[long_enough]
        self._spans, self._starts = spans[long_enough], starts[long_enough]
        self._tiles = lru_cache(maxsize=4096)(self._cut_tiles)
        self._order = VideoOrder(len(long_enough), shuffle_window=global_batch_size, seed=seed)
        cap = config.max_pairs_per_video
        if cap is not None and self.pairs_per_video > cap:
            raise ConfigError(
                f"data.max_pairs_per_video={cap}: a batch of {global_batch_size} pairs from "
                f"{len(self.index)} videos holds up to {self.pairs_per_video} pairs of one; "
                f"set data.max_pairs_per_video to at least that or use a smaller batch"
            )

    @property
    def pairs_per_video(self) -> int:
        """Most pairs of one video that any global batch holds."""
        return self._order.most_at_once

    @property
    def num_starts(self) -> int:
        """Start frames that pairs may have, over all videos."""
        return int((-(-self._starts // self.config.start_multiple)).sum())

    def window(self, number: int) -> Window:
        """Window t, a function of the seed and t alone."""
        config = self.config
        rng = _rng(self.seed, _WINDOW, number)
        video = self._order.video(number)
        multiple = config.start_multiple
        chosen = multiple * int(rng.integers(-(-self._starts[video] // multiple)))
        low, high = self._tile(video, chosen)
        candidates = np.arange(-(-low // multiple) * multiple, high, multiple)
        pairs = config.pairs_per_window
        starts = np.resize(rng.permutation(candidates), pairs)  # again and again where too few
        least, most = self._gaps[video].tolist()
        gaps = rng.integers(least, most, size=pairs, endpoint=True)
        crops = np.full((pairs, 2), 0.5)
        if config.crop == "random":
            crops = rng.random((pairs, 2))
        first = int(starts.min())
        end = int((starts + (len(config.clips) - 1) * gaps).max()) + config.frames_per_clip
        return Window(
            number=number,
            video=video,
            first=first,
            num_frames=end - first,
            starts=starts - first,
            gaps=gaps,
            crops=crops,
        )

    def shuffle_window(self, batch: int) -> range:
        """The windows that global batch k takes one pair each from."""
        first = self.windows_per_batch * batch
        return range(first, first + self.global_batch_size)

    def pair_in_window(self, number: int, batch: int) -> int:
        """Which of its pairs window t gives to global batch k (its age in the shuffle window)."""
        lifetime = self.config.pairs_per_window
        return batch - number // self.windows_per_batch + lifetime - 1

    def row(self, number: int, batch: int) -> int:
        """The row of global batch k that window t fills."""
        return batch * self.global_batch_size + number % self.global_batch_size

    def worker_windows(self, batches: range, *, rank: int, num_workers: int) -> range:
        """The windows that one of the workers needs for a run of batches, in order of need."""
        if self.global_batch_size % num_workers:
            raise ConfigError(
                f"a batch of {self.global_batch_size} does not divide among {num_workers} workers"
            )
        first, end = (
            self.shuffle_window(batches.start).start,
            self.shuffle_window(batches.stop - 1).stop,
        )
        return range(first + (rank - first) % num_workers, end, num_workers)

    def _tile(self, video: int, start: int) -> tuple[int, int]:
        """The run of start frames around `start` that one window covers, as [low, high).

        A video's start frames are cut at key frames into the longest runs that fit
        `starts_per_window`, and longer ones further in equal parts. As a tile is found by a start
        drawn evenly over the video and its pairs start evenly within it, all start frames are
        equally likely, and yet a window begins where decoding can begin.
        """
        edges = self._tiles(video)
        tile = int(np.searchsorted(edges, start, side="right")) - 1
        return int(edges[tile]), int(edges[tile + 1])

    def _cut_tiles(self, video: int) -> NDArray[np.int64]:
        key_frames = np.asarray(self.index.key_frames(video), np.int64)
        return tile_edges(key_frames, int(self._starts[video]), self.config.starts_per_window)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes as what it was made of."""
        make = partial(Schedule, seed=self.seed, global_batch_size=self.global_batch_size)
        return make, (self.index, self.config)


class VideoOrder:
    """An endless order of videos: every one once in each round, the same one never soon again.

    The videos are split once, by the seed, into parts that come in a fixed order, each shuffled
    anew every round. So two visits to a video are at least `distance` apart, and the shuffle window
    holds it at most `most_at_once` times: the fewest possible up to one.
    """

    def __init__(self, num_videos: int, *, shuffle_window: int, seed: int) -> None:
        """Choose the fewest parts that keep the visits apart."""
        self.num_videos, self.seed = num_videos, seed
        for parts in range(1, num_videos + 1):
            largest = -(-num_videos // parts)
            self.distance = num_videos - largest + 1
            self.most_at_once = math.ceil(shuffle_window / self.distance)
            if self.most_at_once <= math.ceil(shuffle_window / num_videos):
                break
        self._edges = np.linspace(0, num_videos, parts + 1).astype(np.int64)
        self._members = _rng(seed, _VIDEO_ORDER, 0).permutation(num_videos)
        self._shuffled = lru_cache(maxsize=4)(self._shuffle)

    def video(self, position: int) -> int:
        """The video of window t."""
        round_, place = divmod(position, self.num_videos)
        part = int(np.searchsorted(self._edges, place, side="right")) - 1
        return int(self._shuffled(round_, part)[place - self._edges[part]])

    def _shuffle(self, round_: int, part: int) -> NDArray[np.int64]:
        members = self._members[self._edges[part] : self._edges[part + 1]]
        return _rng(self.seed, _VIDEO_ORDER, 1 + round_, part).permutation(members)


def tile_edges(
    key_frames: NDArray[np.int64], num_starts: int, starts_per_window: int
) -> NDArray[np.int64]:
    """Cut [0, num_starts) at key frames into the longest runs of at most `starts_per_window`.

    A longer stretch without a key frame is cut in equal parts.
    """
    inner = key_frames[(key_frames > 0) & (key_frames < num_starts)]
    cuts = np.concatenate([np.sort(inner), [num_starts]])
    edges = [0]
    while edges[-1] < num_starts:
        at = edges[-1]
        fits = int(np.searchsorted(cuts, at + starts_per_window, side="right")) - 1
        if fits >= 0 and cuts[fits] > at:
            edges.append(int(cuts[fits]))
            continue
        end = int(cuts[fits + 1])
        parts = -(-(end - at) // starts_per_window)
        edges.extend(int(e) for e in np.linspace(at, end, parts + 1)[1:].round())
    return np.asarray(edges, np.int64)


def _gap_frames(
    config: DataConfig, fps: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Least and greatest gap in frames of videos at these rates; at least one frame."""
    rate = fps if config.gap_unit == "seconds" else np.ones_like(fps)
    low, high = (np.maximum(1, np.rint(g * rate)).astype(np.int64) for g in config.gap)
    return low, high


def _rng(seed: int, purpose: int, *position: int) -> np.random.Generator:
    """A counter-based stream: a pure function of its arguments, made without drawing others."""
    a, b = (*position, 0)[:2]
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, purpose, a, b]))
