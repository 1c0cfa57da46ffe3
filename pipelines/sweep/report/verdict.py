"""What a sweep says in plain sentences; the rules behind them are those of `robustness`."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from pipelines.sweep.report.axes import Axis, join, value_text
from pipelines.sweep.report.results import Results, setting_name
from pipelines.sweep.report.robustness import ALPHA, Along, Noise, along, seed_noise
from pipelines.trials.records import SettingScore

_EDGE_SHARE = 0.1
"""Share of a logarithmic range at each end that counts as its edge."""


def sentences(results: Results) -> list[str]:
    """The findings, the most important first."""
    rests_on = f"This rests on {results.counts}. The metric is {results.metric}; {results.better}."
    if not results.settings:
        return [f"No setting has a finished trial with {results.metric}: no result yet.", rests_on]
    noise = seed_noise(results.settings)
    ways = []
    if noise and noise.is_exceeded:
        ways = [way for axis in results.axes if (way := along(results, noise, axis))]
    said = [*_region(results, noise, ways), _best(results), _against_baseline(results)]
    said += [_between_settings(results, noise)]
    if noise and ways:
        said.append(
            "A value is called robust if the mean over all settings with it lies within one "
            f"standard deviation of the seeds, {results.show(noise.sd)}, of the best value's mean."
        )
        said += [_along(results, noise, way) for way in ways]
    said += [s for axis in results.axes if (s := _edge(results, noise, axis))]
    said.append(rests_on)
    if any(trial.state == "pruned" for trial in results.trials):
        said.append(
            "Pruned trials are in no mean, for they were stopped early: where many were pruned, "
            "what is left looks better than the region is."
        )
    return said


def _region(results: Results, noise: Noise | None, ways: Sequence[Along]) -> list[str]:
    """The robust values of all keys together, and how the settings in there do."""
    if noise is None:
        return []
    if not noise.is_exceeded:
        return [
            "No region stands out: the settings do not differ by more than their seeds do, so "
            "any value of each key is as good as another, as far as these trials show."
        ]
    narrowing = [way for way in ways if way.worse]
    if not narrowing:
        return [
            "No region stands out: the settings differ, but no value of any one key is clearly "
            "worse than that key's best."
        ]
    parts = [f"{way.axis.label} {_runs(way.axis, way.robust)}" for way in narrowing]
    text = f"Robust region: {', '.join(parts)}"
    narrowed = {way.axis.key for way in narrowing}
    free = [axis.label for axis in results.axes if axis.key not in narrowed]
    if free:
        text += f" ({join(free, 'and')} {'have' if len(free) > 1 else 'has'} no clear effect)"
    inside = [
        setting
        for setting in results.settings
        if all(way.axis.cell(setting.params) in way.robust for way in narrowing)
    ]
    outside = [setting for setting in results.settings if setting not in inside]
    if not inside:
        return [f"{text}. No setting that was tried lies in all of it."]
    text += f". Mean of the {_settings(len(inside))} inside: {_mean(inside, results)}"
    text += f", of the {len(outside)} outside: {_mean(outside, results)}" if outside else ""
    base = results.baseline
    return [f"{text}; baseline: {results.show(base.mean)}." if base else f"{text}."]


def _best(results: Results) -> str:
    best = results.settings[0]
    seeds = len(best.values)
    over = f"over {seeds} seeds" if seeds > 1 else "with a single seed"
    missing = "" if best.is_complete else f" of {best.num_seeds}; no setting has all its seeds"
    return (
        f"Best setting: {setting_name(best.setting)} ({results.describe(best.params)}) with "
        f"{results.metric} {results.show_score(best)} {over}{missing}."
    )


def _against_baseline(results: Results) -> str:
    best, baseline = results.settings[0], results.baseline
    if baseline is None:
        planned = results.sweep.baseline is not None
        return (
            "The baseline has no finished trial, so nothing is known of a gain over it."
            if planned
            else "The sweep has no baseline to compare with."
        )
    gain = results.gain(best.mean, baseline.mean)
    both = f"{results.show_score(best)} against {results.show_score(baseline)}"
    course = "better" if gain > 0 else "worse"
    said = f"The best setting is {results.show(abs(gain))} {course} than the baseline ({both})"
    if gain == 0:
        said = f"The best setting is as good as the baseline ({both})"
    if best.sd is None or baseline.sd is None:
        return f"{said}; with one seed on a side, whether that is more than noise is not known."
    if best.sd == baseline.sd == 0:
        return f"{said}; the seeds of both agree exactly, so there is no noise to compare with."
    p = float(stats.ttest_ind(best.values, baseline.values, equal_var=False).pvalue)
    if p >= ALPHA:
        return f"{said}: not more than the noise of the seeds (Welch's t-test, {_p(p)})."
    said += f": more than the noise of the seeds (Welch's t-test, {_p(p)})"
    if gain > 0 and len(results.settings) > 1:  # the test knows nothing of the choice
        said += (
            f"; it was picked as the best of {len(results.settings)}, so expect less of a new run"
        )
    return f"{said}."


def _between_settings(results: Results, noise: Noise | None) -> str:
    if noise is None:
        if all(s.num_seeds == 1 for s in results.settings):
            return (
                "Each setting has one seed, so the noise between seeds is not known, and nothing "
                "can be said of which region is robust: sweep with two seeds or more."
            )
        return (
            "Fewer than two settings have two finished seeds, so the noise between seeds is not "
            "known, and nothing can be said of which region is robust."
        )
    verb = "differ" if noise.is_exceeded else "do not differ"
    return (
        f"The settings {verb} by more than their seeds do (one-way ANOVA over {noise.num_settings} "
        f"settings with two seeds or more: F = {noise.f:.3g}, {_p(noise.p)}; sd of the seeds "
        f"{results.show(noise.sd)})."
    )


def _along(results: Results, noise: Noise, way: Along) -> str:
    """Where along one key the metric holds, and where it falls off."""
    axis, best, worst = way.axis, way.best, way.worst
    best_at = axis.cell_text(best.cell)
    best_mean = f"(mean {results.show(best.mean)} of {_settings(best.num_settings)})"
    if not (way.worse or way.unclear):
        what = "bins" if axis.edges else "values"
        return (
            f"{axis.label} hardly matters by itself: the means of all {len(way.robust)} {what} lie "
            f"within one sd of the seeds of the best, {best_at} {best_mean}."
        )
    text = f"{axis.label}: robust at {_runs(axis, way.robust)}"
    text += f", best at {best_at} {best_mean}" if len(way.robust) > 1 else f" {best_mean}"
    if way.worse:
        loss = results.gain(best.mean, worst.mean)
        times = f", {loss / noise.sd:.1f} sd of the seeds" if noise.sd else ""
        most = f", most at {axis.cell_text(worst.cell)}" if len(way.worse) > 1 else ""
        text += (
            f"; falls off at {_runs(axis, way.worse)}{most} (mean {results.show(worst.mean)} of "
            f"{_settings(worst.num_settings)}, {results.show(loss)} worse{times})"
        )
    if way.unclear:
        text += f"; unclear at {_runs(axis, way.unclear)}, where the settings are too few or too "
        text += "unlike in the rest"
    return f"{text}."


def _edge(results: Results, noise: Noise | None, axis: Axis) -> str | None:
    """Advice where the best setting has one of the last values of a range."""
    value = results.settings[0].params.get(axis.key)
    if axis.limits is None or not isinstance(value, int | float):
        return None
    low, high = axis.limits
    if axis.is_log:
        share = math.log(value / low) / math.log(high / low)
        is_low, is_high = share <= _EDGE_SHARE, share >= 1 - _EDGE_SHARE
    else:  # of two values each is an edge, which says nothing; nothing lies below 0
        is_low = value == low != 0 and len(axis.values) > 2
        is_high = value == high and len(axis.values) > 2
    if not (is_low or is_high):
        return None
    chance = "" if noise and noise.is_exceeded else ", though which setting is best may be chance"
    return (
        f"The best setting's {axis.label}, {value_text(value)}, lies at the "
        f"{'lower' if is_low else 'upper'} edge of its range ({value_text(low)} to "
        f"{value_text(high)}): widen the range {'downwards' if is_low else 'upwards'}{chance}."
    )


def _runs(axis: Axis, cells: set[int]) -> str:
    """Some cells of an axis in words, neighbours together."""
    runs: list[list[int]] = []
    for cell in sorted(cells):
        if runs and runs[-1][-1] == cell - 1 and (axis.edges or axis.limits):
            runs[-1].append(cell)
        else:
            runs.append([cell])
    return join([axis.cell_text(run[0], run[-1]) for run in runs], "or")


def _mean(settings: Sequence[SettingScore], results: Results) -> str:
    return results.show(float(np.mean([s.mean for s in settings])))


def _settings(num: int) -> str:
    return f"{num} setting{'s' if num != 1 else ''}"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
