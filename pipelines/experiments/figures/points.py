"""Settings as points: what each number makes of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

from pipelines.figures.style import INK, TEN_COLOURS, TEXT_SIZE, new_figure, quiet, save

Array = NDArray[Any]
_COLUMNS, _WIDTH, _HEIGHT = 4, 11.0, 2.3


def panels_of_points(
    panels: Mapping[str, Float[Array, " points"]],
    values: Float[Array, " points"],
    kinds: Shaped[Array, " points"],
    path: Path,
    *,
    title: str,
) -> Path:
    """A panel for each title: the same values over its own numbers, coloured by kind."""
    num_rows = -(-len(panels) // _COLUMNS)
    names = sorted(set(kinds.astype(str)))
    figure = new_figure(_WIDTH, 1.3 + _HEIGHT * num_rows, title, " ")
    grid = figure.subplots(num_rows, _COLUMNS, sharey=True, squeeze=False).ravel()
    for axes, (head, numbers) in zip(grid, panels.items(), strict=False):
        for name, colour in zip(names, TEN_COLOURS, strict=False):
            own = kinds.astype(str) == name
            axes.scatter(numbers[own], values[own], s=14, color=colour, linewidths=0, label=name)
        axes.set_title(head, size=TEXT_SIZE, color=INK, loc="left")
        quiet(axes)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    handles, labels = grid[0].get_legend_handles_labels()
    top = 1 - 0.42 / float(np.asarray(figure.get_size_inches())[1])
    figure.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(0.0, top),
        ncols=len(names),
        frameon=False,
        fontsize=TEXT_SIZE,
    )
    return save(figure, path)
