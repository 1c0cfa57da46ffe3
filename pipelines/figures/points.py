"""Embeddings in the plane, and runs side by side."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipelines.figures.style import COLOURS, FAINT, INK, TEN_COLOURS, TEXT_SIZE, new_figure, save

Array = NDArray[Any]

_MOST_POINTS, _FEWEST_FOR_TSNE, _TSNE_INPUTS = 1000, 60, 50
_COLUMNS = 3
_DOTS: dict[str, Any] = {"s": 16, "alpha": 0.85, "linewidths": 0}


def projection(
    embeddings: Float[Array, "points dim"],
    colours: Shaped[Array, " points"],
    path: Path,
    *,
    label: str = "",
) -> Path:
    """Embeddings in two dimensions: by t-SNE, or by PCA where they are few.

    `colours` are classes (whole numbers or words: up to ten are named, more than that share
    colours, as do videos) or values (fractions); `label` says of what.
    """
    kept = np.sort(np.random.default_rng(0).permutation(len(embeddings))[:_MOST_POINTS])
    points, how = plane(embeddings[kept])
    colours = np.asarray(colours)[kept]
    is_value = np.issubdtype(colours.dtype, np.floating)
    classes = np.unique(colours if is_value else colours.astype(str))
    named = is_value or len(classes) <= len(TEN_COLOURS)
    what = f"coloured by {label or ('value' if is_value else 'class' if named else 'video')}"
    if not named:
        what += f" ({len(classes)}, which share ten colours)"
    title = f"{how} of the embeddings"
    figure = new_figure(8.0, 7.0, title, f"{len(points)} test pairs, {what}")
    axes = figure.subplots()
    if is_value:
        seen = axes.scatter(points[:, 0], points[:, 1], c=colours, cmap="viridis", **_DOTS)
        bar = figure.colorbar(seen, ax=axes, shrink=0.6, pad=0.01)
        bar.set_label(label, size=TEXT_SIZE)
        bar.outline.set_visible(False)
    else:
        for i, name in enumerate(_in_order(classes)):
            chosen = points[colours.astype(str) == name]
            colour = TEN_COLOURS[i % len(TEN_COLOURS)]
            key = name if named else None
            axes.scatter(chosen[:, 0], chosen[:, 1], color=colour, label=key, **_DOTS)
        if named:
            axes.legend(
                title=label or None,
                loc="center left",
                bbox_to_anchor=(1.0, 0.5),
                frameon=False,
                fontsize=TEXT_SIZE,
                markerscale=2,
            )
    axes.set_axis_off()
    axes.set_aspect("equal", adjustable="datalim")
    return save(figure, path)


def comparison(rows: Mapping[str, Mapping[str, float]], path: Path) -> Path:
    """Bars of every metric for every run, each metric on its own scale.

    Args:
        rows: run → metric → value; a metric that a run lacks has no bar.
        path: the PNG.
    """
    metrics = list(dict.fromkeys(name for row in rows.values() for name in row))
    num_rows = -(-len(metrics) // _COLUMNS)
    panel_height = 0.75 + 0.34 * len(rows)
    figure = new_figure(11.0, 1.0 + panel_height * num_rows, "Runs side by side", " ")
    x = 0.1
    for run, colour in zip(rows, _run_colours(len(rows)), strict=True):
        text = figure.text(
            x / 11.0,
            1 - 0.45 / figure.get_size_inches()[1],
            f"■ {run}",
            size=TEXT_SIZE,
            color=colour,
            va="top",
            weight="bold",
        )
        x += text.get_window_extent().width / figure.dpi + 0.25
    grid = figure.subplots(num_rows, _COLUMNS, squeeze=False).ravel()
    for axes, metric in zip(grid, metrics, strict=False):
        _bars(axes, metric, [row.get(metric) for row in rows.values()])
    for axes in grid[len(metrics) :]:
        axes.set_axis_off()
    return save(figure, path)


def _bars(axes: Axes, metric: str, values: Sequence[float | None]) -> None:
    known = [value for value in values if value is not None]
    low, high = min(0.0, *known), max(0.0, *known)
    span = (high - low) or 1.0
    for i, (value, colour) in enumerate(zip(values, _run_colours(len(values)), strict=True)):
        if value is not None:
            axes.barh(i, value, height=0.72, color=colour)
        axes.text(
            max(value or 0.0, 0.0) + 0.03 * span,
            i,
            "not measured" if value is None else f"{value:.{2 if abs(value) < 10 else 1}f}",
            va="center",
            size=TEXT_SIZE,
            color=FAINT if value is None else INK,
        )
    axes.set_title(metric, size=TEXT_SIZE, color=INK, loc="left")
    axes.set_xlim(low, high + 0.25 * span)
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_position(("data", 0.0))
    axes.spines["left"].set_color(FAINT)


def _run_colours(num_runs: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(num_runs)]


def _in_order(classes: Array) -> list[str]:
    """Numbers by size, words by letter."""
    numeric = all(re.fullmatch(r"-?\d+", name) for name in classes)
    return sorted(classes, key=int) if numeric else sorted(classes)


def plane(embeddings: Float[Array, "points dim"]) -> tuple[Float[Array, "points 2"], str]:
    """Embeddings in two dimensions, and how: by t-SNE, or by PCA where they are few."""
    from sklearn.manifold import TSNE  # a second to import, which a run need not wait

    most = min(_TSNE_INPUTS, *embeddings.shape)
    if len(embeddings) < _FEWEST_FOR_TSNE or most < 2:
        return _principal(embeddings, min(2, most)), "PCA"
    tsne = TSNE(perplexity=15, init="pca", random_state=0, max_iter=500)
    # Its threads wait for one another by spinning: beside other work, two take longer than one.
    with threadpool_limits(1):
        return tsne.fit_transform(_principal(embeddings, most)), "t-SNE"


def _principal(embeddings: Array, num: int) -> Array:
    from sklearn.decomposition import PCA  # as above

    plane = PCA(num, random_state=0).fit_transform(embeddings)
    return np.pad(plane, ((0, 0), (0, max(0, 2 - num))))
