"""The noise of the seeds, and which values of a key are robust by it.

*Noise* is the standard deviation over seeds, pooled over all settings that have two finished
seeds or more. A value of a key, or a bin, is

* *robust* if the mean over all settings with it lies within one such deviation of the best
  value's mean;
* one where the metric *falls off* if it is farther away than that, and also farther than the
  settings of one value scatter among themselves (a t-test of the two means, the scatter pooled
  over all values, the chance of error shared out over them: a search at random gives no two
  values the same company);
* *unclear* otherwise, or if a single setting has it while other keys vary as well.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from pipelines.sweep.report.axes import Axis
from pipelines.sweep.report.results import Results
from pipelines.trials.records import SettingScore

ALPHA = 0.05
"""The chance of error below which a difference counts as more than noise."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How far the seeds of one setting lie apart, and whether the settings lie farther apart."""

    sd: float
    """Pooled over the settings, weighted by their degrees of freedom."""
    freedom: int
    """Degrees of freedom of that deviation."""
    num_settings: int
    """Settings with two or more finished seeds."""
    f: float
    p: float
    """Of a one-way analysis of variance over those settings."""

    @property
    def is_exceeded(self) -> bool:
        """Whether the settings differ by more than their seeds do."""
        return self.p < ALPHA


@dataclass(frozen=True, kw_only=True)
class Level:
    """The settings in one cell of an axis."""

    cell: int
    means: tuple[float, ...]
    """Each setting's mean over its seeds."""
    num_trials: int
    """Finished trials of these settings."""

    @property
    def mean(self) -> float:
        """Of the settings' means, each counting the same."""
        return float(np.mean(self.means))

    @property
    def num_settings(self) -> int:
        """How many settings there are."""
        return len(self.means)


@dataclass(frozen=True, kw_only=True)
class Along:
    """The cells of one axis that have settings, by how they compare with the best one."""

    axis: Axis
    best: Level
    robust: set[int]
    worse: set[int]
    unclear: set[int]
    worst: Level
    """Of those that are worse; the best one where none is."""


def caution(noise: Noise | None) -> str:
    """What to keep in mind when one sees the settings differ; empty if they do beyond noise."""
    if noise is None:
        return "How much of the differences is noise is not known: too few settings have two seeds."
    if noise.is_exceeded:
        return ""
    return "The settings differ no more than their seeds do: what is seen here is noise."


def seed_noise(settings: Sequence[SettingScore]) -> Noise | None:
    """The noise of the seeds; None unless two settings have two finished seeds."""
    repeated = [setting.values for setting in settings if len(setting.values) > 1]
    if len(repeated) < 2:
        return None
    freedom = sum(len(values) - 1 for values in repeated)
    within = sum((len(values) - 1) * float(np.var(values, ddof=1)) for values in repeated)
    sd = math.sqrt(within / freedom)
    if any(max(values) > min(values) for values in repeated):
        f, p = (float(number) for number in stats.f_oneway(*repeated))
    else:  # no noise at all: any difference between settings is more than that
        f, p = (math.inf, 0.0) if len(set(repeated)) > 1 else (0.0, 1.0)
    return Noise(sd=sd, freedom=freedom, num_settings=len(repeated), f=f, p=p)


def levels(results: Results, axis: Axis) -> list[Level]:
    """Each cell of an axis that has settings, in the order of the axis."""
    found: dict[int, list[SettingScore]] = {}
    for setting in results.settings:
        cell = axis.cell(setting.params)
        if cell is not None:
            found.setdefault(cell, []).append(setting)
    return [
        Level(
            cell=cell,
            means=tuple(s.mean for s in group),
            num_trials=sum(len(s.values) for s in group),
        )
        for cell, group in sorted(found.items())
    ]


def along(results: Results, noise: Noise, axis: Axis) -> Along | None:
    """How the cells of an axis compare; None where there are too few settings to say."""
    found = levels(results, axis)
    is_alone = len(results.axes) == 1
    firm = [level for level in found if is_alone or level.num_settings > 1]
    if len(found) < 2 or not firm:
        return None
    best = max(firm, key=lambda level: results.gain(level.mean, 0.0))
    robust, worse = set(), set()
    for level in firm:
        loss = results.gain(best.mean, level.mean)
        if loss <= noise.sd:
            robust.add(level.cell)
        elif loss > _scatter(found, best, level, noise, is_alone=is_alone):
            worse.add(level.cell)
    return Along(
        axis=axis,
        best=best,
        robust=robust,
        worse=worse,
        unclear={level.cell for level in found} - robust - worse,
        worst=max(
            (level for level in firm if level.cell in worse),
            key=lambda level: results.gain(best.mean, level.mean),
            default=best,
        ),
    )


def _scatter(
    found: Sequence[Level], one: Level, other: Level, noise: Noise, *, is_alone: bool
) -> float:
    """The difference between two levels' means that chance alone would seldom exceed."""
    freedom = sum(level.num_settings - 1 for level in found)
    squares = sum((mean - level.mean) ** 2 for level in found for mean in level.means)
    share = 1 / one.num_settings + 1 / other.num_settings
    if freedom == 0 and is_alone:  # a grid over one key: the seeds are all that scatters
        freedom, squares = noise.freedom, noise.freedom * noise.sd**2
        share = 1 / one.num_trials + 1 / other.num_trials
    if freedom == 0:
        return math.inf
    chance = ALPHA / (len(found) - 1)  # every other level is compared with the best one
    quantile = float(stats.t.ppf(1 - chance / 2, freedom))
    return quantile * math.sqrt(squares / freedom * share)
