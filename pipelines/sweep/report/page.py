"""The page of a sweep: one HTML file that needs no network, with plots that answer the mouse."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from pipelines.figures import html
from pipelines.numbers import MISSING
from pipelines.sweep.report import plots
from pipelines.sweep.report.axes import value_text
from pipelines.sweep.report.results import Results
from pipelines.sweep.report.robustness import caution, seed_noise
from pipelines.tracking.async_logger import without_password, without_passwords
from pipelines.trials.records import TrialRecord


def write_page(
    results: Results,
    table: pd.DataFrame,
    shares: Mapping[str, float] | None,
    note: str,
    said: Sequence[str],
    path: Path,
) -> Path:
    """Write the page.

    Args:
        results: of the sweep.
        table: the leaderboard as texts.
        shares: importance by key, if it could be computed.
        note: how that was done, or why it was not.
        said: the findings in sentences.
        path: the HTML file.
    """
    drawn = _plots(results, shares, note)
    about = f"{results.metric}, {results.better}; {results.counts}"
    body = f"""<p class="faint">{escape(about)}</p>
<ul class="said">{"".join(f"<li>{escape(sentence)}</li>" for sentence in said)}</ul>
{_leaderboard(table)}
{drawn or f"<p>{escape(note)}</p>"}
{_not_scored(results)}
{_facts(results)}"""
    head = html.plot_script() if drawn else ""
    path.write_text(html.page(f"Sweep {results.name}", body, head=head), encoding="utf-8")
    return path


def _plots(results: Results, shares: Mapping[str, float] | None, note: str) -> str:
    """The sections with plots, as far as there is anything to show."""
    parts = []
    warning = caution(seed_noise(results.settings))
    if results.settings and (axes := plots.mapped(results, shares)):
        text = f"{plots.MAP_KEY} {warning}"
        parts.append(_section("map", "Map", text, plots.contour(results, axes)))
    if plots.varied(results):
        text = "Every finished trial; the orange line is the baseline, its band ± one sd."
        figure = plots.slices(results)
        parts.append(_section("parameters", f"{results.metric} over each parameter", text, figure))
    if shares:
        parts.append(_section("importance", "Importance", note, plots.importances(results)))
    elif results.settings:
        parts.append(f"<h2>Importance</h2>\n<p>{escape(note)}</p>")
    if plots.varied(results):
        text = "One line a setting, through its mean and its values."
        figure = plots.parallel(results)
        parts.append(_section("parallel", "Parallel coordinates", text, figure))
    if any(trial.validations for trial in results.trials):
        text = f"{results.sweep.metric} at each validation; click a name to hide its lines."
        figure = plots.validations(results)
        parts.append(_section("validations", "Validations over steps", text, figure))
    return "\n".join(parts)


def _section(name: str, title: str, text: str, figure: go.Figure) -> str:
    return html.section(title, html.plot(figure, name), note=text)


def _leaderboard(table: pd.DataFrame) -> str:
    if table.empty:
        return ""
    text = (
        "Mean and standard deviation over the seeds; difference: the mean's from the baseline's. "
        "Click a heading to sort."
    )
    return html.section("Leaderboard", html.table(table), note=text)


def _not_scored(results: Results) -> str:
    """The trials that enter no mean, and why."""
    if not results.unscored:
        return ""
    rows = [
        {
            "trial": trial.name,
            "state": _state(trial),
            "step": f"{trial.step}/{trial.num_steps}",
            "reason": trial.reason or MISSING,
            "setting": results.describe(trial.params) or MISSING,
        }
        for trial in results.unscored
    ]
    shown = html.table(pd.DataFrame(rows), kind="words")
    return html.section(f"Trials that enter no mean ({len(rows)})", shown)


def _state(trial: TrialRecord) -> str:
    return "finished, without the metric" if trial.state == "finished" else trial.state


def _facts(results: Results) -> str:
    sweep = results.sweep
    facts = {
        "space": sweep.space,
        "metric": f"{sweep.metric} ({sweep.mode})",
        "search": sweep.search,
        "scheduler": sweep.scheduler,
        "settings × seeds": f"{sweep.num_settings} × {sweep.num_seeds}",
        **{key: _range(content) for key, content in sweep.sampled.items()},
        "baseline": _assignments(sweep.baseline) if sweep.baseline is not None else "none",
        "data": sweep.data_digest,
        "MLflow": without_password(sweep.tracking_uri) or MISSING,
        "MLflow run": sweep.mlflow_run_id or MISSING,
    }
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())
    config = json.dumps(without_passwords(sweep.config), indent=2, ensure_ascii=False, default=str)
    return (
        f"<h2>The sweep</h2>\n<dl>{rows}</dl>\n<details><summary>Config around which the settings "
        f"vary</summary><pre>{escape(config)}</pre></details>"
    )


def _range(content: Mapping[str, Any]) -> str:
    if content["kind"] == "log_uniform":
        text = f"{value_text(content['low'])} to {value_text(content['high'])}, log-uniform"
    else:
        text = "one of " + ", ".join(value_text(value) for value in content.get("values", ()))
    return f"{text}. {content.get('why', '')}"


def _assignments(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in params.items()) or "the recipe itself"
