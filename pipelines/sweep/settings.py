"""Which setting a sweep tries next: random, grid, or Optuna's TPE.

A setting is decided once, from the sweep's seed, its number and, for TPE, the scores known at that
moment. Whoever asks writes the answer down, so that a sweep that was cut off goes on with it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

import tune_spaces
from pipelines.config.run import ConfigError
from pipelines.trials.records import BASELINE, TrialRecord, Value
from tune_spaces import Choice, Range, Space

Search = Literal["random", "grid", "tpe"]
STARTUP_SETTINGS = 5
"""Settings that TPE draws at random before it trusts its estimate."""
_TRIES = 100


def load_space(
    name: str, *, recipe: str | None, metric: str | None, mode: Literal["min", "max"] | None
) -> Space:
    """A space of `tune_spaces`, around another recipe or judged otherwise where that is asked.

    Raises:
        ConfigError: naming the spaces there are; for a metric of which the better side is unknown.
    """
    try:
        space = tune_spaces.load(name)
    except KeyError as error:
        raise ConfigError(str(error.args[0])) from None
    if metric and metric != space.metric and mode is None:
        raise ConfigError(f"--metric {metric}: say with --mode max or min which way is better")
    return replace(
        space,
        recipe=recipe or space.recipe,
        metric=metric or space.metric,
        mode=mode or space.mode,
    )


def num_settings(space: Space, search: Search, num_trials: int | None, num_seeds: int) -> int:
    """How many settings make that many trials.

    Raises:
        ConfigError: if the trials do not divide among the seeds, or are not those of the grid.
    """
    grid = len(space.grid())
    if search == "grid":
        if num_trials not in (None, grid * num_seeds):
            raise ConfigError(
                f"--search grid has {grid} settings × {num_seeds} seeds = {grid * num_seeds} "
                f"trials; leave --num-trials={num_trials} out, or use --search random"
            )
        return grid
    num_trials = 16 if num_trials is None else num_trials
    if num_trials % num_seeds:
        raise ConfigError(
            f"--num-trials={num_trials} does not divide among --seeds={num_seeds}; "
            f"the next that does is {-(-num_trials // num_seeds) * num_seeds}"
        )
    return num_trials // num_seeds


def decide(
    space: Space, search: Search, number: int, *, seed: int, trials: Sequence[TrialRecord] = ()
) -> dict[str, Value]:
    """The setting of that number; `trials` are those of the settings before it, in any state."""
    if search == "grid":
        return dict(space.grid()[number])
    if number < len(space.first):
        return dict(space.first[number])
    taken = {_key(trial.params) for trial in trials}
    for attempt in range(_TRIES):
        setting = _ask(space, search, seed=hash((seed, number, attempt)) % 2**32, trials=trials)
        if _key(setting) not in taken:
            break
    return setting


def distributions(sampled: Mapping[str, Range]) -> dict[str, BaseDistribution]:
    """A space's ranges as Optuna's."""
    return {
        key: CategoricalDistribution(range_.values)
        if isinstance(range_, Choice)
        else FloatDistribution(range_.low, range_.high, log=True)
        for key, range_ in sampled.items()
    }


def study_of(
    space: Space, trials: Iterable[TrialRecord], sampler: BaseSampler | None = None
) -> optuna.Study:
    """Optuna's view of a sweep: one trial a setting, scored by the mean over its seeds."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize" if space.mode == "max" else "minimize", sampler=sampler
    )
    groups: dict[int, list[TrialRecord]] = {}
    for trial in trials:
        if trial.setting != BASELINE:
            groups.setdefault(trial.setting, []).append(trial)
    known = distributions(space.sampled)
    for _, group in sorted(groups.items()):
        study.add_trial(_as_optuna(group, known, space.metric))
    return study


def _ask(
    space: Space, search: Search, *, seed: int, trials: Sequence[TrialRecord]
) -> dict[str, Value]:
    sampler: BaseSampler = RandomSampler(seed=seed)
    if search == "tpe":
        sampler = TPESampler(
            seed=seed, n_startup_trials=STARTUP_SETTINGS, multivariate=True, constant_liar=True
        )
    study = study_of(space, trials if search == "tpe" else (), sampler)
    return dict(study.ask(distributions(space.sampled)).params)


def _as_optuna(
    group: Sequence[TrialRecord], known: dict[str, BaseDistribution], metric: str
) -> FrozenTrial:
    """Finished, with its mean; else pruned with its validations, failed, or still running."""
    params: dict[str, Any] = dict(group[0].params)
    finished = [t.metrics[metric] for t in group if t.state == "finished" and metric in t.metrics]
    common: dict[str, Any] = {"params": params, "distributions": known}
    if finished:
        return create_trial(value=sum(finished) / len(finished), **common)
    pruned = [t for t in group if t.state == "pruned"]
    if pruned:  # without a validation, if by an alarm before it: that counts as the worst
        known_values = {s: v for t in pruned for s, v in t.validations.items()}
        return create_trial(state=TrialState.PRUNED, intermediate_values=known_values, **common)
    if all(t.state == "failed" for t in group):
        return create_trial(state=TrialState.FAIL, **common)
    return create_trial(state=TrialState.RUNNING, **common)


def _key(params: Mapping[str, Value]) -> tuple[tuple[str, Value], ...]:
    return tuple(sorted(params.items()))
