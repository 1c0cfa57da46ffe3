"""Which pair stands in which row of a run on a table: pure arithmetic on (seed, row).

Row i of a run is place i mod n of round i // n; each round holds the n usable rows of the split
once, in an order of its own. With a rule, x+ is drawn by a stream that belongs to row i alone. So
every global batch is the same rows on any number of workers, and a run goes on at any batch.

    row k * G + w + j * W     pair j of worker w of W in batch k of G pairs
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.config.data import DataConfig
from pipelines.config.run import ConfigError
from pipelines.pairs.draws import Draw, draw_of
from pipelines.pairs.table import PairTable
from pipelines.video.draws import stream_of
from pipelines.video.schedule import LeftOut

Integers = NDArray[np.int64]
ORDER, PAIR = 2, 3
"""What a stream is for; 0 and 1 are those of videos."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Rows of the table that x and x+ are read from, and where squares are cut, in [0, 1]."""

    context: int
    target: int
    crop: NDArray[np.float64]


class PairRows:
    """The rows of a run on one split of a table, under one seed and global batch size."""

    def __init__(
        self, index: PairTable, config: DataConfig, *, seed: int, global_batch_size: int
    ) -> None:
        """Check that the table can carry the settings.

        Args:
            index: the usable rows of one split.
            config: which views there are and how they are read.
            seed: of everything random.
            global_batch_size: pairs of a batch over all workers.

        Raises:
            ConfigError: if no row has a partner, or a setting needs what the table has not.
        """
        _check(index, config)
        self.config, self.seed, self.global_batch_size = config, seed, global_batch_size
        self.draw: Draw | None = None
        self.left_out: list[LeftOut] = []
        self._all = index
        rule = index.rule
        if rule is not None:
            factors = index.factors
            alone = draw_of(rule, factors).alone
            self.left_out = [
                LeftOut(path=index.label(row), reason=f"no partner: {rule.describe()}")
                for row in alone
            ]
            kept = np.setdiff1d(np.arange(len(index)), alone)
            index = index.take(kept)
            self.draw = draw_of(rule, factors.iloc[kept]) if len(kept) else None
        self.index = index
        if not len(index):
            raise ConfigError(
                f"no pair can be made of {len(self._all)} rows: "
                + (self.left_out[0].reason if self.left_out else "there is none")
            )
        self._order = lru_cache(maxsize=2)(self._round)

    @property
    def num_starts(self) -> int:
        """Rows of a round."""
        return len(self.index)

    @cached_property
    def pairs_per_video(self) -> int:
        """Pairs of the largest group, as many of which a batch may hold."""
        return min(self.global_batch_size, int(np.bincount(self.index.group).max()))

    def pair(self, row: int) -> Pair:
        """The pair of a row of the run, a function of the seed and the row alone."""
        context = target = self.context(row)
        rng = stream_of(self.seed, PAIR, row)
        crop = rng.random(2) if self.config.crop == "random" else np.full(2, 0.5)
        if self.draw is not None:
            target = self.draw(context, rng)
        return Pair(context=context, target=target, crop=crop)

    def context(self, row: int) -> int:
        """The row of the table that x is read from; cheaper than the whole pair."""
        round_, place = divmod(row, len(self.index))
        return int(self._order(round_)[place])

    def rows(self, batch: int, *, rank: int = 0, num_workers: int = 1) -> range:
        """The rows that one of the workers has of a batch.

        Raises:
            ConfigError: if a batch does not divide among the workers.
        """
        size = self.global_batch_size
        if size % num_workers:
            raise ConfigError(
                f"a batch of {size} pairs does not divide among {num_workers} workers"
            )
        return range(batch * size + rank, (batch + 1) * size, num_workers)

    def numbers(self, batches: range, *, rank: int = 0, num_workers: int = 1) -> Iterator[int]:
        """All rows of a worker for a run of batches, in order."""
        for batch in batches:
            yield from self.rows(batch, rank=rank, num_workers=num_workers)

    def _round(self, round_: int) -> Integers:
        order: Integers = stream_of(self.seed, ORDER, round_).permutation(len(self.index))
        return order

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes as what it was made of."""
        make = partial(PairRows, seed=self.seed, global_batch_size=self.global_batch_size)
        return make, (self._all, self.config)


def _check(index: PairTable, config: DataConfig) -> None:
    what = "a table of pairs has"
    if config.frames_per_clip != 1:
        raise ConfigError(
            f"data.frames_per_clip={config.frames_per_clip}: {what} clips of one frame; set "
            "data.frames_per_clip=1, or leave the recipe to the table"
        )
    if config.moments_per_video != 1:
        raise ConfigError(
            f"data.moments_per_video={config.moments_per_video}: {what} one moment a row; set "
            "data.moments_per_video=1"
        )
    if config.moments_per_chain != 2:
        raise ConfigError(
            f"data.moments_per_chain={config.moments_per_chain}: {what} two moments a row; set "
            "data.moments_per_chain=2"
        )
    wanted = [view for view in config.clips if view not in index.views]
    if wanted:
        instead = ", or set data.views=both, where it is x or x+ augmented once more"
        raise ConfigError(
            f"data.{wanted[0]}=true: the table has no {wanted[0]}; leave it out"
            + ("" if wanted[0] == "negative" else instead)
        )
