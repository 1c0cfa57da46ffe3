"""The arms of an experiment side by side: dots of their metrics, and lines over some quantity."""

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pipelines.figures.style import (
    BLUE,
    COLOURS,
    FAINT,
    INK,
    TEN_COLOURS,
    TEXT_SIZE,
    label_ends,
    new_figure,
    quiet,
    save,
)
from pipelines.figures.text import cut, fitted, inches, plain

Curves = Mapping[str, pd.DataFrame]
"""Name → columns x, mean and sd, one row a point."""
Style = tuple[str, Any]
"""Colour and dashes of a line."""

_NAME_WIDTH, _LINE = 2.5, 0.2  # inches
_MOST_LETTERS, _COLUMNS = 36, 3
_MARKED_BELOW, _MOST_TICKS = 15, 8
"""Points of a curve below which each is marked, and up to which each is named on a log axis."""


def dots(
    means: pd.DataFrame,
    sds: pd.DataFrame,
    path: Path,
    *,
    title: str,
    subtitle: str = "",
    muted: Collection[str] = (),
) -> Path:
    """A panel a metric, in it a dot a method with a bar of ± sd under its value; – where unknown.

    Args:
        means: methods by title (rows, top to bottom) × metrics by title (columns, left to right).
        sds: the same of the standard deviations; where one is unknown there is no bar.
        path: the PNG.
        title: of the picture.
        subtitle: of the picture.
        muted: titles of the rows in grey, such as controls.
    """
    sds = sds.reindex(index=means.index, columns=means.columns)
    names = [broken(str(name), _NAME_WIDTH) for name in means.index]
    margin = max(inches(line, TEXT_SIZE) for name in names for line in name.split("\n"))
    num_panels = len(means.columns)
    width = min(11.0, max(8.0, margin + 0.6 + 2.6 * num_panels))
    heads = [broken(str(n), (width - margin - 0.6) / num_panels - 0.25) for n in means.columns]
    title, subtitle = fitted(width, title, *subtitle.splitlines())
    row = max(0.44, 0.1 + _LINE * max(name.count("\n") + 1 for name in names))
    above = 0.24 * (subtitle.count("\n") + bool(subtitle))
    above += _LINE * max(head.count("\n") + 1 for head in heads)
    figure = new_figure(width, 1.05 + above + row * len(means), title, subtitle)
    grid = figure.subplots(1, num_panels, sharey=True, squeeze=False)[0]
    colours = [FAINT if name in muted else BLUE for name in means.index]
    for axes, head, column in zip(grid, heads, means.columns, strict=True):
        axes.set_title(head, size=TEXT_SIZE, color=INK, loc="left")
        _dots_of(axes, means[column].to_numpy(float), sds[column].to_numpy(float), colours)
    grid[0].set_yticks(range(len(names)), names)
    grid[0].set_ylim(len(names) - 0.4, -0.6)
    for text, colour in zip(grid[0].get_yticklabels(), colours, strict=True):
        text.set_color(FAINT if colour == FAINT else INK)
    figure.draw_without_rendering()  # room for the values depends on how wide the panels are
    for axes, column in zip(grid, means.columns, strict=True):
        _make_room(axes, means[column].to_numpy(float), sds[column].to_numpy(float))
    return save(figure, path)


def lines(
    curves: Curves,
    path: Path,
    *,
    title: str,
    y_label: str,
    x_label: str,
    reference: Mapping[str, float] = {},
) -> Path:
    """Means over log x with a shade of ± sd, named at their ends; `reference` are dashed lines."""
    width = 10.0
    height = max(4.8, 1.6 + 0.21 * (len(curves) + len(reference)))
    figure = new_figure(width, height, fitted(width, title)[0])
    axes = figure.subplots()
    ends = _draw(axes, curves, styles(list(curves)), log_x=True)
    for name, value in reference.items():
        axes.axhline(value, color=FAINT, linestyle="--", linewidth=1.4, zorder=1)
        ends.append((value, name, FAINT))
    axes.set_xlabel(plain(x_label), size=TEXT_SIZE)
    axes.set_ylabel(plain(y_label), size=TEXT_SIZE)
    figure.draw_without_rendering()  # the labels need to know how high the axes are
    label_ends(axes, [(y, plain(cut(text, _MOST_LETTERS)), colour) for y, text, colour in ends])
    return save(figure, path)


def grid_of_lines(
    panels: Mapping[str, Curves],
    path: Path,
    *,
    title: str,
    y_label: str,
    share_y: bool = True,
) -> Path:
    """Metrics over the steps: a panel each under its title, with one legend for all."""
    across = columns_for(len(panels), _COLUMNS)
    down, width = -(-len(panels) // across), 10.0
    style = styles(list(dict.fromkeys(name for curves in panels.values() for name in curves)))
    heads = [broken(name, (width - 0.8) / across - 0.4) for name in panels]
    height = 1.44 + (2.5 if across > 2 else 2.9) * down + 0.07 * len(style)
    figure = new_figure(width, height, fitted(width, title)[0])
    grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=share_y)
    for axes, head, curves in zip(grid.ravel(), heads, panels.values(), strict=False):
        _draw(axes, curves, style, log_x=False)
        axes.set_title(head, size=TEXT_SIZE, color=INK, loc="left")
        axes.tick_params(labelbottom=True)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    name_grid(grid, len(panels), "step", y_label)
    handles = [
        Line2D([], [], color=colour, linestyle=dashes, linewidth=2.5, label=plain(name))
        for name, (colour, dashes) in style.items()
    ]
    legend_below(figure, handles)
    return save(figure, path)


def columns_for(num_panels: int, most: int) -> int:
    """Columns of a grid that leave the fewest of its places empty."""
    return -(-num_panels // -(-num_panels // most))


def styles(names: Sequence[str]) -> dict[str, Style]:
    """A colour for each name, and other dashes where the colours repeat."""
    colours = COLOURS if len(names) <= len(COLOURS) else [to_hex(c) for c in TEN_COLOURS]
    dashes: Any = ("solid", (0, (4, 1, 1, 1)), (0, (1, 1)))
    return {
        name: (colours[i % len(colours)], dashes[i // len(colours) % len(dashes)])
        for i, name in enumerate(names)
    }


def name_grid(grid: Any, num_panels: int, x_label: str, y_label: str) -> None:
    """Name the outer axes of a grid, and hide the places that are left over."""
    for axes in grid.ravel()[num_panels:]:
        axes.set_axis_off()
    for column in grid.T:
        lowest = [axes for axes in column if axes.axison][-1]
        lowest.set_xlabel(plain(x_label), size=TEXT_SIZE)
    for axes in grid[:, 0]:
        axes.set_ylabel(plain(y_label), size=TEXT_SIZE)


def legend_below(figure: Figure, handles: Sequence[Any]) -> None:
    """One legend under all panels, in as many columns as the figure is wide enough for."""
    widest = max((inches(handle.get_label(), TEXT_SIZE) for handle in handles), default=1.0)
    figure.legend(
        handles=list(handles),
        loc="outside lower left",
        ncols=max(1, min(len(handles), int((figure.get_size_inches()[0] - 0.4) / (widest + 0.75)))),
        frameon=False,
        fontsize=TEXT_SIZE,
        labelcolor=INK,
    )


def broken(text: str, width: float) -> str:
    """A text in lines of at most so many inches, as far as its words allow."""
    return fitted(width + 0.3, "", text)[1]


def unmeasured(axes: Axes) -> None:
    """Words in place of unknown values."""
    where: Any = {"transform": axes.transAxes, "ha": "center", "va": "center"}
    axes.text(0.5, 0.5, "not measured", color=FAINT, size=TEXT_SIZE, **where)


def _dots_of(axes: Axes, means: Any, sds: Any, colours: Sequence[str]) -> None:
    for i, (mean, sd, colour) in enumerate(zip(means, sds, colours, strict=True)):
        if not np.isfinite(mean):
            where: Any = {"transform": axes.get_yaxis_transform(), "ha": "center", "va": "center"}
            axes.text(0.5, i, "–", size=TEXT_SIZE, color=FAINT, backgroundcolor="white", **where)
            continue
        sd = sd if np.isfinite(sd) else None
        axes.errorbar(mean, i, xerr=sd, fmt="o", color=colour, ms=6, elinewidth=2, zorder=3)
        axes.annotate(
            _short(mean, means),
            xy=(mean, i),
            xytext=(0, 5),
            textcoords="offset points",
            ha="center",
            va="bottom",
            size=TEXT_SIZE,
            color=FAINT if colour == FAINT else INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )
    quiet(axes)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _make_room(axes: Axes, means: Any, sds: Any) -> None:
    """Limits of x such that bars and values stay within the panel, and ticks that keep apart."""
    known = np.isfinite(means)
    if not known.any():
        axes.set_xticks([])
        return
    figure = axes.get_figure()
    assert figure is not None
    room = axes.get_window_extent().width / figure.dpi
    sd = np.where(np.isfinite(sds), sds, 0.0)[known]
    low, high = (means[known] - sd).min(), (means[known] + sd).max()
    if low == high:
        low, high = low - 0.1 * (abs(low) or 1.0), high + 0.1 * (abs(high) or 1.0)
    widest = max(inches(_short(mean, means), TEXT_SIZE) for mean in means[known])
    pad = (high - low) * widest / (2 * max(room - widest, 0.3))
    low, high = low - pad, high + pad
    axes.set_xlim(low, high)
    ticks = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high)
    places = [place for place in ticks if low <= place <= high]
    needed = sum(inches(f"{place:.6g}", TEXT_SIZE) + 0.15 for place in places)
    axes.set_xticks(places[:: math.ceil(needed / room)])
    if low < 0 < high:
        axes.axvline(0, color=FAINT, linewidth=0.8, zorder=1)


def _short(value: float, others: Any) -> str:
    """With enough digits to tell the values of a panel apart."""
    known = others[np.isfinite(others)]
    largest, span = np.abs(known).max(), np.ptp(known)
    digits = 0 if largest >= 100 else 1 if largest >= 10 else 3 if 0 < span < 0.03 else 2
    return f"{value:z.{digits}f}".replace("-", "−")


def _draw(
    axes: Axes, curves: Curves, style: Mapping[str, Style], *, log_x: bool
) -> list[tuple[float, str, str]]:
    """The curves, and what to write at their ends."""
    ends, places = [], set()
    if log_x:
        axes.set_xscale("log")
    for name, curve in curves.items():
        known = curve[np.isfinite(curve["mean"]) & ((curve["x"] > 0) | (not log_x))]
        if not len(known):
            continue
        known = known.sort_values("x")
        x, mean, sd = (known[column].to_numpy(float) for column in ("x", "mean", "sd"))
        colour, dashes = style[name]
        marker = "o" if len(x) < _MARKED_BELOW else None
        axes.plot(x, mean, color=colour, linestyle=dashes, linewidth=2, marker=marker, markersize=5)
        sd = np.where(np.isfinite(sd), sd, 0.0)
        axes.fill_between(x, mean - sd, mean + sd, color=colour, alpha=0.16, linewidth=0)
        ends.append((float(mean[-1]), name, colour))
        places |= set(x)
    quiet(axes)
    if not ends:
        unmeasured(axes)
    if log_x:
        _ticks_at(axes, sorted(places))
    return ends


def _ticks_at(axes: Axes, places: Sequence[float]) -> None:
    """Label each of a few values on a logarithmic axis."""
    if 2 <= len(places) <= _MOST_TICKS:
        steps = np.diff(np.log(places))
        if steps.min() >= 0.09 * steps.sum():
            axes.set_xticks(places, [f"{place:g}" for place in places])
            axes.minorticks_off()
