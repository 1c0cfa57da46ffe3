"""Which pair stands in which row: pure arithmetic on (seed, row), no I/O and no stored order.

The start frames of all videos are cut into tiles (`tiles`). Window t reads tile t of an endless
order and gives `data.reuse` pairs for each start frame of it. For G pairs a batch there are G / P
lanes (`lanes`), each of which gives P pairs of every batch (`data.moments_per_video`):

    row k * G + p * G / P + j     pair k * P + p of those that lane j gives
    worker of lane j              j mod (number of workers)

Every global batch, whatever the number of workers, is the same rows, and what the lanes hold at
batch k follows from k alone, so that a run goes on at any batch, on any number of workers, decoding
nothing that lies behind it. (MosaicML Streaming and Grain promise the same.)

The first windows are cut short. A lane's first is a share of a tile that grows from lane to lane up
to `FIRST_SHARE`, and each later one is longer than the one before, up to a whole tile: so the first
batch waits for few frames, and the lanes need new windows one after another, not all at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.config.data import DataConfig
from pipelines.config.run import ConfigError
from pipelines.video.draws import WINDOW, stream_of
from pipelines.video.index import VideoIndex
from pipelines.video.lanes import Turns, turns
from pipelines.video.tiles import Integers, TileOrder, cut_tiles

MIB = 2**20
GROWING_TURNS = 2
FIRST_SHARE = 2.0**-GROWING_TURNS
"""Of its tile, of the longest first window; the share doubles with each turn of a lane."""
VISIT_STARTS = 64
"""Start frames from which a window takes its pairs where it gives but a few."""


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
        self,
        index: VideoIndex,
        config: DataConfig,
        *,
        seed: int,
        global_batch_size: int,
        pairs_per_visit: int | None = None,
    ) -> None:
        """Check that the videos can carry the batches.

        Args:
            index: the videos.
            config: which pairs are cut from them.
            seed: of everything random.
            global_batch_size: pairs of a batch over all workers.
            pairs_per_visit: None: windows are tiles, and every start frame is as likely as any
                other, which is for training. A number: every video comes once before any comes
                twice and gives so many pairs each time, from start frames close to each other;
                `data.reuse`, `data.moments_per_video` and `data.max_pairs_per_video` do not count.
                So a few pairs of many videos are had without decoding all of their frames.

        Raises:
            ConfigError: if no video is long enough, if the memory for decoded frames cannot hold
                the pairs of a batch, or if a batch needs more pairs of one video than
                `max_pairs_per_video` allows.
        """
        if config.negative:
            raise ConfigError(
                "data.negative=true: videos have no negatives of their own, tables of pairs do; "
                "set data.negative=false"
            )
        self.config, self.seed, self.global_batch_size = config, seed, global_batch_size
        self.pairs_per_visit = pairs_per_visit
        low, high = _gap_frames(config, index.fps)
        self._gaps_per_pair = config.gaps_per_pair
        spans = self._gaps_per_pair * high + config.frames_per_clip
        long_enough = np.flatnonzero(index.num_frames >= spans)
        self.left_out = [
            LeftOut(
                path=str(index.path[i]),
                reason=f"{index.num_frames[i]} frames; one pair spans {spans[i]}",
            )
            for i in np.flatnonzero(index.num_frames < spans)
        ]
        if not len(long_enough):
            shortest = f" (the shortest pair spans {spans.min()} frames)" if len(spans) else ""
            raise ConfigError(
                f"none of {len(index)} videos is long enough for one pair{shortest}; "
                "use a smaller data.gap or data.frames_per_clip, or longer videos"
            )
        self.index = index.take(long_enough)
        self._gaps = np.stack([low, high], axis=1)[long_enough]
        self._spans = spans[long_enough]
        # Frames from which a pair with the least gap fits.
        self._starts = (
            self.index.num_frames - self._gaps_per_pair * self._gaps[:, 0] - config.frames_per_clip
        ) + 1
        self._frame_bytes = frame_bytes(self.index, config)
        per_video = -(-self._starts // config.start_multiple)
        self.pairs_per_lane = config.moments_per_video if pairs_per_visit is None else 1
        self.num_lanes, rest = divmod(global_batch_size, self.pairs_per_lane)
        if rest:
            raise ConfigError(
                f"data.moments_per_video={self.pairs_per_lane} does not divide a batch of "
                f"{global_batch_size} pairs; change one of the two"
            )
        if pairs_per_visit is None:
            self._cap, most = self._checked_cap(per_video), self._most_starts()
        else:
            self._cap = self.num_lanes
            most = np.full_like(self._starts, max(VISIT_STARTS, pairs_per_visit))
            self._visit_pairs = np.minimum(pairs_per_visit, per_video)
        tiles = cut_tiles(self._starts, most, *self.index.all_key_frames())
        self._tiles = tiles.with_starts(config.start_multiple)
        self._counts = self._tiles.counts(config.start_multiple)
        videos = np.arange(len(self.index) + 1)
        self._first_tile = np.searchsorted(self._tiles.video, videos)
        ordered = self._tiles.video if pairs_per_visit is None else videos[:-1]
        self._order = TileOrder(ordered, seed=seed)

    def _checked_cap(self, per_video: Integers) -> int:
        """Most lanes that may have windows of one video, of which the start frames are given."""
        cap = self.config.max_pairs_per_video
        share = -(-self.num_lanes * int(per_video.max()) // int(per_video.sum()))
        least = max(share, -(-self.num_lanes // len(per_video)))  # so that all lanes have some
        if cap is not None and cap < least * self.pairs_per_lane:
            raise ConfigError(
                f"data.max_pairs_per_video={cap}: a batch of {self.global_batch_size} pairs from "
                f"{len(per_video)} videos, the longest with "
                f"{per_video.max() / per_video.sum():.1%} of the start frames, holds up to "
                f"{least * self.pairs_per_lane} pairs of one; set data.max_pairs_per_video to at "
                "least that or use a smaller batch"
            )
        return least if cap is None else cap // self.pairs_per_lane

    def _most_starts(self) -> Integers:
        """Most start frames of a window of each video, by the memory of a lane."""
        frames = self.config.shuffle_memory_mib * MIB // (self.num_lanes * self._frame_bytes)
        if (frames < self._spans).any():
            least = -(-self.num_lanes * int((self._spans * self._frame_bytes).max()) // MIB)
            raise ConfigError(
                f"data.shuffle_memory_mib={self.config.shuffle_memory_mib}: the {self.num_lanes} "
                f"windows of a batch, of {self._spans.max()} frames at least, take {least} MiB of "
                "decoded frames; set data.shuffle_memory_mib to at least that, or use a smaller "
                "batch, data.frame_size or data.gap, or more data.moments_per_video"
            )
        most: Integers = frames - self._spans + 1
        return most

    @property
    def pairs_per_video(self) -> int:
        """Most pairs of one video that any global batch holds."""
        return min(self._cap * self.pairs_per_lane, self.global_batch_size)

    @property
    def num_starts(self) -> int:
        """Start frames that pairs may have, over all videos."""
        return int(self._counts.sum())

    @property
    def num_windows(self) -> int:
        """Windows of a round, in which every tile (or, by visits, every video) comes once."""
        return len(self._order)

    def window(self, number: int) -> Window:
        """Window t, a function of the seed and t alone."""
        config, multiple = self.config, self.config.start_multiple
        rng = stream_of(self.seed, WINDOW, number)
        tile = self._order.tile(number)
        if self.pairs_per_visit is not None:
            tile = self._visited(tile, rng)
        video, count = int(self._tiles.video[tile]), int(self._counts[tile])
        if self.pairs_per_visit is not None:  # again and again where the tile has too few
            places = np.resize(rng.permutation(count), self._visit_pairs[video])
            uses, phase = np.zeros(len(places), np.int64), rng.random(len(places))
        else:
            count = int(self._num_used(np.asarray(number), np.asarray(count)))
            places = np.concatenate([rng.permutation(count) for _ in range(config.reuse)])
            uses, phase = np.repeat(np.arange(config.reuse), count), rng.random(count)[places]
        starts = multiple * (-(-int(self._tiles.low[tile]) // multiple) + places)
        gaps = self._gaps_at(video, starts, uses, phase)
        crops = np.full((len(starts), 2), 0.5)
        if config.crop == "random":
            crops = rng.random((len(starts), 2))
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

    def _visited(self, video: int, rng: np.random.Generator) -> int:
        """The tile of a video in which a start frame lies that is drawn evenly."""
        first, end = self._first_tile[video : video + 2]
        up_to = np.cumsum(self._counts[first:end])
        return int(first + np.searchsorted(up_to, rng.integers(up_to[-1]), side="right"))

    def _gaps_at(
        self, video: int, starts: Integers, uses: Integers, phase: NDArray[np.float64]
    ) -> Integers:
        """The gap of each pair, among those with which it ends before its video does.

        `phase`, even in [0, 1), chooses the gap of a start frame's first use; those of further uses
        are spread evenly from there on.
        """
        least, most = self._gaps[video].tolist()
        frames_left = int(self.index.num_frames[video]) - self.config.frames_per_clip - starts
        choices = np.minimum(most, frames_left // self._gaps_per_pair) - least + 1
        gaps: Integers = (
            least
            + (phase * choices + uses * choices / self.config.reuse).astype(np.int64) % choices
        )
        return gaps

    def ahead(self, first: int, count: int) -> tuple[Integers, Integers]:
        """Video and number of pairs of at most so many windows from number `first` on."""
        numbers = self._order.ahead(first, count)
        tiles = self._order.tiles(numbers)
        if self.pairs_per_visit is not None:
            return tiles, self._visit_pairs[tiles]
        used = self._num_used(numbers, self._counts[tiles])
        return self._tiles.video[tiles], self.config.reuse * used

    def _num_used(self, numbers: Integers, counts: Integers) -> Integers:
        """How many start frames windows use of those that their tiles have."""
        turn, place = np.divmod(numbers, self.num_lanes)
        within = (place + 1) / self.num_lanes
        grown = 2.0 ** (np.minimum(turn, GROWING_TURNS + 1) - 1) * (1 + within)
        share = FIRST_SHARE * np.where(turn == 0, within, grown)
        used: Integers = np.ceil(np.minimum(1, share) * counts).astype(np.int64)
        return used

    def turns(self, batches: range, *, rank: int = 0, num_workers: int = 1) -> Iterator[Turns]:
        """The windows that one of the workers needs for a run of batches, in order of need.

        Raises:
            ConfigError: if the lanes do not divide among the workers.
        """
        if self.num_lanes % num_workers:
            lanes = f" in {self.num_lanes} lanes" if self.pairs_per_lane > 1 else ""
            raise ConfigError(
                f"a batch of {self.global_batch_size} pairs{lanes} does not divide among "
                f"{num_workers} workers"
            )
        ticks = self.ticks(batches)
        every = turns(
            self,
            num_lanes=self.num_lanes,
            num_videos=len(self.index),
            most_per_video=self._cap,
        )
        mine = (
            begun[(begun.lane % num_workers == rank) & (begun.end > ticks.start)]
            for begun in takewhile(lambda begun: begun.first < ticks.stop, every)
        )
        return (begun for begun in mine if len(begun.number))

    def ticks(self, batches: range) -> range:
        """When lanes give the pairs of a run of global batches."""
        return range(batches.start * self.pairs_per_lane, batches.stop * self.pairs_per_lane)

    def row(self, lane: int, tick: int) -> int:
        """The row that a lane fills at a tick."""
        batch, place = divmod(tick, self.pairs_per_lane)
        return batch * self.global_batch_size + place * self.num_lanes + lane

    def most_frames(self, numbers: Integers) -> tuple[Integers, Integers]:
        """Bounds on the frames of windows, and on their bytes when decoded."""
        found, multiple = self._order.tiles(numbers), self.config.start_multiple
        if self.pairs_per_visit is None:
            videos = self._tiles.video[found]
            starts = (self._num_used(numbers, self._counts[found]) - 1) * multiple + 1
        else:
            videos = found
            together = max(VISIT_STARTS, self.pairs_per_visit) if self.pairs_per_visit > 1 else 1
            starts = np.minimum(together, self._starts[videos])
        frames = starts + self._spans[videos] - 1
        return frames, frames * self._frame_bytes[videos]

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes as what it was made of."""
        make = partial(
            Schedule,
            seed=self.seed,
            global_batch_size=self.global_batch_size,
            pairs_per_visit=self.pairs_per_visit,
        )
        return make, (self.index, self.config)


def frame_bytes(index: VideoIndex, config: DataConfig) -> Integers:
    """Bytes of a frame of each video, resized; at most a row or column more than it has."""
    short, long = (
        pick(index.width, index.height).astype(np.int64) for pick in (np.minimum, np.maximum)
    )
    side = config.frame_size
    longer = np.full_like(long, side) if config.crop == "none" else -(-side * long // short)
    nbytes: Integers = side * longer * config.channels
    return nbytes


def _gap_frames(
    config: DataConfig, fps: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Least and greatest gap in frames of videos at these rates; at least one frame."""
    rate = fps if config.gap_unit == "seconds" else np.ones_like(fps)
    low, high = (np.maximum(1, np.rint(g * rate)).astype(np.int64) for g in config.gap)
    return low, high
