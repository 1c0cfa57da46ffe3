"""The page of a sweep: one HTML file that needs no network, with plots that answer the mouse."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io
from plotly.offline import get_plotlyjs

from pipelines.numbers import MISSING
from pipelines.sweep.report import plots
from pipelines.sweep.report.axes import value_text
from pipelines.sweep.report.results import Results
from pipelines.sweep.report.robustness import caution, seed_noise
from pipelines.tracking.async_logger import without_password
from pipelines.trials.records import TrialRecord

_STYLE = f"""
body {{ font: 16px/1.5 {plots.FONT}; color: #222; background: #fff; margin: 0 auto;
  max-width: 1180px; padding: 2rem 1.5rem 4rem; }}
h1 {{ font-size: 1.9rem; margin: 0; }}
h2 {{ font-size: 1.25rem; margin: 2.6rem 0 .4rem; }}
p, li {{ max-width: 60rem; }}
.faint {{ color: #666; margin: .1rem 0 .6rem; }}
ul.said {{ padding-left: 1.1rem; }} ul.said li {{ margin: .35rem 0; }}
ul.said li:first-child {{ font-weight: 600; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .92rem; }}
th, td {{ padding: .32rem .9rem .32rem 0; text-align: left; border-bottom: 1px solid #e6e6e6;
  vertical-align: top; }}
table.sortable th, table.sortable td {{ text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }}
th button {{ all: unset; cursor: pointer; font-weight: 600; }}
th button:focus-visible {{ outline: 2px solid #0072B2; }}
th[aria-sort=ascending] button::after {{ content: " ▲"; content: " ▲" / ""; color: #0072B2; }}
th[aria-sort=descending] button::after {{ content: " ▼"; content: " ▼" / ""; color: #0072B2; }}
tr.baseline td {{ background: #fdf1e8; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; }}
dt {{ color: #666; }} dd {{ margin: 0; overflow-wrap: anywhere; }}
pre {{ background: #f6f6f6; padding: 1rem; overflow: auto; font-size: .85rem; }}
"""
_SORTING = """
document.querySelectorAll("table.sortable").forEach(table => {
  const heads = [...table.querySelectorAll("th")], body = table.tBodies[0];
  [...body.rows].forEach(row => {
    if ([...row.cells].some(cell => cell.textContent === "baseline")) row.className = "baseline";
  });
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = row => row.cells[column].textContent;
      const compare = (a, b) => {
        if (a === "–" || b === "–") return (a === "–") - (b === "–");
        const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
        return up ? order : -order;
      };
      [...body.rows].sort((a, b) => compare(key(a), key(b))).forEach(row => body.append(row));
    });
  });
});
"""
_CONFIG = {"displaylogo": False, "responsive": True, "plotlyServerURL": ""}


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
    title = escape(f"Sweep {results.name}")
    drawn = _plots(results, shares, note)
    script = f"<script>{get_plotlyjs()}</script>" if drawn else ""  # five megabytes: only at need
    content = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{_STYLE}</style>
{script}
</head>
<body>
<h1>{title}</h1>
<p class="faint">{escape(f"{results.metric}, {results.better}; {results.counts}")}</p>
<ul class="said">{"".join(f"<li>{escape(sentence)}</li>" for sentence in said)}</ul>
{_leaderboard(table)}
{drawn or f"<p>{escape(note)}</p>"}
{_not_scored(results)}
{_facts(results)}
<script>{_SORTING}</script>
</body>
</html>
"""
    path.write_text(content, encoding="utf-8")
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
    plot = plotly.io.to_html(
        figure, full_html=False, include_plotlyjs=False, div_id=name, config=_CONFIG, validate=False
    )
    return f'<h2>{escape(title)}</h2>\n<p class="faint">{escape(text)}</p>\n{plot}'


def _leaderboard(table: pd.DataFrame) -> str:
    if table.empty:
        return ""
    text = (
        "Mean and standard deviation over the seeds; difference: the mean's from the baseline's. "
        "Click a heading to sort."
    )
    shown = _table(table, "sortable")
    return f'<h2>Leaderboard</h2>\n<p class="faint">{text}</p>\n{shown}'


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
    heading = f"<h2>Trials that enter no mean ({len(rows)})</h2>"
    return f"{heading}\n{_table(pd.DataFrame(rows), 'words')}"


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
    config = json.dumps(_public(sweep.config), indent=2, ensure_ascii=False, default=str)
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


def _public(tree: Any) -> Any:
    """A config without the passwords that addresses may hold: the page is passed on."""
    if isinstance(tree, Mapping):
        return {key: _public(value) for key, value in tree.items()}
    return without_password(tree) if isinstance(tree, str) and "://" in tree else tree


def _table(table: pd.DataFrame, kind: str) -> str:
    with pd.option_context("display.max_colwidth", None):
        html = table.to_html(index=False, border=0, classes=kind)
    return f'<div class="scroll">{html}</div>'
