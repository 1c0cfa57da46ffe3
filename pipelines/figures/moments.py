"""What happened over the time of videos: a curve for each."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipelines.figures.style import BLUE, FAINT, ORANGE, TEXT_SIZE, new_figure, quiet

Numbers = NDArray[Any]
Curve = tuple[str, Numbers, Numbers]


def surprise_curves(curves: Sequence[Curve], usual: float) -> Figure:
    """The surprise of each video over time, one above another on one scale.

    Args:
        curves: name, seconds and nats of each, at least one.
        usual: drawn as a dashed line; moments above it are marked.
    """
    figure = new_figure(9.0, 0.9 + 1.5 * len(curves), "Surprise over time")
    panels = figure.subplots(len(curves), 1, squeeze=False, sharey=True)[:, 0]
    for axes, (name, seconds, nats) in zip(panels, curves, strict=True):
        quiet(axes)
        axes.plot(seconds, nats, color=BLUE, linewidth=1.2, marker=".", markersize=3)
        above = nats > usual
        axes.plot(seconds[above], nats[above], "o", color=ORANGE, markersize=5)
        axes.axhline(usual, color=FAINT, linewidth=1, linestyle="--")
        axes.set_title(name, size=TEXT_SIZE, loc="left")
        axes.set_ylabel("nats", size=TEXT_SIZE)
    panels[-1].set_xlabel("seconds", size=TEXT_SIZE)
    return figure
