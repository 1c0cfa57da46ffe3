"""The report of a sweep: leaderboard, importance, pictures, and one interactive page.

What is computed here are pure functions of the records; `write_report` alone writes files.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
import pandas as pd

from pipelines.sweep.report import cells, pictures
from pipelines.sweep.report.axes import Axis, value_text
from pipelines.sweep.report.page import write_page
from pipelines.sweep.report.results import Results, collect, setting_name
from pipelines.sweep.report.robustness import seed_noise
from pipelines.sweep.report.sensitivity import sensitivity_map
from pipelines.sweep.report.verdict import sentences
from pipelines.trials.records import SettingScore, SweepRecord, TrialRecord, Value

PICTURES = ("leaderboard.png", "map.png", "parameters.png", "importance.png")
_FEWEST_SETTINGS = 4
_ROUGH_BELOW = 20
"""Settings under which the note calls the importance rough; no theory, a caution."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a sweep's report says and where it lies."""

    leaderboard: pd.DataFrame
    """The best setting first, incomplete ones after complete ones, the baseline last."""
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
    folder.mkdir(parents=True, exist_ok=True)
    for picture in PICTURES:  # none of an earlier report may be taken for this one's
        (folder / picture).unlink(missing_ok=True)
    table.to_csv(folder / "leaderboard.csv", index=False)
    (folder / "leaderboard.md").write_text(_markdown(table, results, said), encoding="utf-8")
    pictures = _pictures(results, shares, note, folder)
    page = write_page(results, shares, note, said, folder / "report.html")
    return Report(
        leaderboard=table,
        importance=shares,
        importance_note=note,
        sentences=said,
        metrics=_metrics(results, shares),
        pictures=pictures,
        page=page,
    )


def leaderboard(results: Results) -> pd.DataFrame:
    """One row a setting with a finished seed: its rank, values, mean and sd over seeds.

    `difference` is the mean minus the baseline's, whichever direction is good.
    """
    rows = [_row(results, score, rank) for rank, score in enumerate(results.settings, 1)]
    if results.baseline:
        rows.append(_row(results, results.baseline, None))
    keys = [axis.column for axis in results.axes]
    columns = ["rank", "setting", *keys, "mean", "sd", "seeds", "difference"]
    # As objects first: a key that the baseline lacks must not turn the others' 8 into 8.0.
    table = pd.DataFrame(rows, columns=columns, dtype=object).astype({"rank": "Int64"})
    return table.astype(dict.fromkeys(("mean", "sd", "difference"), float))


def importance(results: Results) -> tuple[dict[str, float] | None, str]:
    """How much of the metric's variance each key explains by itself, and how that is known.

    fANOVA (Hutter, Hoos, Leyton-Brown 2014) as Optuna has it, over every finished trial.
    """
    points = [
        (trial.params, value)
        for trial in results.trials
        if not trial.is_baseline
        and (value := results.value(trial)) is not None
        and all(axis.key in trial.params for axis in results.axes)
    ]
    num_settings = len(results.settings)
    if not results.axes:
        return None, "Importance: nothing was sampled."
    if num_settings < _FEWEST_SETTINGS:
        return None, (
            f"Importance is not computed: it needs {_FEWEST_SETTINGS} settings with results, and "
            f"there are {num_settings}."
        )
    if len({value for _, value in points}) == 1:
        return None, "Importance is not computed: every finished trial has the same value."
    shares = _fanova(results.axes, points)
    if not all(math.isfinite(share) for share in shares.values()):
        return None, "Importance is not computed: fANOVA found no variance to share out."
    note = (
        f"fANOVA (Optuna) over {len(points)} finished trials of {num_settings} settings: the share "
        "of the metric's variance that each key explains by itself, scaled to add up to 1."
    )
    if num_settings < _ROUGH_BELOW:
        note += " From so few settings the shares are rough."
    noise = seed_noise(results.settings)
    if noise and not noise.is_exceeded:
        note += " The settings differ no more than their seeds do, so what is shared out is noise."
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


def _fanova(
    axes: Sequence[Axis], points: Sequence[tuple[Mapping[str, Value], float]]
) -> dict[str, float]:
    ranges: dict[str, optuna.distributions.BaseDistribution] = {}
    for axis in axes:
        if axis.is_log and axis.limits:
            values = [float(params[axis.key]) for params, _ in points]
            low, high = min(axis.limits[0], *values), max(axis.limits[1], *values)
            ranges[axis.key] = optuna.distributions.FloatDistribution(low, high, log=True)
        else:
            ranges[axis.key] = optuna.distributions.CategoricalDistribution(axis.values)
    with _quiet_optuna():
        study = optuna.create_study()
        for params, value in points:
            chosen = {key: params[key] for key in ranges}
            study.add_trial(
                optuna.trial.create_trial(params=chosen, distributions=ranges, value=value)
            )
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: float(share) for key, share in shares.items()}


@contextlib.contextmanager
def _quiet_optuna() -> Iterator[None]:
    """A study in memory is no news."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _pictures(
    results: Results, shares: Mapping[str, float] | None, note: str, folder: Path
) -> list[Path]:
    if not results.settings:
        return []
    written = [pictures.leaderboard(results, folder / "leaderboard.png")]
    plane = sensitivity_map(results, shares)
    if plane:
        written.append(cells.sensitivity(results, plane, folder / "map.png"))
    elif results.axes:
        written.append(pictures.one_parameter(results, folder / "map.png"))
    if results.axes:
        written.append(pictures.parameters(results, folder / "parameters.png"))
    if shares:
        labels = {axis.key: axis.label for axis in results.axes}
        named = {labels[key]: share for key, share in shares.items()}
        written.append(pictures.importance(named, folder / "importance.png", note=note))
    return written


def _row(results: Results, score: SettingScore, rank: int | None) -> dict[str, object]:
    base = results.baseline.mean if results.baseline else None
    return {
        "rank": rank,
        "setting": setting_name(score.setting),
        **{axis.column: score.params.get(axis.key) for axis in results.axes},
        "mean": score.mean,
        "sd": score.sd,
        "seeds": f"{len(score.values)}/{score.num_seeds}",
        "difference": None if base is None or rank is None else score.mean - base,
    }


def _markdown(table: pd.DataFrame, results: Results, said: Sequence[str]) -> str:
    """The table in Markdown, under the sentences; pandas would need one more package for it."""
    lines = [f"# Sweep {results.name}", "", *(f"- {sentence}" for sentence in said), ""]
    lines.append(f"{results.metric}, mean and standard deviation over seeds; {results.better}.")
    lines += ["", "| " + " | ".join(table.columns) + " |", "|---" * len(table.columns) + "|"]
    measured = ("mean", "sd", "difference")
    for row in table.to_dict("records"):
        cells = []
        for column, value in row.items():
            if value is None or value is pd.NA or value != value:
                text = ""
            else:
                text = results.show(value) if column in measured else value_text(value)
            cells.append(text.replace("|", "\\|"))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
