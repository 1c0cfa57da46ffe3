"""How the metric depends on one key, and on two or three of them together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.sweep.report.axes import BETA, LATENT_DIM, WARMUP, Axis
from pipelines.sweep.report.results import Results
from pipelines.trials.records import SettingScore, TrialRecord

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Level:
    """The settings in one cell of an axis."""

    cell: int
    means: tuple[float, ...]
    """Each setting's mean over its seeds."""
    num_trials: int
    """Finished trials of these settings."""

    @property
    def mean(self) -> float:
        """Of the settings' means, each counting the same."""
        return float(np.mean(self.means))

    @property
    def num_settings(self) -> int:
        """How many settings there are."""
        return len(self.means)


@dataclass(frozen=True, kw_only=True)
class SensitivityMap:
    """The metric over two keys, in one panel for each cell of a third.

    The arrays are [panel, y, x].
    """

    x: Axis
    y: Axis
    panel: Axis | None
    means: Array
    """Over the finished trials of a cell, all settings and seeds; NaN where there is none."""
    counts: Array
    """Finished trials."""
    dropped: Array
    """Trials that were pruned or failed."""
    best: tuple[int, int, int] | None
    """The cell with the best mean."""

    def describe(self, place: tuple[int, int, int]) -> str:
        """A cell in words."""
        axes = ((self.x, place[2]), (self.y, place[1]), (self.panel, place[0]))
        return ", ".join(f"{axis.label} {axis.cell_text(i)}" for axis, i in axes if axis)


def levels(results: Results, axis: Axis) -> list[Level]:
    """Each cell of an axis that has settings, in the order of the axis."""
    found: dict[int, list[SettingScore]] = {}
    for setting in results.settings:
        cell = axis.cell(setting.params)
        if cell is not None:
            found.setdefault(cell, []).append(setting)
    return [
        Level(
            cell=cell,
            means=tuple(s.mean for s in group),
            num_trials=sum(len(s.values) for s in group),
        )
        for cell, group in sorted(found.items())
    ]


def sensitivity_map(
    results: Results, importance: Mapping[str, float] | None
) -> SensitivityMap | None:
    """The metric over β × d_r for each warm-up.

    A space without one of these is mapped over its two most important keys, the third one making
    the panels; where importance is not known, over its first ones. None below two keys.
    """
    axes = _chosen(results.axes, importance)
    if len(axes) < 2:
        return None
    x, y, panel = axes[0], axes[1], axes[2] if len(axes) > 2 else None
    shape = (panel.num_cells if panel else 1, y.num_cells, x.num_cells)
    totals, counts, dropped = np.zeros(shape), np.zeros(shape, int), np.zeros(shape, int)
    for trial in results.trials:
        place = _place(trial, x, y, panel)
        value = results.value(trial)
        if place is not None and value is not None:
            totals[place] += value
            counts[place] += 1
        elif place is not None:
            dropped[place] += trial.state in ("pruned", "failed")
    means = np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)
    best = None
    if counts.any():
        flat = np.nanargmax(means) if results.mode == "max" else np.nanargmin(means)
        i, j, k = (int(index) for index in np.unravel_index(flat, shape))
        best = (i, j, k)
    return SensitivityMap(
        x=x, y=y, panel=panel, means=means, counts=counts, dropped=dropped, best=best
    )


def _chosen(axes: tuple[Axis, ...], importance: Mapping[str, float] | None) -> list[Axis]:
    by_key = {axis.key: axis for axis in axes}
    if all(key in by_key for key in (BETA, LATENT_DIM, WARMUP)):
        return [by_key[key] for key in (BETA, LATENT_DIM, WARMUP)]
    weights = importance or {}
    kept = sorted(axes, key=lambda axis: -weights.get(axis.key, 0.0))[:3]
    plane, rest = kept[:2], kept[2:]
    return [axis for axis in axes if axis in plane] + rest


def _place(trial: TrialRecord, x: Axis, y: Axis, panel: Axis | None) -> tuple[int, int, int] | None:
    if trial.is_baseline:
        return None
    column, row = x.cell(trial.params), y.cell(trial.params)
    page = panel.cell(trial.params) if panel else 0
    return None if column is None or row is None or page is None else (page, row, column)
