"""Ending trials that fall behind: ASHA on the step, by their validations."""

from dataclasses import dataclass
from typing import Any, Literal

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from pipelines.config.run import ConfigError, RunConfig
from pipelines.trials.store import TrialStore
from tune_spaces import Space

Scheduler = Literal["asha", "none"]
REDUCTION = 3
"""ASHA keeps the best third of the trials at every rung."""


def first_rung(config: RunConfig, space: Space) -> int:
    """The step before which no trial is ended: a ninth of the run, and no β still warming up.

    Raises:
        ConfigError: if no validation lies between it and the end.
    """
    steps, every = config.train.steps, config.train.checkpoint_every
    key = "method.beta_warmup_steps"
    warmups = [int(point[key]) for point in space.grid() if key in point]
    longest = max(warmups, default=config.method.beta_warmup_steps)
    grace = max(every, steps // 9, longest)
    if -(-grace // every) * every >= steps:
        raise ConfigError(
            f"ASHA ends trials by their validations, and with "
            f"train.steps={steps}, train.checkpoint_every={every} and a β warm-up of up to "
            f"{longest} steps there is none between the warm-up and the end: train longer, "
            "validate more often, or use --scheduler none"
        )
    return grace


def scheduler_of(
    scheduler: Scheduler, config: RunConfig, space: Space, store: TrialStore
) -> TrialScheduler:
    """Tune's scheduler, knowing what it knew before the sweep was cut off.

    Raises:
        ConfigError: if there is nothing to end a trial by.
    """
    if scheduler == "none":
        return FIFOScheduler()
    asha: Any = ASHAScheduler(
        time_attr="step",
        metric="score",
        mode=space.mode,
        grace_period=first_rung(config, space),
        max_t=config.train.steps - 1,  # who has trained to the end is not ended before its probes
        reduction_factor=REDUCTION,
        stop_last_trials=False,
    )
    for trial in store.all_trials():
        if trial.has_ended and not trial.is_baseline:
            known = _Known(trial.name)
            asha.on_trial_add(None, known)
            for step, score in sorted(trial.validations.items()):
                asha.on_trial_result(None, known, {"step": step, "score": score})
    scheduler_with_memory: TrialScheduler = asha
    return scheduler_with_memory


@dataclass(frozen=True)
class _Known:
    """All that ASHA asks of a trial."""

    trial_id: str
