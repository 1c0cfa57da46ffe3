"""What a sweep found, in the form that its pictures, its page and its sentences share."""

import difflib
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from pipelines.config.run import ConfigError
from pipelines.numbers import number
from pipelines.sweep.report.axes import Axis, axes_of, value_text
from pipelines.trials.records import (
    BASELINE,
    SettingScore,
    SweepRecord,
    TrialRecord,
    TrialState,
    Value,
    ranked,
    scores,
)


@dataclass(frozen=True, kw_only=True)
class Results:
    """Every trial, every setting's score, and the axes along which the settings vary."""

    name: str
    sweep: SweepRecord
    metric: str
    mode: Literal["min", "max"]
    trials: tuple[TrialRecord, ...]
    """All of them; values that are no numbers have been taken out of their metrics."""
    settings: tuple[SettingScore, ...]
    """Those with a finished seed, the best first; the baseline is not among them."""
    baseline: SettingScore | None
    """None if there is none, or none of its seeds has finished."""
    axes: tuple[Axis, ...]

    def gain(self, value: float, other: float) -> float:
        """By how much the value is better than the other; negative if it is worse."""
        return value - other if self.mode == "max" else other - value

    def value(self, trial: TrialRecord) -> float | None:
        """The metric with which a trial finished; None if it did not, or has none."""
        return trial.metrics.get(self.metric) if trial.state == "finished" else None

    @property
    def unscored(self) -> list[TrialRecord]:
        """Trials that enter no mean."""
        return [trial for trial in self.trials if self.value(trial) is None]

    @property
    def counts(self) -> str:
        """How many trials there are in which state, in words."""
        num = {s: sum(t.state == s for t in self.trials) for s in get_args(TrialState)}
        shown = {"finished": num["finished"], "pruned": num["pruned"], "failed": num["failed"]}
        shown |= {state: num[state] for state in ("running", "waiting") if num[state]}
        parts = ", ".join(f"{n} {state}" for state, n in shown.items())
        of_baseline = sum(t.is_baseline for t in self.trials)
        extra = f" ({of_baseline} of the baseline)" if of_baseline else ""
        return f"{len(self.trials)} trials{extra}: {parts}"

    @property
    def better(self) -> str:
        """Which direction of the metric is good."""
        return "higher is better" if self.mode == "max" else "lower is better"

    def show(self, value: float) -> str:
        """A value of the metric with as many decimals as its spread over the settings deserves."""
        known = [v for s in self.settings for v in s.values]
        known += self.baseline.values if self.baseline else ()
        sizes = [abs(v) for v in known if v]
        if not sizes or statistics.median(sizes) < 1e-4:
            return f"{value:.3g}"
        spread = max(known) - min(known)
        wanted = [statistics.median(sizes), *([spread] if spread else [])]
        decimals = min(6, max(0, 2 - math.floor(math.log10(min(wanted)))))
        return number(value, f".{decimals}f")

    def show_score(self, score: SettingScore) -> str:
        """A mean with its standard deviation over the seeds, where that is known."""
        spread = "" if score.sd is None else f" ± {self.show(score.sd)}"
        return f"{self.show(score.mean)}{spread}"

    def describe(self, params: Mapping[str, Value]) -> str:
        """Values at the sampled keys, in words."""
        known = [(axis.label, params[axis.key]) for axis in self.axes if axis.key in params]
        return ", ".join(f"{label} {value_text(value)}" for label, value in known)


def collect(
    sweep: SweepRecord, trials: Sequence[TrialRecord], *, name: str, metric: str | None = None
) -> Results:
    """Bring the records of a sweep into order.

    Args:
        sweep: what was searched.
        trials: all trials, whatever their state.
        name: the sweep's.
        metric: what to judge by; None: the sweep's own metric.

    Raises:
        ConfigError: for a metric that no finished trial has, naming those there are.
    """
    finite = tuple(
        replace(t, metrics={m: v for m, v in t.metrics.items() if math.isfinite(v)}) for t in trials
    )
    metric = metric or sweep.metric
    if metric != sweep.metric:
        _check_metric(metric, finite)
    mode = sweep.mode
    if metric != sweep.metric:  # no record says which way another metric is good
        mode = "min" if "loss" in metric else "max"
    found = scores(finite, metric)
    settings = ranked(found, mode)
    axes = axes_of(
        sweep.sampled,
        [t.params for t in finite if not t.is_baseline],
        num_settings=len(settings),
        is_grid=sweep.search == "grid",
    )
    return Results(
        name=name,
        sweep=sweep,
        metric=metric,
        mode=mode,
        trials=finite,
        settings=tuple(settings),
        baseline=next((s for s in found if s.setting == BASELINE), None),
        axes=axes,
    )


def setting_name(setting: int) -> str:
    """A setting as it is called in its trials' names; the baseline by that word."""
    return "baseline" if setting == BASELINE else f"{setting:03d}"


def _check_metric(metric: str, trials: Sequence[TrialRecord]) -> None:
    known = sorted({name for t in trials if t.state == "finished" for name in t.metrics})
    if metric in known:
        return
    if not known:
        raise ConfigError(f"metric={metric}: no trial has finished yet, so none has it; wait")
    near = difflib.get_close_matches(metric, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? There are" if near else "there are"
    raise ConfigError(f"metric={metric}: no finished trial has it; {hint} {', '.join(known)}")
