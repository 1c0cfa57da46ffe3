"""Answers of a probe against the truth: a confusion matrix, or values in the plane."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy.typing import NDArray

from pipelines.figures.style import BLUE, FAINT, INK, TEXT_SIZE, new_figure, quiet, save

Array = NDArray[Any]
_MOST_NAMED = 40


def confusion(
    truth: Shaped[Array, " rows"], predicted: Shaped[Array, " rows"], path: Path, *, subtitle: str
) -> Path:
    """How often each class was answered for each: rows are the truth, columns the answer."""
    classes = np.unique(np.concatenate([truth, predicted]))
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (np.searchsorted(classes, truth), np.searchsorted(classes, predicted)), 1)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    side = min(14.0, 3.4 + 0.55 * len(classes))
    longest = max(map(len, map(str, classes)))
    width = max(5.5, side + 0.07 * longest)
    figure = new_figure(width, side + 0.9 + 0.05 * longest, "What was answered for what", subtitle)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= _MOST_NAMED:
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.55 else INK
            axes.text(
                column,
                row,
                str(counts[row, column]),
                ha="center",
                va="center",
                color=colour,
                size=TEXT_SIZE,
            )
        axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
        axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("answer", size=TEXT_SIZE)
    axes.set_ylabel("label", size=TEXT_SIZE)
    axes.tick_params(length=0, labelsize=TEXT_SIZE)
    axes.spines[:].set_visible(False)
    return save(figure, path)


def predicted_values(
    truth: Shaped[Array, " rows"], predicted: Shaped[Array, " rows"], path: Path, *, subtitle: str
) -> Path:
    """Each value as it was answered, against what it is."""
    figure = new_figure(6.5, 6.2, "What was answered for what", subtitle)
    axes = figure.subplots()
    edges = [float(f(truth)) for f in (np.min, np.max)]
    axes.plot(edges, edges, color=FAINT, linewidth=1)
    axes.scatter(truth, predicted, s=18, color=BLUE, alpha=0.8, linewidths=0)
    axes.set_xlabel("label", size=TEXT_SIZE)
    axes.set_ylabel("answer", size=TEXT_SIZE)
    quiet(axes)
    return save(figure, path)
