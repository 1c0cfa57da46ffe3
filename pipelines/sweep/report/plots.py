"""The interactive plots of a sweep's page, as Plotly figures.

Plotly reads a little HTML and TeX in its texts, and names and reasons come from users: every text
is escaped.
"""

import math
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pipelines.figures.style import BLUE, FAINT, GREEN, INK, ORANGE
from pipelines.sweep.report.axes import Axis, value_text
from pipelines.sweep.report.cells import colours_of, ink_on, scale_of
from pipelines.sweep.report.results import Results
from pipelines.sweep.report.sensitivity import SensitivityMap
from pipelines.trials.records import TrialRecord

FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
_LINES = "#E6E6E6"
_STATES = {
    "finished": {"color": BLUE, "width": 1.2},
    "baseline": {"color": INK, "width": 2.2},
    "running": {"color": GREEN, "width": 1.2},
    "waiting": {"color": GREEN, "width": 1.2},
    "failed": {"color": ORANGE, "width": 1.4, "dash": "dot"},
    "pruned": {"color": "#999999", "width": 1.2, "dash": "dash"},
}
_ACROSS = 3


def parallel(results: Results) -> go.Figure:
    """One line a setting through its values and its mean; drag along an axis to choose some."""
    complete = [
        s for s in results.settings if all(a.cell(s.params) is not None for a in results.axes)
    ]
    means = [s.mean for s in complete]
    dimensions: list[dict[str, Any]] = []
    for axis in results.axes:
        if axis.is_log and axis.limits:
            ticks = axis.edges or [float(value) for value in axis.values]
            low, high = (math.log10(limit) for limit in axis.limits)
            places = [math.log10(float(s.params[axis.key])) for s in complete]
            shown = {"tickvals": [math.log10(t) for t in ticks], "range": [low, high]}
            texts = [value_text(tick) for tick in ticks]
        else:
            places = [axis.values.index(s.params[axis.key]) for s in complete]
            last = max(1, axis.num_cells - 1)  # a range from 0 to 0 is none
            shown = {"tickvals": list(range(axis.num_cells)), "range": [0, last]}
            texts = [value_text(value) for value in axis.values]  # no HTML is read in these
        dimensions.append({"label": _text(axis.title), "values": places, "ticktext": texts} | shown)
    dimensions.append({"label": _text(results.metric), "values": means})
    line = {"color": means, "colorscale": _colours(results), "showscale": False}
    fonts = {"tickfont": {"size": 13}, "labelfont": {"size": 14}}
    figure = go.Figure(go.Parcoords(line=line, dimensions=dimensions, **fonts))
    room = 30 + 8 * max(len(text) for text in dimensions[0]["ticktext"])
    return _dressed(figure, 430, margin={"t": 60, "l": max(60, room), "r": 60, "b": 30})


def heatmaps(results: Results, plane: SensitivityMap) -> go.Figure:
    """The sensitivity map, one panel for each cell of the third key."""
    num_panels, num_rows, _ = plane.means.shape
    across = min(_ACROSS, num_panels)
    down = -(-num_panels // across)
    titles = None
    if plane.panel:
        titles = [
            _text(f"{plane.panel.label} {plane.panel.cell_text(i)}") for i in range(num_panels)
        ]
    figure = make_subplots(
        rows=down, cols=across, subplot_titles=titles, horizontal_spacing=0.05,
        vertical_spacing=0.35 / down, shared_yaxes=True,
    )  # fmt: skip
    for i in range(num_panels):
        where = {"row": i // across + 1, "col": i % across + 1}
        for trace in _cells(results, plane, i):
            figure.add_trace(trace, **where)
        for update, axis in ((figure.update_xaxes, plane.x), (figure.update_yaxes, plane.y)):
            places, ticks = axis.ticks()
            update(tickvals=places, ticktext=[_text(tick) for tick in ticks], **where)
            update(showgrid=False, showline=False, range=[0, axis.num_cells], **where)
        figure.update_xaxes(title_text=_text(plane.x.title), **where)
        if where["col"] == 1:
            figure.update_yaxes(title_text=_text(plane.y.title), **where)
        if plane.best and plane.best[0] == i:
            _, y, x = plane.best
            frame = {"color": ORANGE, "width": 4}
            figure.add_shape(type="rect", x0=x, x1=x + 1, y0=y, y1=y + 1, line=frame, **where)
    scale = scale_of(plane)
    figure.update_layout(
        coloraxis={
            "colorscale": _colours(results),
            "cmin": scale.vmin,
            "cmax": scale.vmax,
            "colorbar": {"title": {"text": _text(results.metric), "side": "right"}},
        }
    )
    _dressed(figure, 110 + down * (110 + 52 * num_rows))
    return figure.update_layout(plot_bgcolor="#EEEEEE")  # so that empty cells are seen to be there


def scatters(results: Results) -> go.Figure:
    """Every finished trial over each key."""
    across = min(_ACROSS, len(results.axes))
    down = -(-len(results.axes) // across)
    figure = make_subplots(
        rows=down, cols=across, shared_yaxes=True, horizontal_spacing=0.04,
        vertical_spacing=0.3 / down,
    )  # fmt: skip
    shown = [
        (trial, value)
        for trial in results.trials
        if not trial.is_baseline and (value := results.value(trial)) is not None
    ]
    for i, axis in enumerate(results.axes):
        where = {"row": i // across + 1, "col": i % across + 1}
        points = [(t, v, c) for t, v in shown if (c := axis.cell(t.params)) is not None]
        # Trials of one discrete value are set aside by their numbers, the same on every page.
        places = [
            float(t.params[axis.key])
            if axis.is_log
            else c + 0.5 + 0.4 * ((t.setting * 0.618 + t.seed * 0.1) % 1 - 0.5)
            for t, _, c in points
        ]
        figure.add_trace(
            go.Scatter(
                x=places,
                y=[value for _, value, _ in points],
                mode="markers",
                marker={"color": BLUE, "size": 8, "opacity": 0.7},
                hovertext=[_about(results, trial) for trial, _, _ in points],
                hoverinfo="text",
                showlegend=False,
            ),
            **where,
        )
        figure.update_xaxes(title_text=_text(axis.title), **_scatter_axis(axis), **where)
        if results.baseline:
            base = results.baseline
            figure.add_hline(y=base.mean, line={"color": ORANGE, "width": 1.5}, **where)
            if base.sd:
                low, high = base.mean - base.sd, base.mean + base.sd
                figure.add_hrect(
                    y0=low, y1=high, fillcolor=ORANGE, opacity=0.15, line_width=0, **where
                )
    for row in range(1, down + 1):
        figure.update_yaxes(title_text=_text(results.metric), row=row, col=1)
    return _dressed(figure, 60 + 330 * down)


def importance_bars(results: Results, shares: Mapping[str, float]) -> go.Figure:
    """The share of each key."""
    labels = {axis.key: _text(axis.label) for axis in results.axes}
    names = [labels[key] for key in shares]
    texts = [f"{share:.2f}" for share in shares.values()]
    bars = go.Bar(
        x=list(shares.values()), y=names, orientation="h", marker={"color": BLUE},
        text=texts, textposition="outside", cliponaxis=False, hoverinfo="y+x",
    )  # fmt: skip
    figure = go.Figure(bars)
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category")
    figure.update_xaxes(range=[0, 1.05], title_text="share of the metric's variance")
    return _dressed(figure, 110 + 44 * len(shares))


def looks(results: Results) -> go.Figure:
    """The sweep's metric over the steps of every trial that reported it."""
    figure = go.Figure()
    named: set[str] = set()
    # What was cut short lies over the many that finished, and the baseline over all.
    for trial in sorted(results.trials, key=lambda t: (t.is_baseline, t.state != "finished")):
        points = [(s, v) for s, v in sorted(trial.looks.items()) if math.isfinite(v)]
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
    figure.update_yaxes(title_text=_text(results.sweep.metric))
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0})
    return _dressed(figure, 430)


def _cells(
    results: Results, plane: SensitivityMap, panel: int
) -> Iterator[go.Heatmap | go.Scatter]:
    """One panel's cells, and what stands in them: a heat map's own texts are pale."""
    colours, scale = colours_of(results), scale_of(plane)
    notes = np.full(plane.means[panel].shape, "", dtype=object)
    texts, places, inks = [], [], []
    for y, x in np.ndindex(notes.shape):
        place = (panel, y, x)
        mean, count, dropped = plane.means[place], plane.counts[place], plane.dropped[place]
        extra = f"{dropped}†" if dropped else ""
        if count:
            texts.append(f"{results.show(mean)}<br>n {count}" + (f", {extra}" if extra else ""))
            inks.append(ink_on(colours(float(scale(mean)))))
        else:
            texts.append(extra)
            inks.append(INK)
        places.append((x + 0.5, y + 0.5))
        notes[y, x] = (
            f"{_text(plane.describe(place))}<br>{_text(results.metric)} {mean:.5g}<br>"
            f"{count} finished trials, {dropped} pruned or failed"
        )
    yield go.Heatmap(
        x=list(range(plane.x.num_cells + 1)),
        y=list(range(plane.y.num_cells + 1)),
        z=plane.means[panel].tolist(),
        hovertext=notes.tolist(),
        hoverinfo="text",
        coloraxis="coloraxis",
        xgap=2,
        ygap=2,
        hoverongaps=False,
    )
    yield go.Scatter(
        x=[x for x, _ in places],
        y=[y for _, y in places],
        text=texts,
        textfont={"color": inks, "size": 12},
        mode="text",
        hoverinfo="skip",
        showlegend=False,
    )


def _scatter_axis(axis: Axis) -> dict[str, object]:
    places, texts = axis.ticks()
    if axis.is_log:
        ticks = axis.edges or [float(value) for value in axis.values]
        return {"type": "log", "tickvals": list(ticks), "ticktext": texts}
    return {
        "tickvals": places,
        "ticktext": [_text(text) for text in texts],
        "range": [0, axis.num_cells],
        "showgrid": False,
    }


def _about(results: Results, trial: TrialRecord) -> str:
    """A trial with all that is known of it, under the mouse."""
    lines = [f"<b>{_text(trial.name)}</b>, seed {trial.seed}, {trial.state}"]
    lines += [f"{_text(k)} = {_text(value_text(v))}" for k, v in trial.params.items()]
    value = results.value(trial)
    if value is not None:
        lines.append(f"{_text(results.metric)} = {value:.5g}")
    if trial.reason:
        lines.append(_text(trial.reason[:200]))
    return "<br>".join(lines)


def _text(text: str) -> str:
    """As it stands: neither HTML nor, between dollars, a formula."""
    return escape(text).replace("$", "&#36;")


def _colours(results: Results) -> str:
    return "Viridis" if results.mode == "max" else "Viridis_r"


def _dressed(figure: go.Figure, height: int, **layout: object) -> go.Figure:
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(gridcolor=_LINES, linecolor=FAINT, zeroline=False, automargin=True)
    return figure.update_layout(
        **{"margin": {"t": 40, "l": 70, "r": 20, "b": 50}, **layout},
        height=height,
        template="none",
        font={"family": FONT, "size": 13, "color": INK},
        hoverlabel={"align": "left", "font": {"family": FONT}},
        plot_bgcolor="white",
        paper_bgcolor="white",
    )
