"""What an experiment is: arms to compare, each with several seeds."""

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.config.run import ConfigError, RunConfig
from pipelines.experiments.arm import Arm
from pipelines.experiments.page import Page
from pipelines.experiments.results import Results
from pipelines.experiments.tuning import Tuning
from pipelines.storage.folder import Folder


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Arms, how a trial of one runs, and how all of them are reported.

    Attributes:
        name: of its page and its run in MLflow.
        config: what the arms vary.
        arms: in the order in which they run.
        num_seeds: seeds of each arm; they count from the config's seed.
        metric: shown while it runs.
        trial: what Tune runs, a function of a module.
        prepare: makes the data under a folder, or completes it, and returns the config.
        report: the page of the trials so far, whose folders are in the folder given.
        tuning: which settings are tried for each arm before the arms run; None: none.
    """

    name: str
    config: RunConfig
    arms: tuple[Arm, ...]
    num_seeds: int
    metric: str
    trial: Callable[..., None]
    prepare: Callable[[RunConfig, Folder], RunConfig]
    report: Callable[[Results, Path], Page]
    tuning: Tuning | None = None

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ConfigError(f"{self.name}: arms must differ by name; twice: {sorted(twice)}")

    @property
    def num_trials(self) -> int:
        """Trials of all arms."""
        return sum(map(self.seeds_of, self.arms))

    def seeds_of(self, arm: Arm) -> int:
        """How many seeds an arm is run with."""
        return arm.num_seeds or self.num_seeds

    def of_tuning(self) -> "Experiment":
        """The trials of the tuning as an experiment of its own."""
        assert self.tuning is not None
        return replace(
            self,
            name=f"{self.name}-tuning",
            arms=self.tuning.arms(self.arms),
            metric=self.tuning.metric,
            num_seeds=1,
            tuning=None,
        )

    def only(self, patterns: Sequence[str]) -> "Experiment":
        """The experiment with the arms whose names match any of the patterns, such as complex.*.

        Raises:
            ConfigError: if a pattern matches none, naming the arms, or an arm takes the tuning of
                one that is not chosen.
        """
        names = [arm.name for arm in self.arms]
        for pattern in patterns:
            if not fnmatch.filter(names, pattern):
                raise ConfigError(
                    f"no arm {pattern!r} in {self.name}; there are {', '.join(names)}"
                )
        chosen = {name for pattern in patterns for name in fnmatch.filter(names, pattern)}
        taken = self.tuning.taken_from if self.tuning else {}
        lacking = {taken[name] for name in chosen if name in taken} - chosen
        if lacking:
            raise ConfigError(
                f"{', '.join(patterns)}: these arms take the tuning of "
                f"{', '.join(sorted(lacking))}; choose those too"
            )
        return replace(self, arms=tuple(arm for arm in self.arms if arm.name in chosen))

    def with_seeds(self, num_seeds: int) -> "Experiment":
        """The experiment with as many seeds for every arm."""
        arms = tuple(replace(arm, num_seeds=None) for arm in self.arms)
        return replace(self, num_seeds=num_seeds, arms=arms)
