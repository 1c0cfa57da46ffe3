"""The report of a sweep: leaderboard, importance, pictures, and one interactive page.

What is computed here are pure functions of the records; `write_report` alone writes files.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
import pandas as pd

from pipelines.sweep.report import plots
from pipelines.sweep.report.leaderboard import leaderboard, markdown, readable, terminal
from pipelines.sweep.report.page import write_page
from pipelines.sweep.report.pictures import best_settings
from pipelines.sweep.report.results import Results, collect
from pipelines.sweep.report.robustness import caution, seed_noise
from pipelines.sweep.report.verdict import sentences
from pipelines.trials.records import SweepRecord, TrialRecord

PICTURES = ("leaderboard.png", "map.png", "parameters.png", "importance.png")
_FEWEST_SETTINGS = 4
_ROUGH_BELOW = 20
"""Settings under which the note calls the importance rough; no theory, a caution."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a sweep's report says and where it lies."""

    leaderboard: pd.DataFrame
    """The best setting first, incomplete ones after complete ones, the baseline last."""
    leaderboard_text: str
    """The same for a terminal."""
    importance: dict[str, float] | None
    """Share of the metric's variance by key, the greatest first; they add up to 1."""
    importance_note: str
    """How that was computed, or why it is None."""
    sentences: list[str]
    metrics: dict[str, float]
    """Its numbers, for the sweep's own run in MLflow."""
    pictures: list[Path]
    page: Path


def write_report(
    sweep: SweepRecord,
    trials: Sequence[TrialRecord],
    folder: Path,
    *,
    name: str,
    metric: str | None = None,
) -> Report:
    """Write leaderboard.csv, leaderboard.md, the pictures and report.html into a folder.

    Args:
        sweep: what was searched.
        trials: all trials, whatever their state; there may be none that finished.
        folder: is made; the files of an earlier report in it are replaced.
        name: the sweep's.
        metric: what to judge by; None: the sweep's own metric.

    Raises:
        ConfigError: for a metric that no finished trial has, naming those there are.
    """
    results = collect(sweep, trials, name=name, metric=metric)
    table = leaderboard(results)
    shares, note = importance(results)
    said = sentences(results)
    shown = readable(table, results)
    folder.mkdir(parents=True, exist_ok=True)
    for picture in PICTURES:  # none of an earlier report may be taken for this one's
        (folder / picture).unlink(missing_ok=True)
    table.to_csv(folder / "leaderboard.csv", index=False)
    (folder / "leaderboard.md").write_text(_markdown(shown, results, said), encoding="utf-8")
    pictures = _pictures(results, shares, note, folder)
    page = write_page(results, shown, shares, note, said, folder / "report.html")
    return Report(
        leaderboard=table,
        leaderboard_text=terminal(shown),
        importance=shares,
        importance_note=note,
        sentences=said,
        metrics=_metrics(results, shares),
        pictures=pictures,
        page=page,
    )


def importance(results: Results) -> tuple[dict[str, float] | None, str]:
    """How much of the metric's variance each key explains by itself, and how that is known.

    fANOVA (Hutter, Hoos, Leyton-Brown 2014) as Optuna has it, over every finished trial.
    """
    values = [
        value
        for trial in results.trials
        if not trial.is_baseline and (value := results.value(trial)) is not None
    ]
    num_settings = len(results.settings)
    if not results.axes:
        return None, "Importance: nothing was sampled."
    if num_settings < _FEWEST_SETTINGS:
        return None, (
            f"Importance is not computed: it needs {_FEWEST_SETTINGS} settings with results, and "
            f"there are {num_settings}."
        )
    if len(set(values)) == 1:
        return None, "Importance is not computed: every finished trial has the same value."
    shares = _fanova(results)
    if not all(math.isfinite(share) for share in shares.values()):
        return None, "Importance is not computed: fANOVA found no variance to share out."
    note = (
        f"fANOVA (Optuna) over {len(values)} finished trials of {num_settings} settings: the share "
        "of the metric's variance that each key explains by itself, scaled to add up to 1."
    )
    if num_settings < _ROUGH_BELOW:
        note += " From so few settings the shares are rough."
    note = f"{note} {caution(seed_noise(results.settings))}".strip()
    return dict(sorted(shares.items(), key=lambda item: -item[1])), note


def _metrics(results: Results, shares: Mapping[str, float] | None) -> dict[str, float]:
    states = [trial.state for trial in results.trials]
    found = {f"sweep/num_{s}": float(states.count(s)) for s in ("finished", "pruned", "failed")}
    found |= {f"importance/{key}": share for key, share in (shares or {}).items()}
    if not results.settings:
        return found
    best, noise = results.settings[0], seed_noise(results.settings)
    found["sweep/best_mean"] = best.mean
    if best.sd is not None:
        found["sweep/best_sd"] = best.sd
    if noise:
        found["sweep/seed_sd"] = noise.sd
    if results.baseline:
        found["sweep/baseline_mean"] = results.baseline.mean
        found["sweep/best_minus_baseline"] = best.mean - results.baseline.mean
    return found


def _fanova(results: Results) -> dict[str, float]:
    found = plots.study(results, per="trial")
    with plots.quiet_optuna():
        shares = optuna.importance.get_param_importances(found, evaluator=plots.evaluator())
    keys = {axis.title: axis.key for axis in results.axes}
    return {keys[title]: float(share) for title, share in shares.items()}


def _pictures(
    results: Results, shares: Mapping[str, float] | None, note: str, folder: Path
) -> list[Path]:
    if not results.settings:
        return []
    warning = caution(seed_noise(results.settings))
    written = [best_settings(results, folder / "leaderboard.png")]
    if axes := plots.mapped(results, shares):
        written.append(plots.contour_png(results, axes, warning, folder / "map.png"))
    if plots.varied(results):
        written.append(plots.slices_png(results, warning, folder / "parameters.png"))
    if shares:
        written.append(plots.importances_png(results, note, folder / "importance.png"))
    return written


def _markdown(table: pd.DataFrame, results: Results, said: Sequence[str]) -> str:
    lines = [f"# Sweep {results.name}", "", *(f"- {sentence}" for sentence in said), ""]
    lines.append(f"{results.metric}, mean and standard deviation over seeds; {results.better}.")
    return "\n".join([*lines, "", markdown(table), ""])
