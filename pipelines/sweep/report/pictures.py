"""A sweep: its best settings, the metric over each key, and the importance of each."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pipelines.figures.style import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    TEXT_SIZE,
    label_ends,
    new_figure,
    quiet,
    save,
)
from pipelines.figures.text import cut, fitted, inches, plain
from pipelines.sweep.report.axes import Axis
from pipelines.sweep.report.results import Results, setting_name
from pipelines.sweep.report.sensitivity import levels
from pipelines.trials.records import SettingScore

_MOST_ROWS = 15
_COLUMNS = 3
_PANEL = 3.9
"""Inches that one panel of the parameters is wide, with the space beside it."""
_POINTS = "dots: settings, mean ± sd over the seeds; bars: median of each bin or value"


def one_parameter(results: Results, path: Path) -> Path:
    """The metric over the one key that was sampled."""
    axis = results.axes[0]
    key = f"{_POINTS}; line: their mean"
    title, subtitle = head(results, 9.0, f"{results.metric} over {axis.label}", key)
    figure = new_figure(9.0, 5.0 + 0.24 * subtitle.count("\n"), title, subtitle)
    axes = figure.subplots()
    _panel(axes, results, axis)
    axes.set_ylabel(plain(results.metric), size=TEXT_SIZE)
    found = levels(results, axis)
    places = [_middle(axis, level.cell) for level in found]
    axes.plot(places, [level.mean for level in found], color=BLUE, linewidth=1, alpha=0.6)
    figure.draw_without_rendering()
    _label_baseline(axes, results)
    return save(figure, path)


def parameters(results: Results, path: Path) -> Path:
    """The metric over each sampled key: settings with the spread of their seeds, and medians."""
    across = min(_COLUMNS, len(results.axes))
    down = -(-len(results.axes) // across)
    width = max(9.0, 1.9 + _PANEL * across)
    title, subtitle = head(results, width, f"{results.metric} over each parameter", _POINTS)
    height = 0.9 + 0.24 * subtitle.count("\n") + 3.4 * down
    figure = new_figure(width, height, title, subtitle)
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
    for axes, axis in zip(grid.ravel(), results.axes, strict=False):
        _panel(axes, results, axis)
    for axes in grid.ravel()[len(results.axes) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel(plain(results.metric), size=TEXT_SIZE)
    figure.draw_without_rendering()
    _label_baseline(grid[0, -1], results)
    return save(figure, path)


def importance(shares: Mapping[str, float], path: Path, *, note: str) -> Path:
    """Bars of each key's share of the metric's variance, the greatest on top."""
    first, share = next(iter(shares.items()))
    title = f"Importance of each parameter: {first} {share:.2f}"
    width = 9.0
    title, subtitle = fitted(width, title, note)
    height = 1.0 + 0.24 * subtitle.count("\n") + 0.45 * len(shares)
    figure = new_figure(width, height, title, subtitle)
    axes = figure.subplots()
    axes.barh(range(len(shares)), list(shares.values()), height=0.65, color=BLUE)
    for i, value in enumerate(shares.values()):
        axes.text(value + 0.01, i, f"{value:.2f}", va="center", size=TEXT_SIZE, color=INK)
    axes.set_yticks(range(len(shares)), [plain(cut(name, 40)) for name in shares])
    axes.set_ylim(len(shares) - 0.4, -0.6)
    axes.set_xlim(0, 1.12)
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=TEXT_SIZE, length=0)
    return save(figure, path)


def leaderboard(results: Results, path: Path) -> Path:
    """The best settings' means and seeds beside the baseline's."""
    shown = list(results.settings[:_MOST_ROWS])
    best = shown[0]
    width = 11.0
    title = f"Best: setting {setting_name(best.setting)}, {results.metric} "
    key = "dots: mean over the seeds, bars: ± sd, ticks: single seeds; hollow: seeds are missing"
    if len(shown) < len(results.settings):
        key = f"the best {len(shown)} of {len(results.settings)} settings; {key}"
    title, subtitle = head(results, width, title + results.show_score(best), key)
    height = 1.5 + 0.24 * subtitle.count("\n") + 0.36 * len(shown)
    figure = new_figure(width, height, title, subtitle)
    axes = figure.subplots()
    for i, score in enumerate(shown):
        fill = BLUE if score.is_complete else "white"
        look: dict[str, Any] = {"color": BLUE, "markerfacecolor": fill, "zorder": 3}
        axes.errorbar(score.mean, i, xerr=score.sd, fmt="o", elinewidth=1.6, **look)
        if len(score.values) > 1:
            axes.plot(score.values, [i] * len(score.values), "|", color=BLUE, markersize=11)
    if results.baseline:
        low, high = _band(results.baseline)
        axes.axvspan(low, high, color=ORANGE, alpha=0.15, linewidth=0)
        axes.axvline(results.baseline.mean, color=ORANGE, linewidth=1.4)
        axes.text(
            results.baseline.mean,
            1.01,
            f"baseline {results.show_score(results.baseline)}",
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            size=TEXT_SIZE,
            color=ORANGE,
        )
    names = [f"{cut(results.describe(s.params), 58)}   {setting_name(s.setting)}" for s in shown]
    axes.set_yticks(range(len(shown)), [plain(name) for name in names])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlabel(plain(f"{results.metric} ({results.better})"), size=TEXT_SIZE)
    quiet(axes)
    axes.tick_params(axis="y", length=0)
    return save(figure, path)


def _panel(axes: Axes, results: Results, axis: Axis) -> None:
    """Settings over one key: dots with bars of their seeds, and the median of each cell."""
    groups: dict[int, list[SettingScore]] = {}
    for score in results.settings:
        cell = axis.cell(score.params)
        if cell is not None:
            groups.setdefault(cell, []).append(score)
    for cell, group in groups.items():
        low, high = _span(axis, cell)
        for score in group:
            # Settings of one value are set aside by their numbers: by rank they would look a trend.
            aside = 0.15 + 0.7 * (score.setting * 0.618 % 1) if len(group) > 1 else 0.5
            place = low * (high / low) ** aside if axis.is_log else low + (high - low) * aside
            if axis.edges:
                place = float(score.params[axis.key])
            axes.errorbar(
                place, score.mean, yerr=score.sd, fmt="o", color=BLUE, alpha=0.7, markersize=5
            )
        median = float(np.median([score.mean for score in group]))
        axes.plot([low, high], [median, median], color=INK, linewidth=2.2, zorder=3)
    if results.baseline:
        axes.axhspan(*_band(results.baseline), color=ORANGE, alpha=0.15, linewidth=0)
        axes.axhline(results.baseline.mean, color=ORANGE, linewidth=1.4)
    axes.set_xlabel(plain(axis.title), size=TEXT_SIZE)
    quiet(axes)
    if axis.is_log:
        axes.set_xscale("log")
        axes.set_xlim(_span(axis, 0)[0] / 1.05, _span(axis, axis.num_cells - 1)[1] * 1.05)
        ticks, texts = list(axis.edges or axis.values), axis.ticks()[1]
        room = _PANEL - 0.7  # where they would touch, only some of the ticks are named
        every = math.ceil(sum(inches(text, TEXT_SIZE) + 0.15 for text in texts) / room)
        axes.set_xticks(ticks[::every], texts[::every])
        axes.minorticks_off()
    else:
        axes.set_xlim(0, axis.num_cells)
        axes.set_xticks(*plain_ticks(axis))


def _span(axis: Axis, cell: int) -> tuple[float, float]:
    """Where a cell begins and ends on a parameter's own axis."""
    if axis.edges:
        return axis.edges[cell], axis.edges[cell + 1]
    if axis.is_log:
        value = float(axis.values[cell])
        return value / 1.12, value * 1.12
    return cell + 0.12, cell + 0.88


def _middle(axis: Axis, cell: int) -> float:
    low, high = _span(axis, cell)
    return math.sqrt(low * high) if axis.is_log else (low + high) / 2


def _band(baseline: SettingScore) -> tuple[float, float]:
    sd = baseline.sd or 0.0
    return baseline.mean - sd, baseline.mean + sd


def _label_baseline(axes: Axes, results: Results) -> None:
    if results.baseline:
        text = f"baseline\n{results.show_score(results.baseline)}"
        label_ends(axes, [(results.baseline.mean, text, ORANGE)])


def head(results: Results, width: float, title: str, key: str) -> tuple[str, str]:
    """Title and subtitle as long as a picture of that many inches can hold."""
    about = f"sweep {results.name}; {results.counts}"
    if results.baseline:
        about += f"; baseline {results.show_score(results.baseline)}"
    return fitted(width, title, about, key)


def plain_ticks(axis: Axis) -> tuple[list[float], list[str]]:
    """Where an axis of cells has its ticks, and their texts."""
    places, texts = axis.ticks()
    return places, [plain(cut(text, 14)) for text in texts]
