"""How every picture looks: quiet axes, direct labels, colours that all eyes tell apart."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 150
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#AA4499"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, "#E69F00", "#56B4E9")
"""Okabe and Ito's, in the order in which they are given out."""
TEN_COLOURS = tuple(mpl.color_sequences["petroff10"])
"""Petroff's ten (arXiv 2107.02270), for classes."""
INK, FAINT = "#222222", "#777777"
TEXT_SIZE, TITLE_SIZE = 11, 14


def new_figure(width: float, height: float, title: str, subtitle: str = "") -> Figure:
    """A figure of that many inches with its title at the top left, apart from pyplot's state."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    lines = 0.30 + (0.24 * (subtitle.count("\n") + 1) if subtitle else 0)
    top = 1 - (lines + 0.12) / height
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, 0, 1, top), w_pad=0.1, h_pad=0.06)
    x = 0.1 / width
    figure.text(x, 1 - 0.1 / height, title, size=TITLE_SIZE, weight="bold", color=INK, va="top")
    if subtitle:
        figure.text(x, 1 - 0.42 / height, subtitle, size=TEXT_SIZE, color=FAINT, va="top")
    return figure


def quiet(axes: Axes) -> None:
    """No frame where nothing is read off it."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=TEXT_SIZE)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)


def label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Name lines right of the axes, each (last value, text, colour) beside its end.

    Call it when the limits of the axes stand. Names that would overlap are moved apart.
    """
    if not ends:
        return
    low, high = axes.get_ylim()
    figure = axes.get_figure()
    assert figure is not None
    height_inches = axes.get_window_extent().height / figure.dpi
    gap = TEXT_SIZE * 1.35 / 72 / height_inches
    wanted = sorted((min(1.0, max(0.0, (y - low) / (high - low))), t, c) for y, t, c in ends)
    places: list[float] = []
    for place, _, _ in wanted:
        places.append(max(place, places[-1] + gap) if places else place)
    overshoot = max(0.0, places[-1] - 1.0)
    for i in range(len(places) - 1, -1, -1):  # push back down what went over the top
        limit = places[i + 1] - gap if i + 1 < len(places) else places[i] - overshoot
        places[i] = min(places[i], limit)
    for place, (_, text, colour) in zip(places, wanted, strict=True):
        axes.annotate(
            text,
            xy=(1.0, place),
            xycoords="axes fraction",
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            size=TEXT_SIZE,
            color=colour,
        )


def save(figure: Figure, path: Path) -> Path:
    """Write the PNG, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")
    return path
