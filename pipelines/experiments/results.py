"""The finished trials of an experiment as a table: means, standard deviations, paired tests."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pipelines.experiments.arm import Arm
from pipelines.experiments.paired_test import PairedTest, paired_test
from pipelines.numbers import MISSING, number
from pipelines.storage.runs import RunFolder, newest_state
from pipelines.trials.records import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table: one metric.

    Attributes:
        metric: its key.
        title: its heading.
        digits: after the point.
    """

    metric: str
    title: str
    digits: int = 2


class Score(NamedTuple):
    """A metric of an arm; `title` where it is not called by the arm's."""

    group: str
    method: str
    metric: str
    title: str = ""


@dataclass(frozen=True)
class Results:
    """One row a finished trial: group, method, title, seed, seconds, and its metrics."""

    runs: pd.DataFrame
    num_trials: int
    num_failed: int

    @classmethod
    def of(
        cls, arms: Sequence[Arm], trials: Sequence[TrialRecord], *, num_trials: int
    ) -> "Results":
        """The finished trials of some arms, of `num_trials` in all, arm by arm."""
        by_setting: dict[int, list[TrialRecord]] = {}
        for trial in trials:
            by_setting.setdefault(trial.setting, []).append(trial)
        rows = []
        for setting, arm in enumerate(arms):
            for trial in sorted(by_setting.get(setting, []), key=lambda t: t.seed):
                if trial.state == "finished":
                    which = {"group": arm.group, "method": arm.method, "title": arm.title}
                    run = {"trial": trial.name, "seed": trial.seed, "seconds": trial.seconds}
                    rows.append({**which, **run, **trial.metrics})
        return cls(
            runs=pd.DataFrame(rows),
            num_trials=num_trials,
            num_failed=sum(trial.state == "failed" for trial in trials),
        )

    def titles(self, *groups: str) -> dict[str, str]:
        """Method → title of the arms of some groups, in the order of the arms."""
        chosen = self.runs[self.runs.group.isin(groups)]
        return dict(zip(chosen.method, chosen.title, strict=True))

    def of_arm(self, group: str, method: str) -> pd.DataFrame:
        """The rows of an arm's trials, by seed."""
        return self._by_arm.get((group, method), self.runs.iloc[:0])

    @cached_property
    def _by_arm(self) -> dict[Any, pd.DataFrame]:
        if not len(self.runs):
            return {}
        return dict(iter(self.runs.set_index("seed").groupby(["group", "method"])))

    def values(self, group: str, method: str, metric: str) -> pd.Series:
        """A metric of an arm by seed; empty where no trial of it has finished."""
        if metric not in self.runs:
            return pd.Series(dtype=float)
        found: pd.Series = self.of_arm(group, method)[metric].dropna()
        return found

    def mean(self, group: str, method: str, metric: str) -> float:
        """The mean over the seeds; NaN where there are none."""
        return float(self.values(group, method, metric).mean())

    def shown(self, group: str, method: str, metric: str, digits: int = 2) -> str:
        """Mean ± sd over the seeds."""
        return mean_sd(self.values(group, method, metric), digits)

    def table(
        self, group: str, columns: Sequence[Column], methods: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Mean ± sd of each method of a group, in the order of the arms.

        Metrics that no trial of the group has are left out.
        """
        runs = self.runs[self.runs.group == group]
        columns = [c for c in columns if c.metric in runs and runs[c.metric].notna().any()]
        rows = []
        for method, title in self.titles(group).items():
            if methods is None or method in methods:
                cells = {c.title: self.shown(group, method, c.metric, c.digits) for c in columns}
                seeds = str(len(self.of_arm(group, method)))
                rows.append({"method": title, **cells, "seeds": seeds})
        return pd.DataFrame(rows)

    def with_floors(
        self, group: str, columns: Sequence[Column], measured_by: str, floors: Mapping[str, str]
    ) -> pd.DataFrame:
        """The same table, above its methods a row for each thing that any should be above.

        Args:
            group: of the arms.
            columns: of which those that end in `/h` have floors.
            measured_by: the method whose trials have measured them, under `NAME/FLOOR`.
            floors: what stands for h in their metrics, and their titles.
        """
        methods = self.table(group, columns)
        rows = []
        for floor, title in floors.items():
            cells = {
                column.title: self.shown(
                    group, measured_by, f"{column.metric.rpartition('/')[0]}/{floor}", column.digits
                )
                for column in columns
                if column.metric.endswith("/h") and column.title in methods
            }
            seeds = str(len(self.of_arm(group, measured_by)))
            rows.append({"method": title, **cells, "seeds": seeds})
        every = pd.concat([pd.DataFrame(rows), methods]).fillna(MISSING)
        return every[list(methods.columns)]


def compared(ours: pd.Series, theirs: pd.Series) -> PairedTest | None:
    """A paired test over the seeds that both have; None for fewer than two."""
    seeds = ours.index.intersection(theirs.index)
    if len(seeds) < 2:
        return None
    return paired_test(ours[seeds].to_numpy(float), theirs[seeds].to_numpy(float))


def curves_of(results: Results, trials: Path, group: str, method: str, metric: str) -> pd.DataFrame:
    """A metric over the steps, mean and sd over the seeds: columns x, mean, sd."""
    parts = []
    for trial in results.of_arm(group, method).trial:
        state = newest_state(RunFolder(trials / str(trial)))
        if state is not None:
            history = pd.DataFrame(state["history"])
            if metric in history:
                parts.append(history.set_index("step")[metric].dropna())
    if not parts:
        return pd.DataFrame(columns=["x", "mean", "sd"])
    seeds = pd.concat(parts, axis=1)
    sd = seeds.std(axis=1).fillna(0.0)
    return pd.DataFrame({"x": seeds.index, "mean": seeds.mean(axis=1), "sd": sd})


def panels_of(
    results: Results, trials: Path, panels: Mapping[str, tuple[str, Iterable[str], str]]
) -> dict[str, dict[str, pd.DataFrame]]:
    """Curves by title for each panel of (group, methods, metric); methods without one left out."""
    found = {}
    for panel, (group, methods, metric) in panels.items():
        titles = results.titles(group)
        curves = {
            titles[method]: curves_of(results, trials, group, method, metric)
            for method in methods
            if method in titles
        }
        found[panel] = {title: curve for title, curve in curves.items() if len(curve)}
    return found


def mean_sd(values: pd.Series, digits: int = 2) -> str:
    """`0.94 ± 0.01`, without ± for a single value, – for none."""
    if not len(values):
        return MISSING
    mean, sd = (number(value, f".{digits}f") for value in (values.mean(), values.std()))
    return mean if len(values) == 1 else f"{mean} ± {sd}"


def markdown(table: pd.DataFrame) -> str:
    """A table in Markdown."""
    head = "| " + " | ".join(map(str, table.columns)) + " |"
    rule = "|" + "---|" * len(table.columns)
    rows = ["| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)]
    return "\n".join([head, rule, *rows])
