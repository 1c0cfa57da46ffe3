"""Which item is x+ of an item: each rule as a function of the item and a stream of its own."""

from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.config.pairing import PairingRule
from pipelines.config.run import ConfigError

Integers = NDArray[np.int64]


class Draw(Protocol):
    """A rule over the items of a split."""

    alone: Integers
    """Items that have no x+."""

    def __call__(self, item: int, rng: np.random.Generator) -> int:
        """The item that is x+ of another one."""


def draw_of(rule: PairingRule, items: pd.DataFrame) -> Draw:
    """The rule over some items.

    Args:
        rule: which.
        items: their columns, a row an item.

    Raises:
        ConfigError: if a column is missing, or is not of numbers where the rule needs them.
    """
    for name in rule.all_columns:
        if name not in items:
            raise ConfigError(
                f"the pairing rule ({rule.describe()}) reads {name}; the table has "
                f"{', '.join(map(str, items.columns)) or 'no such column'}"
            )
    if rule.kind == "same":
        return _Same(rule, items)
    for name in rule.columns:
        if not pd.api.types.is_numeric_dtype(items[name]):
            raise ConfigError(f"the pairing rule ({rule.describe()}): {name} is not of numbers")
    return _Near(rule, items) if rule.kind == "near" else _Redraw(rule, items)


class _Groups:
    """The items of each value of a column."""

    def __init__(self, values: "pd.Series[Any]") -> None:
        codes, _ = pd.factorize(values)  # -1: unknown
        self.code = codes.astype(np.int64)
        self._order = np.argsort(self.code, kind="stable")
        self._first = np.searchsorted(self.code[self._order], np.arange(codes.max(initial=-1) + 2))

    def members(self, item: int) -> Integers:
        """All items with the value of one, itself among them."""
        code = self.code[item]
        if code < 0:
            return np.asarray([item])
        return self._order[self._first[code] : self._first[code + 1]]

    def sizes(self) -> Integers:
        """For each item, how many share its value."""
        sizes = np.diff(self._first)
        if not len(sizes):
            return np.ones(len(self.code), np.int64)
        return np.where(self.code < 0, 1, sizes[self.code])


class _Same:
    def __init__(self, rule: PairingRule, items: pd.DataFrame) -> None:
        self._same = _Groups(items[rule.columns[0]])
        self._corrupted, self._within = rule.corrupted, None
        if rule.corrupted_within is not None:
            self._within = _Groups(items[rule.corrupted_within])
        self.alone = np.flatnonzero(self._same.sizes() < 2)

    def __call__(self, item: int, rng: np.random.Generator) -> int:
        if self._within is not None and rng.random() < self._corrupted:
            near = self._within.members(item)
            others = near[self._same.code[near] != self._same.code[item]]
            if len(others):
                return int(rng.choice(others))
        members = self._same.members(item)
        place = int(np.searchsorted(members, item))
        return int(members[(place + 1 + rng.integers(len(members) - 1)) % len(members)])


class _Near:
    def __init__(self, rule: PairingRule, items: pd.DataFrame) -> None:
        assert rule.step is not None
        self._step, self._period = rule.step, rule.period
        self._values = items[rule.columns[0]].to_numpy(np.float64, na_value=np.nan)
        within = items[rule.within] if rule.within else pd.Series(np.zeros(len(items)))
        known = np.isfinite(self._values)
        self._within = _Groups(within.reset_index(drop=True).where(known))
        self.alone = np.flatnonzero(self._within.sizes() < 2)

    def __call__(self, item: int, rng: np.random.Generator) -> int:
        members = self._within.members(item)
        members = members[members != item]
        away = np.abs(self._values[members] - (self._values[item] + rng.uniform(*self._step)))
        if self._period:
            away %= self._period
            away = np.minimum(away, self._period - away)
        return int(rng.choice(members[away <= away.min() + 1e-9]))


class _Redraw:
    def __init__(self, rule: PairingRule, items: pd.DataFrame) -> None:
        # Half a second to import, which other rules need not wait.
        from scipy.spatial import KDTree  # type: ignore[import-untyped]

        latents = items[list(rule.columns)].to_numpy(np.float64, na_value=np.nan)
        known = np.isfinite(latents).all(axis=1)
        low = latents[known].min(axis=0, initial=np.inf)
        spread = latents[known].max(axis=0, initial=-np.inf) - low
        self._latents = (latents - low) / np.where(spread > 0, spread, 1)
        self._known = np.flatnonzero(known)
        self._probability = rule.probability
        self._tree = KDTree(self._latents[known]) if known.any() else None
        self.alone = np.flatnonzero(~known) if len(self._known) > 1 else np.arange(len(items))

    def __call__(self, item: int, rng: np.random.Generator) -> int:
        drawn = self._latents[item].copy()
        anew = rng.random(len(drawn)) < self._probability
        drawn[anew] = rng.random(int(anew.sum()))
        assert self._tree is not None  # or all are alone
        _, nearest = self._tree.query(drawn, k=2)
        first, second = self._known[nearest]
        return int(second if first == item else first)
