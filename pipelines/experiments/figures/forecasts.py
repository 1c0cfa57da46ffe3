"""Sampled futures beside the truth: clips, clouds of velocities, axes by digit, and ranks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Real, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from pipelines.experiments.figures.arms import (
    broken,
    columns_for,
    legend_below,
    name_grid,
    styles,
    unmeasured,
)
from pipelines.figures.style import (
    BLUE,
    INK,
    ORANGE,
    TEXT_SIZE,
    label_ends,
    new_figure,
    quiet,
    save,
)
from pipelines.figures.text import cut, fitted, plain

Array = NDArray[Any]

_MOST_SOURCES, _MOST_COLUMNS = 3, 4
_ACROSS = 8
"""Futures in a row."""
_CELL, _GAP, _CAPTION, _EDGE = 0.72, 0.05, 0.26, 0.15  # inches
_EARLY, _LATE = np.array([0.05, 0.30, 0.60]), np.array([1.0, 1.0, 1.0])
"""Tints of a trail's first and last frame."""
_SEEN = 40  # of 255


@dataclass(frozen=True, kw_only=True)
class FutureClips:
    """Some sources, what came, and the real clips nearest to a method's sampled futures."""

    sources: UInt8[Array, "sources frames height width 1"]
    came: UInt8[Array, "sources frames height width 1"]
    nearest: UInt8[Array, "sources futures frames height width 1"]


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """Next velocities of one source, px/frame: a method's samples and true draws.

    Attributes:
        name: of the method.
        samples: of the method.
        true: draws of the true distribution.
        velocity: of the source.
        next_velocity: of the clip that came.
    """

    name: str
    samples: Float[Array, "samples 2"]
    true: Float[Array, "draws 2"]
    velocity: Float[Array, "2"]
    next_velocity: Float[Array, "2"]


def future_sheet(shown: Sequence[tuple[str, FutureClips]], path: Path, *, title: str) -> Path:
    """For three sources: source, true next clip and each method's futures, clips as trails.

    Raises:
        ValueError: where the methods' sources differ.
    """
    first = shown[0][1]
    for name, clips in shown:
        if not np.array_equal(clips.sources, first.sources):
            raise ValueError(f"{name}: other sources than those of {shown[0][0]}; give the same")
    grids = [-(-clips.nearest.shape[1] // _ACROSS) for _, clips in shown]
    block = max(sum(_CAPTION + rows * (_CELL + _GAP) for rows in grids), 2 * (_CAPTION + _CELL))
    big = min(2 * _CELL + _GAP, (block - 2 * _CAPTION) / 2 - _GAP)
    left = _EDGE + max(big, 1.1) + 0.25
    width = left + _ACROSS * (_CELL + _GAP) + _EDGE
    how = "a clip is one picture, its first frame dark blue, its last white, cut to where digits go"
    near = "a future is shown as the real clip whose embedding is nearest to it"
    title, subtitle = fitted(width, title, how, near)
    top = 0.55 + 0.24 * (subtitle.count("\n") + 1)
    num_sources = min(_MOST_SOURCES, len(first.sources))
    height = top + num_sources * (block + 0.2)
    figure = new_figure(width, height, title, subtitle)
    figure.set_layout_engine("none")  # cells stand at exact places
    for i in range(num_sources):
        y = height - top - i * (block + 0.2)
        window = _lit([c[i] for _, s in shown for c in (s.sources, s.came, s.nearest)])
        if i:
            _rule(figure, y + 0.08)
        _trails(figure, [first.sources[i]], _EDGE, y, big, "source x", window)
        below = y - _CAPTION - big - _GAP
        _trails(figure, [first.came[i]], _EDGE, below, big, "true next x⁺", window)
        for (name, clips), rows in zip(shown, grids, strict=True):
            num = clips.nearest.shape[1]
            words = f"{name}: {num} sampled futures" if num > 1 else f"{name}: its one future"
            _trails(figure, clips.nearest[i], left, y, _CELL, cut(words, 70), window)
            y -= _CAPTION + rows * (_CELL + _GAP)
    return save(figure, path)


def velocity_clouds(
    panels: Sequence[Cloud],
    path: Path,
    *,
    title: str,
    about: str = "a column is a source, a row a method",
) -> Path:
    """A row a method, a column a source: sampled next velocities over true ones.

    Clouds of one name are its sources, in the order given; at most four are shown. Panels of a
    column have the same limits. Where rows or columns are something else, `about` says what.
    """
    rows: dict[str, list[Cloud]] = {}
    for cloud in panels:
        rows.setdefault(cloud.name, []).append(cloud)
    across = min(_MOST_COLUMNS, max(len(row) for row in rows.values()))
    width = max(7.0, 0.8 + 2.35 * across)
    title, subtitle = fitted(width, title, f"next velocities; {about}")
    side = (width - 0.8) / across - 0.35
    height = 1.3 + 0.24 * (subtitle.count("\n") + 1) + (side + 0.6) * len(rows)
    figure = new_figure(width, height, title, subtitle)
    grid = figure.subplots(len(rows), across, squeeze=False)
    for j in range(across):
        column = [row[j] for row in rows.values() if j < len(row)]
        middle, reach = _square(column)
        for axes, (name, row) in zip(grid[:, j], rows.items(), strict=True):
            if j >= len(row):
                axes.set_axis_off()
                continue
            _cloud(axes, row[j])
            axes.set_xlim(middle[0] - reach, middle[0] + reach)
            axes.set_ylim(middle[1] - reach, middle[1] + reach)
            if j == 0:
                words = plain(cut(name, 12 * across + 6))
                axes.set_title(words, size=TEXT_SIZE, weight="bold", color=INK, loc="left")
                axes.set_ylabel("along y, px/frame", size=TEXT_SIZE)
        grid[-1, j].set_xlabel("along x, px/frame", size=TEXT_SIZE)
    point: dict[str, Any] = {"linestyle": "none"}
    handles = [
        Line2D(
            [], [], marker="o", color="#BBBBBB", markersize=6, label="true distribution", **point
        ),
        Line2D([], [], marker="o", color=BLUE, markersize=6, label="sampled", **point),
        Line2D([], [], marker="+", color=INK, markersize=11, mew=2, label="velocity now", **point),
        Line2D([], [], **_RING, **point, label="what came"),
    ]
    legend_below(figure, handles)
    return save(figure, path)


def axis_curve(
    shares: Mapping[str, tuple[Array, Array]], truth: Array, path: Path, *, title: str
) -> Path:
    """Shares of futures that change along y by digit, (mean, sd) a method; the truth is dashed."""
    width = 10.0
    title, subtitle = fitted(
        width, title, "mean ± sd over the seeds; dashed: the true distribution"
    )
    figure = new_figure(width, max(4.8, 1.7 + 0.21 * len(shares)), title, subtitle)
    axes = figure.subplots()
    digits = np.arange(len(truth))
    axes.plot(digits, truth, "--", color=INK, linewidth=1.8, zorder=4)
    ends = [(float(truth[-1]), "true distribution", INK)]
    asides = np.linspace(-0.5, 0.5, len(shares)) * min(0.6, 0.09 * len(shares))
    names = styles(list(shares)).items()
    for (name, (colour, dashes)), aside in zip(names, asides, strict=True):
        mean, sd = (np.asarray(values, float) for values in shares[name])
        known = np.isfinite(mean)
        if not known.any():
            continue
        axes.errorbar(
            digits[known] + (aside if len(shares) > 1 else 0.0),
            mean[known],
            yerr=np.where(np.isfinite(sd), sd, 0.0)[known],
            fmt="o",
            linestyle=dashes,
            color=colour,
            linewidth=1.2,
            elinewidth=2,
            markersize=6,
        )
        ends.append((float(mean[known][-1]), plain(cut(name, 34)), colour))
    axes.set_xticks(digits)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -0.03), max(high, 1.03))
    axes.set_xlabel("digit", size=TEXT_SIZE)
    axes.set_ylabel("share of futures that change along y", size=TEXT_SIZE)
    quiet(axes)
    figure.draw_without_rendering()  # the labels need to know how high the axes are
    label_ends(axes, ends)
    return save(figure, path)


def rank_histograms(counts: Mapping[str, Real[Array, " ranks"]], path: Path, *, title: str) -> Path:
    """Where what came ranks among the samples, a panel a method, over what chance allows."""
    across = columns_for(len(counts), _MOST_COLUMNS)
    down, width = -(-len(counts) // across), max(7.0, min(10.0, 0.9 + 3.1 * across))
    about = "line and band: a true forecast, ± 2 sd; high ends: too narrow, low ends: too wide"
    title, subtitle = fitted(width, title, about)
    heads = [broken(cut(name, 60), (width - 0.9) / across - 0.35) for name in counts]
    panel = 2.1 + 0.2 * max(head.count("\n") for head in heads)
    height = 0.9 + 0.24 * subtitle.count("\n") + panel * down
    figure = new_figure(width, height, title, subtitle)
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
    for axes, head, ranks in zip(grid.ravel(), heads, counts.values(), strict=False):
        axes.set_title(head, size=TEXT_SIZE, color=INK, loc="left")
        _ranks(axes, np.asarray(ranks, float))
    name_grid(grid, len(counts), "rank of what came", "share of ranks")
    grid[0, 0].set_ylim(0)
    return save(figure, path)


_RING: dict[str, Any] = {
    "marker": "o",
    "color": ORANGE,
    "markerfacecolor": "none",
    "markersize": 11,
    "markeredgewidth": 2.2,
}


def _cloud(axes: Axes, cloud: Cloud) -> None:
    axes.plot(*cloud.true.T, "o", color="#BBBBBB", markersize=3.5, markeredgewidth=0)
    size, alpha = (4, 0.65) if len(cloud.samples) > 4 else (9, 1.0)
    axes.plot(*cloud.samples.T, "o", color=BLUE, markersize=size, alpha=alpha, markeredgewidth=0)
    axes.plot(*cloud.velocity, "+", color=INK, markersize=11, markeredgewidth=2)
    axes.plot(*cloud.next_velocity, **_RING)
    quiet(axes)
    axes.grid(axis="x", color="#E6E6E6", linewidth=0.8)
    axes.set_box_aspect(1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))


def _square(column: Sequence[Cloud]) -> tuple[Array, float]:
    """Middle and half side of the square that holds all of some clouds."""
    parts = [(c.samples, c.true, c.velocity[None], c.next_velocity[None]) for c in column]
    every = np.concatenate([part for cloud in parts for part in cloud])
    low, high = np.nanmin(every, axis=0), np.nanmax(every, axis=0)
    return (low + high) / 2, 0.55 * float(max(*(high - low), 0.5))


def _ranks(axes: Axes, counts: Array) -> None:
    total, chance = counts.sum(), 1 / len(counts)
    if total > 0:
        spread = 2 * np.sqrt(chance * (1 - chance) / total)
        axes.bar(np.arange(len(counts)), counts / total, width=0.85, color=BLUE)
        axes.axhspan(chance - spread, chance + spread, color=ORANGE, alpha=0.25, linewidth=0)
        axes.axhline(chance, color=ORANGE, linewidth=1.6)
    else:
        unmeasured(axes)
    axes.set_xlim(-0.7, len(counts) - 0.3)
    quiet(axes)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _lit(parts: Sequence[Array]) -> tuple[slice, slice]:
    """The least square window of some clips outside of which nothing is seen."""
    seen = np.max([part.reshape(-1, *part.shape[-3:-1]).max(axis=0) for part in parts], axis=0)
    places = np.argwhere(seen > _SEEN)
    if not len(places):
        return slice(None), slice(None)
    low, high = places.min(axis=0), places.max(axis=0) + 1
    side = int((high - low).max())
    rows, columns = (
        int(start) for start in np.maximum(0, np.minimum(low, np.array(seen.shape) - side))
    )
    return slice(rows, rows + side), slice(columns, columns + side)


def _trail(clip: Array) -> Array:
    """[frames, height, width, 1] → [height, width, 3]: the maximum over frames tinted by time."""
    when = np.linspace(0, 1, len(clip))[:, None] if len(clip) > 1 else np.ones((1, 1))
    tints = _EARLY + (_LATE - _EARLY) * when
    return np.asarray((clip * tints[:, None, None]).max(axis=0).round(), np.uint8)


def _trails(
    figure: Figure,
    clips: Any,
    left: float,
    top: float,
    side: float,
    caption: str,
    window: tuple[slice, slice],
) -> None:
    """Clips in rows under a caption, from a corner in inches."""
    width, height = figure.get_size_inches()
    y = (top - _CAPTION + 0.06) / height
    figure.text(left / width, y, plain(caption), size=TEXT_SIZE, color=INK, va="bottom")
    for k, clip in enumerate(clips):
        x = left + k % _ACROSS * (side + _GAP)
        bottom = top - _CAPTION - side - k // _ACROSS * (side + _GAP)
        axes = figure.add_axes((x / width, bottom / height, side / width, side / height))
        axes.imshow(_trail(clip[:, *window]), interpolation="antialiased")
        axes.set_axis_off()


def _rule(figure: Figure, y: float) -> None:
    width, height = figure.get_size_inches()
    ends = [_EDGE / width, 1 - _EDGE / width], [y / height] * 2
    figure.add_artist(Line2D(*ends, color="#CCCCCC", linewidth=0.8))
