"""A library's start frames cut into tiles, and the endless order in which tiles are read.

A tile is a run of start frames of one video: one group of pictures where memory allows, short
groups joined, long ones split. Every round holds each tile once, hence each start frame of the
library equally often.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipelines.video.draws import TILE_ORDER, stream_of

Integers = NDArray[np.int64]
LEAST_DISTANCE = 0.5
"""Between two tiles of a video in a round, as a share of their mean distance."""


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Tile i covers the start frames low[i] .. high[i] - 1 of video[i]; the videos ascend."""

    video: Integers
    low: Integers
    high: Integers

    def __len__(self) -> int:
        """How many there are."""
        return len(self.video)

    def counts(self, multiple: int) -> Integers:
        """Start frames of each tile that are multiples of a number."""
        counts: Integers = -(-self.high // multiple) + -self.low // multiple
        return counts

    def with_starts(self, multiple: int) -> "Tiles":
        """Without those that hold no multiple of a number."""
        kept = self.counts(multiple) > 0
        return Tiles(video=self.video[kept], low=self.low[kept], high=self.high[kept])


def cut_tiles(
    num_starts: Integers,
    most: Integers,
    key_frames: NDArray[np.integer],
    key_frame_counts: NDArray[np.integer],
) -> Tiles:
    """Cut each video's start frames at key frames into the longest runs of at most `most`.

    A longer stretch without a key frame is cut into equal parts, of which the last goes on beyond
    the key frame where that fits.

    Args:
        num_starts: of each video, at least 1; its start frames are 0 .. num_starts - 1.
        most: start frames of a tile, for each video.
        key_frames: of all videos, one after another, those of each ascending.
        key_frame_counts: how many each video has.
    """
    # Positions count over all videos, and every turn of the loop cuts one tile from each.
    ends = np.cumsum(num_starts)
    offsets = ends - num_starts
    inner = (key_frames > 0) & (key_frames < np.repeat(num_starts, key_frame_counts))
    cuts = np.concatenate(
        [[0], (key_frames + np.repeat(offsets, key_frame_counts))[inner], ends]
    ).astype(np.int64)
    cuts.sort(kind="stable")  # which merges what is sorted
    nothing = np.empty(0, np.int64)
    video, low, high = [nothing], [nothing], [nothing]  # where there is no video
    rest, at = np.arange(len(num_starts)), offsets
    while len(rest):
        fits = np.searchsorted(cuts, at + most[rest], side="right") - 1
        edge = np.minimum(cuts[fits], ends[rest])
        long = np.flatnonzero(edge <= at)
        stretch = cuts[fits[long] + 1] - at[long]
        parts = -(-stretch // most[rest[long]])
        edge[long] = at[long] + np.rint(stretch / parts).astype(np.int64)
        video.append(rest)
        low.append(at - offsets[rest])
        high.append(edge - offsets[rest])
        left = edge < ends[rest]
        rest, at = rest[left], edge[left]
    videos, lows, highs = (np.concatenate(each) for each in (video, low, high))
    order = np.lexsort((lows, videos))
    return Tiles(video=videos[order], low=lows[order], high=highs[order])


class TileOrder:
    """Rounds of tiles without an end, each in an order of its own, by the seed.

    The tiles of one video are spread over the round: two of them are at least about
    `LEAST_DISTANCE` of their mean distance apart.
    """

    def __init__(self, video: Integers, *, seed: int) -> None:
        """Order tiles of these videos, which ascend."""
        self._video, self._seed = video, seed
        self._counts = np.bincount(video)
        self._firsts = np.cumsum(self._counts) - self._counts
        self.round = lru_cache(maxsize=2)(self._round)

    def __len__(self) -> int:
        """Tiles of a round."""
        return len(self._video)

    def tile(self, number: int) -> int:
        """The tile in one place of the order."""
        round_, place = divmod(number, len(self._video))
        return int(self.round(round_)[place])

    def tiles(self, numbers: Integers) -> Integers:
        """The tiles in some places of the order."""
        rounds, places = np.divmod(numbers, len(self._video))
        tiles = np.empty_like(numbers)
        for round_ in np.unique(rounds).tolist():
            here = rounds == round_
            tiles[here] = self.round(round_)[places[here]]
        return tiles

    def ahead(self, first: int, most: int) -> Integers:
        """The places from one on, at most to the end of its round."""
        return np.arange(
            first, min(first + most, first - first % len(self._video) + len(self._video))
        )

    def _round(self, round_: int) -> Integers:
        rng = stream_of(self._seed, TILE_ORDER, round_)
        # Tile i of a video's own random order has the place (i + phase + jitter) / tiles in [0, 1].
        by_video = np.argsort(self._video + rng.random(len(self._video)), kind="stable")
        rank = np.arange(len(by_video)) - self._firsts[self._video]
        phase = rng.random(len(self._counts))[self._video]
        jitter = (1 - LEAST_DISTANCE) * rng.random(len(by_video))
        places = (rank + phase + jitter) / self._counts[self._video]
        order: Integers = by_video[np.argsort(places, kind="stable")]
        return order
