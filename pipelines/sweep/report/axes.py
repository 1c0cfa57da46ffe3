"""The sampled keys as axes: what they are called and into which cells their values fall."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.trials.records import Value

BETA, LATENT_DIM, WARMUP = "method.beta", "method.latent_dim", "method.beta_warmup_steps"
_SYMBOLS = {BETA: "β", LATENT_DIM: "d_r", WARMUP: "β warm-up"}
_UNITS = {WARMUP: "steps"}
_COLUMNS = ("rank", "setting", "mean", "sd", "seeds", "difference")
"""Columns of the leaderboard that no key may take."""
_MOST_BINS, _MOST_GRID_VALUES = 6, 8


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A sampled key, cut into cells: single values, or bins of equal ratio."""

    key: str
    column: str
    """The last part of the key, or all of it where two keys end alike."""
    is_log: bool
    """Whether it is drawn over a logarithmic scale."""
    limits: tuple[float, float] | None
    """The range that was searched; None where the values are not numbers."""
    values: tuple[Value, ...] = ()
    """One cell each; empty where the range is cut into bins."""
    edges: tuple[float, ...] = ()
    """Limits of the bins, one more than there are bins."""

    @property
    def label(self) -> str:
        """The field's symbol, else the column."""
        return _SYMBOLS.get(self.key, self.column)

    @property
    def title(self) -> str:
        """The label with its unit."""
        unit = _UNITS.get(self.key)
        return f"{self.label}, {unit}" if unit else self.label

    @property
    def num_cells(self) -> int:
        """Values, or bins."""
        return len(self.values) or len(self.edges) - 1

    def cell(self, params: Mapping[str, Value]) -> int | None:
        """The cell of a setting; None if it has no value at this key."""
        value = params.get(self.key)
        if value is None:
            return None
        if self.values:
            return self.values.index(value)
        share = math.log(float(value) / self.edges[0]) / math.log(self.edges[-1] / self.edges[0])
        return min(self.num_cells - 1, max(0, math.floor(share * self.num_cells + 1e-9)))

    def cell_text(self, first: int, last: int | None = None) -> str:
        """A cell, or a run of cells, in words."""
        last = first if last is None else last
        if self.edges:
            return f"{value_text(self.edges[first])}–{value_text(self.edges[last + 1])}"
        texts = [value_text(value) for value in self.values[first : last + 1]]
        if len(texts) > 2 and self.limits:
            return f"{texts[0]} to {texts[-1]}"
        return join(texts, "or")


def axes_of(
    sampled: Mapping[str, Any],
    points: Sequence[Mapping[str, Value]],
    *,
    num_settings: int,
    is_grid: bool,
) -> tuple[Axis, ...]:
    """The axes of a space.

    Args:
        sampled: the ranges of the space as plain JSON, by their keys.
        points: the settings that were asked for.
        num_settings: settings with a result, which say how fine the bins may be.
        is_grid: whether the settings are a grid's, so that ranges were tried at few values.
    """
    columns = short_names(list(sampled))
    axes = []
    for key, content in sampled.items():
        seen = list(dict.fromkeys(p[key] for p in points if key in p))
        if content["kind"] == "log_uniform":
            axes.append(_log_axis(key, columns[key], content, seen, num_settings, is_grid))
            continue
        values = list(dict.fromkeys([*content.get("values", ()), *seen]))
        numbers = [float(v) for v in values if _is_number(v)]
        if len(numbers) == len(values):
            values.sort(key=float)
        limits = (min(numbers), max(numbers)) if len(numbers) == len(values) > 0 else None
        axes.append(
            Axis(key=key, column=columns[key], is_log=False, limits=limits, values=tuple(values))
        )
    return tuple(axis for axis in axes if axis.num_cells > 0)


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each dotted key, or the whole key where that would be taken twice."""
    last = [key.rpartition(".")[2] for key in keys]
    taken = {name for name in last if last.count(name) > 1} | set(_COLUMNS)
    return {key: key if name in taken else name for key, name in zip(keys, last, strict=True)}


def value_text(value: Value) -> str:
    """A value in few digits."""
    if isinstance(value, float):
        short = f"{value:.3g}"
        return f"{value:.0f}" if "e+" in short and abs(value) < 1e7 else short
    return str(value)


def join(texts: Sequence[str], word: str) -> str:
    """Some words as one: a, b and c."""
    return f" {word} ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))


def _log_axis(
    key: str,
    column: str,
    content: Mapping[str, Any],
    seen: Sequence[Value],
    num_settings: int,
    is_grid: bool,
) -> Axis:
    low, high = float(content["low"]), float(content["high"])
    if is_grid and 0 < len(seen) <= _MOST_GRID_VALUES:
        values = tuple(sorted(seen, key=float))
        return Axis(key=key, column=column, is_log=True, limits=(low, high), values=values)
    # As in a histogram: about as many bins as points in each.
    num_bins = min(_MOST_BINS, max(2, math.ceil(math.sqrt(num_settings))))
    edges = tuple(low * (high / low) ** (i / num_bins) for i in range(num_bins + 1))
    return Axis(key=key, column=column, is_log=True, limits=(low, high), edges=edges)


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
