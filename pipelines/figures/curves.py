"""Curves over training steps, from a run's history: one mapping of metrics a logged step."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pipelines.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    ORANGE,
    PURPLE,
    TEXT_SIZE,
    label_ends,
    new_figure,
    quiet,
    save,
)

History = Sequence[Mapping[str, float]]
Line = tuple[str, str, str]
"""Metric, label, colour."""

_SMOOTH_ABOVE = 120
"""Points of a curve above which the eye is given a running median."""


def loss_terms(history: History, path: Path) -> Path:
    """The loss and its terms over steps, training as lines, validation as dashes with points."""
    penalty = next((name for name in ("kl", "l0") if _has(history, f"train/{name}")), None)
    panels: list[tuple[str, list[Line]]] = [
        ("loss", [("loss", "loss", BLUE), ("ssl", "SSL term", ORANGE)])
    ]
    if penalty == "kl":
        panels.append(("KL(q‖p), nats", [("kl", "KL of r", GREEN)]))
    if penalty == "l0":
        panels.append(("active dimensions", [("l0", "E‖r‖₀", GREEN)]))
    if penalty:
        panels.append(("β", [("beta", "β", PURPLE)]))
    title = f"The loss goes {_course(history, 'train/loss')}"
    if penalty == "kl":
        title += f", KL of r ends at {_last(history, 'train/kl')} nats"
    if penalty == "l0":
        title += f", {_last(history, 'train/l0')} dimensions of r are active at the end"
    return save(_stacked(history, panels, title), path)


def collapse(history: History, path: Path) -> Path:
    """Length of the centre, mean residual and RankMe over steps."""
    panels: list[tuple[str, list[Line]]] = [
        (
            "length",
            [("centre_norm", "‖centre‖", ORANGE), ("residual_norm", "mean residual", BLUE)],
        ),
        ("effective rank", [("rankme", "RankMe", GREEN)]),
    ]
    group, where = ("val", " in validation") if _has(history, "val/centre_norm") else ("train", "")
    figure = _stacked(
        history,
        panels,
        f"‖centre‖ ends at {_last(history, f'{group}/centre_norm')}{where}, "
        f"the mean residual at {_last(history, f'{group}/residual_norm')}",
        "a collapse is ‖centre‖ rising to 1 while the residual falls to 0",
        limits=(-0.03, 1.05),
    )
    return save(figure, path)


def _stacked(
    history: History,
    panels: Sequence[tuple[str, Sequence[Line]]],
    title: str,
    subtitle: str = "",
    *,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Panels of (name of the axis, lines) over the steps; `limits` are those of the first."""
    has_val = any(_has(history, f"val/{m}") for _, lines in panels for m, _, _ in lines)
    key = "solid: training batches; dashed: validation videos" if has_val else ""
    subtitle = "\n".join(part for part in (subtitle, key) if part)
    ratios = [3.0, 2.0, 1.0][: len(panels)]
    figure = new_figure(9.5, 1.4 + 1.05 * sum(ratios), title, subtitle)
    every = figure.subplots(
        len(panels), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": ratios}
    )[:, 0]
    ends = [_draw(axes, history, lines) for axes, (_, lines) in zip(every, panels, strict=True)]
    for axes, (name, _) in zip(every, panels, strict=True):
        axes.set_ylabel(name, size=TEXT_SIZE)
        axes.yaxis.set_major_locator(MaxNLocator(5 if axes is every[0] else 3))
        quiet(axes)
    if limits:
        every[0].set_ylim(limits)
    every[-1].set_xlabel("step", size=TEXT_SIZE)
    figure.align_ylabels(list(every))
    figure.draw_without_rendering()  # the labels need to know how high the axes are
    for axes, last in zip(every, ends, strict=True):
        label_ends(axes, last)
    return figure


def _draw(axes: Axes, history: History, lines: Sequence[Line]) -> list[tuple[float, str, str]]:
    ends = []
    for metric, label, colour in lines:
        for group in ("train", "val") if metric != "beta" else ("train",):
            steps, values = _series(history, f"{group}/{metric}")
            if not len(steps):
                continue
            shown = _smooth(values)
            if shown is not values:
                axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.25)
            style = "-" if group == "train" else "--"
            marker = "o" if group == "val" or len(steps) == 1 else None
            axes.plot(steps, shown, style, color=colour, linewidth=2, marker=marker, markersize=5)
            name = label if group == "train" else f"val {label}"
            ends.append((float(shown[-1]), f"{name}  {_short(shown[-1])}", colour))
    if not ends:
        axes.text(0.5, 0.5, "not logged", color=FAINT, size=TEXT_SIZE, ha="center", va="center")
    return ends


def _last(history: History, metric: str) -> str:
    values = _smooth(_series(history, metric)[1])
    return _short(values[-1]) if len(values) else "an unknown value"


def _short(value: float) -> str:
    return f"{value:.2f}" if 0.095 <= abs(value) < 99.5 else f"{value:.3g}"


def _course(history: History, metric: str) -> str:
    values = _smooth(_series(history, metric)[1])
    return f"from {values[0]:.2f} to {values[-1]:.2f}" if len(values) else "unrecorded"


def _has(history: History, metric: str) -> bool:
    return any(metric in entry for entry in history)


def _series(history: History, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    points = [(e["step"], e[metric]) for e in history if np.isfinite(e.get(metric, np.nan))]
    steps, values = np.array(points, np.float64).reshape(-1, 2).T
    return steps, values


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(values) <= _SMOOTH_ABOVE:
        return values
    reach = len(values) // 60 + 1
    return np.array(
        [np.median(values[max(0, i - reach) : i + reach + 1]) for i in range(len(values))]
    )
