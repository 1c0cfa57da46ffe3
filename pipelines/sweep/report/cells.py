"""A sweep's metric over two keys at once, in one panel for each value of a third."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from pipelines.figures.style import INK, ORANGE, TEXT_SIZE, new_figure, save
from pipelines.figures.text import plain
from pipelines.sweep.report.pictures import head, plain_ticks
from pipelines.sweep.report.results import Results
from pipelines.sweep.report.sensitivity import SensitivityMap

_CELL_WIDTH, _CELL_HEIGHT = 0.82, 0.62
_WIDEST, _NARROWEST, _BESIDE = 14.0, 9.0, 2.2
"""Inches; beside the panels stand the names of the axis and the bar of colours."""
_SMALL = 9


def sensitivity(results: Results, plane: SensitivityMap, path: Path) -> Path:
    """Cells with the mean over finished trials and their number, on one scale of colours."""
    num_panels, num_rows, num_columns = plane.means.shape
    panel_width, panel_height = 0.4 + _CELL_WIDTH * num_columns, 0.7 + _CELL_HEIGHT * num_rows
    across = max(1, min(num_panels, int((_WIDEST - _BESIDE) / panel_width)))
    down = -(-num_panels // across)
    width = max(_NARROWEST, _BESIDE + across * panel_width)
    title, subtitle = head(
        results,
        width,
        _title(results, plane),
        "cells: mean and number n of finished trials; † trials pruned or failed; framed: the best",
    )
    height = 1.4 + 0.24 * subtitle.count("\n") + down * panel_height
    figure = new_figure(width, height, title, subtitle)
    grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    colours = colours_of(results)
    scale = scale_of(plane)
    for i, axes in enumerate(grid.ravel()):
        if i >= num_panels:
            axes.set_axis_off()
            continue
        _cells(axes, results, plane, i, colours, scale)
        if i + across >= num_panels:
            axes.set_xlabel(plain(plane.x.title), size=TEXT_SIZE)
            axes.tick_params(labelbottom=True)
        if i % across == 0:
            axes.set_ylabel(plain(plane.y.title), size=TEXT_SIZE)
    shown = mpl.cm.ScalarMappable(scale, colours)
    low, high = scale.vmin or 0.0, scale.vmax or 0.0
    ticks = [t for t in MaxNLocator(5).tick_values(low, high) if low <= t <= high]
    beside: dict[str, Any] = {"shrink": 1 / down, "anchor": (0.0, 1.0), "pad": 0.02, "aspect": 18}
    bar = figure.colorbar(shown, ax=list(grid.ravel()), ticks=ticks, **beside)
    bar.set_label(plain(f"{results.metric} ({results.better})"), size=TEXT_SIZE)
    bar.ax.tick_params(labelsize=TEXT_SIZE - 1)
    bar.outline.set_visible(False)
    return save(figure, path)


def _title(results: Results, plane: SensitivityMap) -> str:
    if plane.best is None:
        return f"{results.metric} over {plane.x.label} and {plane.y.label}"
    best = results.show(plane.means[plane.best])
    return f"Best cell: {best} at {plane.describe(plane.best)}"


def _cells(
    axes: Axes,
    results: Results,
    plane: SensitivityMap,
    panel: int,
    colours: Colormap,
    scale: Normalize,
) -> None:
    num_rows, num_columns = plane.means[panel].shape
    for y, x in np.ndindex(num_rows, num_columns):
        _cell(axes, results, plane, (panel, y, x), colours, scale)
    if plane.best and plane.best[0] == panel:
        corner = plane.best[2], plane.best[1]
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=ORANGE, linewidth=3, zorder=4))
    if plane.panel:
        name = plain(f"{plane.panel.label} {plane.panel.cell_text(panel)}")
        axes.set_title(name, size=TEXT_SIZE, color=INK, loc="left")
    axes.set_xlim(-0.04, num_columns + 0.04)  # the frame's line is wider than the cell
    axes.set_ylim(-0.04, num_rows + 0.04)
    axes.set_xticks(*plain_ticks(plane.x))
    axes.set_yticks(*plain_ticks(plane.y))
    axes.tick_params(colors=INK, labelsize=TEXT_SIZE - 1, length=3)
    axes.spines[:].set_visible(False)


def _cell(
    axes: Axes,
    results: Results,
    plane: SensitivityMap,
    place: tuple[int, int, int],
    colours: Colormap,
    scale: Normalize,
) -> None:
    _, y, x = place
    mean, dropped = float(plane.means[place]), int(plane.dropped[place])
    extra = f"{dropped}†" if dropped else ""
    middle: dict[str, Any] = {"ha": "center", "va": "center"}
    if np.isnan(mean):
        box = Rectangle((x, y), 1, 1, facecolor="white", edgecolor="#DDDDDD", hatch="//")
        axes.add_patch(box)
        if extra:
            axes.text(x + 0.5, y + 0.5, extra, size=_SMALL, color=INK, **middle)
        return
    fill = colours(float(scale(mean)))
    axes.add_patch(Rectangle((x, y), 1, 1, facecolor=fill, edgecolor="white", linewidth=1))
    ink = ink_on(fill)
    axes.text(x + 0.5, y + 0.62, results.show(mean), size=TEXT_SIZE, color=ink, **middle)
    count = f"n {plane.counts[place]}" + (f", {extra}" if extra else "")
    axes.text(x + 0.5, y + 0.25, count, size=_SMALL, color=ink, **middle)


def colours_of(results: Results) -> Colormap:
    """Bright is good, whichever direction of the metric that is."""
    return mpl.colormaps["viridis" if results.mode == "max" else "viridis_r"]


def ink_on(fill: tuple[float, ...]) -> str:
    """The colour of a text that is read on such a ground."""
    return INK if np.dot(fill[:3], (0.299, 0.587, 0.114)) > 0.5 else "white"


def scale_of(plane: SensitivityMap) -> Normalize:
    """From the least to the greatest cell, with room where they are one."""
    known = plane.means[np.isfinite(plane.means)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    pad = (abs(low) or 1.0) * 0.01 if low == high else 0.0
    return Normalize(low - pad, high + pad)
