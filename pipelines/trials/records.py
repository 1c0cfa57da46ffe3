"""What is known of a sweep and of each of its trials: records that go to JSON and back."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pipelines.numbers import plural

Value = bool | int | float | str
TrialState = Literal["waiting", "running", "finished", "pruned", "failed"]
BASELINE = -1
"""The number of the setting that all others are compared with."""
_OLD_NAMES = {
    "looks": "validations",
    "first": "first_settings",
    "names": "setting_names",
    "seeds": "seeds_of_settings",
}
"""Fields of the records as folders of older versions have them."""


@dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """What must not change under one name, and where MLflow keeps it."""

    space: str
    metric: str
    mode: Literal["min", "max"]
    sampled: Mapping[str, Any]
    """The space's ranges, by the dotted key of the config."""
    baseline: Mapping[str, Value] | None
    first_settings: Sequence[Mapping[str, Value]] = ()
    """The settings that are tried before any others; of an experiment, all of them."""
    search: Literal["random", "grid", "tpe"]
    scheduler: Literal["asha", "none"]
    num_settings: int
    num_seeds: int
    setting_names: Sequence[str] = ()
    """One for each setting, as an experiment's arms have; else they go by their numbers."""
    seeds_of_settings: Sequence[int] = ()
    """How many seeds each setting has, where they differ; else all have `num_seeds`."""
    config: Mapping[str, Any]
    """The config around which the settings vary."""
    data_digest: str
    tracking_uri: str = ""
    mlflow_run_id: str | None = None

    def seeds_of(self, setting: int) -> int:
        """How many seeds a setting is tried with."""
        own = self.seeds_of_settings
        return own[setting] if own and setting >= 0 else self.num_seeds

    @property
    def numbers(self) -> range:
        """The settings' numbers, the baseline's first where there is one."""
        return range(0 if self.baseline is None else BASELINE, self.num_settings)

    @property
    def size(self) -> str:
        """What makes up its trials, in words."""
        if own := self.seeds_of_settings:
            most = plural(max(own), "seed")
            seeds = most if min(own) == max(own) else f"{min(own)} to {most}"
            return f"{plural(self.num_settings, 'arm')} × {seeds}"
        baseline = f" and the baseline × {self.num_seeds}" if self.baseline is not None else ""
        settings = plural(self.num_settings, "setting")
        return f"{settings} × {plural(self.num_seeds, 'seed')}{baseline}"

    @property
    def num_trials(self) -> int:
        """Trials in all."""
        return sum(self.seeds_of(number) for number in self.numbers)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "SweepRecord":
        """From plain JSON, also as older versions named its fields."""
        return cls(**{_OLD_NAMES.get(key, key): value for key, value in content.items()})


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One setting with one seed."""

    name: str
    """Its folder under `trials/`, such as 003-s1, or base-s1."""
    setting: int
    """Number of the setting in the order in which they were chosen, or BASELINE."""
    seed: int
    params: Mapping[str, Value]
    """The values at the sampled keys; for the baseline those that make it the baseline."""
    state: TrialState = "waiting"
    reason: str = ""
    """Why it was pruned or has failed."""
    failures: int = 0
    """Commands in which it failed for good."""
    step: int = 0
    num_steps: int = 0
    started: float | None = None
    """When its newest process began, seconds since the epoch."""
    first_step_seconds: float | None = None
    """From the start of its newest process to the first step."""
    seconds: float = 0.0
    """Run time over all its processes."""
    validations: Mapping[int, float] = field(default_factory=dict)
    """The sweep's metric at the steps at which it was reported."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The last known value of each metric; of a finished trial, its final ones."""
    mlflow_run_id: str | None = None

    @property
    def is_baseline(self) -> bool:
        """Whether it is what the settings are compared with."""
        return self.setting == BASELINE

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is to be done for it."""
        return self.state in ("finished", "pruned")

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "TrialRecord":
        """From plain JSON, also as older versions named its fields."""
        fields = {_OLD_NAMES.get(key, key): value for key, value in content.items()}
        by_step = {int(step): value for step, value in fields["validations"].items()}
        return cls(**{**fields, "validations": by_step})


@dataclass(frozen=True, kw_only=True)
class SettingScore:
    """One setting over the seeds that finished."""

    setting: int
    params: Mapping[str, Value]
    values: tuple[float, ...]
    """The metric of each finished seed."""
    num_seeds: int
    """Seeds that were to run."""

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float | None:
        """Standard deviation of the sample of seeds; None for a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def is_complete(self) -> bool:
        """Whether every seed finished."""
        return len(self.values) == self.num_seeds


def scores(trials: Sequence[TrialRecord], metric: str) -> list[SettingScore]:
    """Each setting with at least one finished seed, by its number, the baseline first."""
    found: dict[int, list[TrialRecord]] = {}
    for trial in trials:
        found.setdefault(trial.setting, []).append(trial)
    result = []
    for setting, group in sorted(found.items()):
        values = [t.metrics[metric] for t in group if t.state == "finished" and metric in t.metrics]
        if values:
            result.append(
                SettingScore(
                    setting=setting,
                    params=group[0].params,
                    values=tuple(values),
                    num_seeds=len(group),
                )
            )
    return result


def ranked(settings: Sequence[SettingScore], mode: Literal["min", "max"]) -> list[SettingScore]:
    """The settings but for the baseline, the best mean first, incomplete ones after all others."""
    sign = -1 if mode == "max" else 1
    own = [s for s in settings if s.setting != BASELINE]
    return sorted(own, key=lambda s: (not s.is_complete, sign * s.mean))
