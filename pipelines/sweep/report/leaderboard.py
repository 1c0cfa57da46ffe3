"""The leaderboard: one table of numbers, and the same as text for people.

The numbers go to the CSV; the terminal, Markdown and the page all show the frame of `readable`.
"""

from typing import Any

import pandas as pd

from pipelines.numbers import MISSING
from pipelines.sweep.report.axes import value_text
from pipelines.sweep.report.results import Results, setting_name
from pipelines.trials.records import SettingScore

WIDTH = 80
"""Columns of a terminal."""
_MEASURED = ("mean", "sd", "difference")


def leaderboard(results: Results) -> pd.DataFrame:
    """One row a setting with a finished seed, the best first: rank, values, mean and sd over seeds.

    Incomplete settings come after complete ones, the baseline last. `difference` is the mean minus
    the baseline's, whichever direction is better.
    """
    rows = [_row(results, score, rank) for rank, score in enumerate(results.settings, 1)]
    if results.baseline:
        rows.append(_row(results, results.baseline, None))
    keys = [axis.column for axis in results.axes]
    columns = ["rank", "setting", *keys, "mean", "sd", "seeds", "difference"]
    # As objects first: a key that the baseline lacks must not turn the others' 8 into 8.0.
    table = pd.DataFrame(rows, columns=columns, dtype=object).astype({"rank": "Int64"})
    return table.astype(dict.fromkeys(_MEASURED, float))


def readable(table: pd.DataFrame, results: Results) -> pd.DataFrame:
    """The leaderboard as texts, with the field's symbols and a dash for what is missing."""
    labels = {axis.column: axis.label for axis in results.axes}
    columns = {
        labels.get(name, name): [_text(name, value, results) for value in table[name]]
        for name in table.columns
    }
    return pd.DataFrame(columns, dtype=str)


def terminal(table: pd.DataFrame) -> str:
    """A readable table in blocks of columns that fit a terminal, each with the settings' names."""
    if table.empty:
        return "no setting has a finished trial yet"
    indexed = table.set_index("setting").rename_axis(index=None)
    results_first = ["rank", *_MEASURED[:2], "seeds", _MEASURED[2]]
    rest = [name for name in indexed.columns if name not in results_first]
    return indexed[results_first + rest].to_string(line_width=WIDTH)


def markdown(table: pd.DataFrame) -> str:
    """A readable table in Markdown; pandas itself needs one more package for that."""
    escaped = table.map(lambda text: text.replace("|", "\\|"))
    rows = [list(table.columns), ["---"] * len(table.columns), *escaped.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


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


def _text(column: str, value: Any, results: Results) -> str:
    if pd.isna(value):
        return MISSING
    if column not in _MEASURED:
        return value_text(value)
    text = results.show(value)
    return f"+{text}" if column == "difference" and value > 0 else text
