"""A sweep's plots by `optuna.visualization`: Plotly's for the page, matplotlib's for the PNGs.

One study with a trial for each setting (a mean over its seeds) for the map and the parallel
coordinates, one with a trial for each finished trial where the spread of the seeds matters.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import optuna
import plotly.graph_objects as go
from matplotlib.ticker import MaxNLocator
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator

from pipelines.figures import html
from pipelines.figures.style import BLUE, DPI, FAINT, GREEN, INK, ORANGE, TEXT_SIZE, TITLE_SIZE
from pipelines.figures.text import cut, fitted, plain
from pipelines.sweep.report.axes import BETA, LATENT_DIM, Axis, value_text
from pipelines.sweep.report.results import Results
from pipelines.trials.records import TrialRecord, Value

MAP_KEY = (
    "Dots: settings, each the mean over its seeds; between them it is interpolated; dark is good."
)
_STATES = {
    "finished": {"color": BLUE, "width": 1.2},
    "baseline": {"color": INK, "width": 2.2},
    "running": {"color": GREEN, "width": 1.2},
    "waiting": {"color": GREEN, "width": 1.2},
    "failed": {"color": ORANGE, "width": 1.4, "dash": "dot"},
    "pruned": {"color": "#999999", "width": 1.2, "dash": "dash"},
}


def study(
    results: Results, *, per: str = "setting", text: Callable[[str], str] = str
) -> optuna.Study:
    """What finished, as Optuna's study.

    Args:
        results: of the sweep; the baseline is not in the study.
        per: `setting`, with the mean over its finished seeds, or `trial`.
        text: applied to the names of parameters and to values that are words.
    """
    if per == "setting":
        points = [(score.params, score.mean) for score in results.settings]
    else:
        points = [
            (trial.params, value)
            for trial in results.trials
            if not trial.is_baseline and (value := results.value(trial)) is not None
        ]
    points = [(params, value) for params, value in points if _has_all(results, params)]
    ranges = {text(axis.title): _range(axis, [p for p, _ in points], text) for axis in results.axes}
    with quiet_optuna():
        made = optuna.create_study(direction="maximize" if results.mode == "max" else "minimize")
        for params, value in points:
            chosen = {text(a.title): _value(params[a.key], text) for a in results.axes}
            made.add_trial(
                optuna.trial.create_trial(params=chosen, distributions=ranges, value=value)
            )
    return made


def evaluator() -> FanovaImportanceEvaluator:
    """Hutter, Hoos, Leyton-Brown 2014: the same shares at each call."""
    return FanovaImportanceEvaluator(seed=0)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """A study in memory is no news, and that the plots for matplotlib are experimental neither."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def varied(results: Results) -> list[Axis]:
    """The axes along which there are results with two values or more."""
    return [
        axis
        for axis in results.axes
        if len({s.params.get(axis.key) for s in results.settings} - {None}) > 1
    ]


def mapped(results: Results, shares: Mapping[str, float] | None) -> tuple[Axis, ...]:
    """The two axes of the map: β and d_r, or else the most important; none below two axes."""
    tried = varied(results)
    weights = {BETA: 3.0, LATENT_DIM: 2.0}
    if not {BETA, LATENT_DIM} <= {axis.key for axis in tried}:
        weights = dict(shares or {})
    chosen = sorted(tried, key=lambda axis: -weights.get(axis.key, 0.0))[:2]
    return tuple(axis for axis in results.axes if axis in chosen) if len(chosen) == 2 else ()


def contour(results: Results, axes: tuple[Axis, ...]) -> go.Figure:
    """The map of the page."""
    params = [escape(axis.title) for axis in axes]
    made = study(results, text=escape)
    with quiet_optuna():
        figure = optuna.visualization.plot_contour(made, params, target_name=escape(results.metric))
    return _dressed(figure, 520)


def slices(results: Results) -> go.Figure:
    """Every finished trial over each parameter, with the baseline and its spread."""
    with quiet_optuna():
        figure = optuna.visualization.plot_slice(
            study(results, per="trial", text=escape),
            [escape(axis.title) for axis in varied(results)],
            target_name=escape(results.metric),
        )
    if base := results.baseline:
        figure.add_hline(y=base.mean, line={"color": ORANGE, "width": 1.5})
        if base.sd:
            low, high = base.mean - base.sd, base.mean + base.sd
            figure.add_hrect(y0=low, y1=high, fillcolor=ORANGE, opacity=0.15, line_width=0)
    return _dressed(figure, 420)


def importances(results: Results) -> go.Figure:
    """The share of each parameter."""
    with quiet_optuna():
        figure = optuna.visualization.plot_param_importances(
            study(results, per="trial", text=escape),
            evaluator=evaluator(),
            target_name=escape(results.metric),
        )
    return _dressed(figure, 140 + 44 * len(results.axes))


def parallel(results: Results) -> go.Figure:
    """One line a setting through its mean and its values."""
    with quiet_optuna():
        figure = optuna.visualization.plot_parallel_coordinate(
            study(results, text=escape), target_name=escape(results.metric)
        )
    return _dressed(figure, 450, margin={"t": 70, "l": 90, "r": 60, "b": 40})


def validations(results: Results) -> go.Figure:
    """The sweep's metric over the steps of every trial that reported it."""
    figure = go.Figure()
    named: set[str] = set()
    # What was ended early lies over the many that finished, and the baseline over all.
    for trial in sorted(results.trials, key=lambda t: (t.is_baseline, t.state != "finished")):
        points = [(s, v) for s, v in sorted(trial.validations.items()) if math.isfinite(v)]
        if not points:
            continue
        kind = "baseline" if trial.is_baseline else trial.state
        figure.add_trace(
            go.Scatter(
                x=[step for step, _ in points],
                y=[value for _, value in points],
                mode="lines+markers",
                marker={"size": 5},
                line=_STATES[kind],
                opacity=0.75,
                name=kind,
                legendgroup=kind,
                showlegend=kind not in named,
                hovertext=[f"step {s}: {v:.5g}<br>{_about(results, trial)}" for s, v in points],
                hoverinfo="text",
            )
        )
        named.add(kind)
    figure.update_xaxes(title_text="step")
    figure.update_yaxes(title_text=escape(results.sweep.metric))
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0})
    return _dressed(figure, 430)


def contour_png(results: Results, axes: tuple[Axis, ...], note: str, path: Path) -> Path:
    """The map as a picture."""
    title = f"{results.metric} over {axes[0].label} and {axes[1].label}"
    note = f"{MAP_KEY} {note}"
    with _canvas():
        drawn = optuna.visualization.matplotlib.plot_contour(
            study(results, text=plain), [plain(a.title) for a in axes], target_name=results.metric
        )
        return _save(drawn, (9.0, 6.0), title, _about_sweep(results), note, path)


def slices_png(results: Results, note: str, path: Path) -> Path:
    """Every finished trial over each parameter, with the baseline and its spread, as a picture."""
    base = results.baseline
    if base:
        note = f"Orange: the baseline, {results.show_score(base)}. {note}"
    with _canvas():
        drawn: Any = optuna.visualization.matplotlib.plot_slice(
            study(results, per="trial", text=plain),
            [plain(axis.title) for axis in varied(results)],
            target_name=plain(results.metric),
        )
        for axes in np.atleast_1d(drawn):
            if base:
                sd = base.sd or 0.0
                axes.axhline(base.mean, color=ORANGE, linewidth=1.4, zorder=0.5)
                axes.axhspan(base.mean - sd, base.mean + sd, color=ORANGE, alpha=0.15, linewidth=0)
        title, width = f"{results.metric} over each parameter", max(9.0, 3.6 * len(results.axes))
        note = f"Dots: trials, the darker the later. {note}"
        return _save(drawn, (width, 5.2), title, _about_sweep(results), note, path)


def importances_png(results: Results, note: str, path: Path) -> Path:
    """The share of each parameter as a picture."""
    with _canvas():
        drawn: Any = optuna.visualization.matplotlib.plot_param_importances(
            study(results, per="trial", text=plain), evaluator=evaluator()
        )
        drawn.get_legend().remove()
        size = 9.0, 1.9 + 0.5 * len(results.axes)
        return _save(drawn, size, "Importance of each parameter", "", note, path)


@contextmanager
def _canvas() -> Iterator[None]:
    """Optuna draws by pyplot and changes matplotlib's style for good: undo that."""
    mpl.use("agg")
    with quiet_optuna(), mpl.rc_context({"figure.dpi": DPI, "figure.constrained_layout.use": True}):
        yield


def _save(
    drawn: Any, size: tuple[float, float], title: str, about: str, note: str, path: Path
) -> Path:
    """Give one of Optuna's pictures our title and size, write it, and forget it."""
    from matplotlib import pyplot as plt

    all_axes = list(np.atleast_1d(drawn).flat)
    figure = all_axes[0].get_figure()
    for bar in figure.axes[len(all_axes) :]:
        if bar.get_ylabel() == "Trial":
            bar.yaxis.set_major_locator(MaxNLocator(integer=True))
    title, below = fitted(size[0], title, *filter(None, [about, note.strip()]))
    lines = below.count("\n") + 1
    height = size[1] + 0.2 * lines
    figure.set_size_inches(size[0], height)
    figure.suptitle("")
    for axes in all_axes:
        for place in ("left", "center"):
            axes.set_title("", loc=place)
        axes.tick_params(labelsize=TEXT_SIZE - 1)
    top = 1 - (0.45 + 0.2 * lines) / height
    figure.get_layout_engine().set(rect=(0, 0, 1, top), w_pad=0.15)
    figure.text(
        0.1 / size[0], 1 - 0.1 / height, title, size=TITLE_SIZE, weight="bold", color=INK, va="top"
    )
    figure.text(0.1 / size[0], 1 - 0.4 / height, below, size=TEXT_SIZE, color=FAINT, va="top")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=DPI)
    plt.close(figure)
    return path


def _about_sweep(results: Results) -> str:
    return f"sweep {results.name}; {results.better}; {results.counts}"


def _has_all(results: Results, params: Mapping[str, Value]) -> bool:
    return all(axis.key in params for axis in results.axes)


def _range(
    axis: Axis, points: list[Mapping[str, Value]], text: Callable[[str], str]
) -> BaseDistribution:
    if axis.is_log and axis.limits:
        values = [float(params[axis.key]) for params in points]
        return FloatDistribution(
            min(axis.limits[0], *values), max(axis.limits[1], *values), log=True
        )
    return CategoricalDistribution([_value(value, text) for value in axis.values])


def _value(value: Value, text: Callable[[str], str]) -> Value:
    return text(value) if isinstance(value, str) else value


def _about(results: Results, trial: TrialRecord) -> str:
    """A trial with all that is known of it, under the mouse."""
    lines = [f"<b>{escape(trial.name)}</b>, seed {trial.seed}, {trial.state}"]
    lines += [f"{escape(k)} = {escape(value_text(v))}" for k, v in trial.params.items()]
    value = results.value(trial)
    if value is not None:
        lines.append(f"{escape(results.metric)} = {value:.5g}")
    if trial.reason:
        lines.append(escape(cut(trial.reason, 200)))  # the page's table has it whole
    return "<br>".join(lines)


def _dressed(figure: go.Figure, height: int, **layout: object) -> go.Figure:
    return figure.update_layout(
        **{"margin": {"t": 40, "l": 70, "r": 20, "b": 50}, **layout},
        title_text="",
        height=height,
        font={"family": html.FONT, "size": 13, "color": INK},
        hoverlabel={"align": "left", "font": {"family": html.FONT}},
        paper_bgcolor="white",
    )
