"""Tuning of an experiment's arms: for each as many settings, tried on validation videos."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from pipelines.config.run import ConfigError
from pipelines.experiments.arm import Arm, Settings
from pipelines.experiments.results import Results
from pipelines.numbers import number
from pipelines.trials.trial import SPLIT

STEPS = "train.steps"
"""Which every arm that is tuned must set."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The settings to choose from.

    Attributes:
        alternatives: for each method, as many as for any other.
        changes: what the trials of the tuning change too, beside the split that judges them.
        shorter: by how much their steps are divided.
        metric: of validation videos; the highest is chosen.
        taken_from: arms that are not tuned, but get what was chosen for another, but for what they
            change of it themselves; both by name.
    """

    alternatives: Mapping[str, Sequence[Settings]]
    shorter: int
    metric: str
    changes: Settings = field(default_factory=dict)
    taken_from: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes = {method: len(settings) for method, settings in self.alternatives.items()}
        if len(set(sizes.values())) > 1:
            raise ConfigError(f"the methods are not tuned alike; settings of each: {sizes}")

    def arms(self, arms: Sequence[Arm]) -> tuple[Arm, ...]:
        """A trial for each setting of each arm."""
        return tuple(
            replace(
                arm,
                method=_name(arm.method, i),
                title=described(settings),
                settings={
                    **self._shortened(arm.settings),
                    SPLIT: "val",
                    **self.changes,
                    **settings,
                },
                num_seeds=1,
            )
            for arm in self._tuned(arms)
            for i, settings in enumerate(self.alternatives[arm.method])
        )

    def _shortened(self, settings: Settings) -> Settings:
        return {**settings, STEPS: max(1, int(settings[STEPS]) // self.shorter)}

    def chosen(self, arms: Sequence[Arm], results: Results) -> tuple[Arm, ...]:
        """The arms with the settings that were best for each.

        Raises:
            ConfigError: if no trial of an arm has finished.
        """
        tuned = {arm.name: arm for arm in self._tuned(arms)}
        best = {name: self._best(arm, results) for name, arm in tuned.items()}

        def settings_of(arm: Arm) -> Settings:
            taken = tuned[self.taken_from.get(arm.name, arm.name)]
            own = dict(arm.settings.items() - taken.settings.items())
            return {**arm.settings, **best[taken.name], **own}

        return tuple(replace(arm, settings=settings_of(arm)) for arm in arms)

    def _tuned(self, arms: Sequence[Arm]) -> list[Arm]:
        return [arm for arm in arms if arm.name not in self.taken_from]

    def _best(self, arm: Arm, results: Results) -> Settings:
        settings = self.alternatives[arm.method]
        scores = [
            results.mean(arm.group, _name(arm.method, i), self.metric) for i in range(len(settings))
        ]
        if all(map(math.isnan, scores)):
            raise ConfigError(
                f"{arm.name}: no setting of its tuning has a {self.metric}; see why its trials "
                "failed, and give the same command again"
            )
        return settings[int(np.nanargmax(scores))]

    def table(self, arms: Sequence[Arm], results: Results) -> pd.DataFrame:
        """One row for each tuned arm: its settings with their scores, the best in bold."""
        rows = []
        for arm in self._tuned(arms):
            best = self._best(arm, results)
            cells = {}
            for i, settings in enumerate(self.alternatives[arm.method]):
                score = results.mean(arm.group, _name(arm.method, i), self.metric)
                text = f"{described(settings)}: {number(score, '.3f')}"
                cells[f"setting {i + 1}"] = f"**{text}**" if settings == best else text
            rows.append({"group": arm.group, "method": arm.title, **cells})
        return pd.DataFrame(rows)


def _name(method: str, number: int) -> str:
    return f"{method}-{number + 1}"


def described(settings: Settings) -> str:
    """Settings in a line: `beta=0.1, temperature=0.1`."""
    return ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in settings.items())
