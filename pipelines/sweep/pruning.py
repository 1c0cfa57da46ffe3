"""Ending trials that fall behind: ASHA on the step, by the looks at the validation videos."""

from dataclasses import dataclass
from typing import Any, Literal

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from pipelines.config import ConfigError, RunConfig
from pipelines.sweep.ledger import Ledger

Scheduler = Literal["asha", "none"]
REDUCTION = 3
"""ASHA keeps the best third of the trials at every rung."""


def check_looks(scheduler: Scheduler, config: RunConfig) -> None:
    """Whether there is anything to end a trial by.

    Raises:
        ConfigError: if the only look is the last.
    """
    steps, every = config.train.steps, config.train.checkpoint_every
    if scheduler == "asha" and steps <= every:
        raise ConfigError(
            f"ASHA judges trials by their looks at the validation videos, and "
            f"train.checkpoint_every={every} leaves none before the last of "
            f"train.steps={steps}; set it to {max(1, steps // 9)}, or use --scheduler none"
        )


def scheduler_of(scheduler: Scheduler, config: RunConfig, ledger: Ledger) -> TrialScheduler:
    """Tune's scheduler, knowing what it knew before the sweep was cut off."""
    if scheduler == "none":
        return FIFOScheduler()
    assert ledger.sweep is not None
    asha: Any = ASHAScheduler(
        time_attr="step",
        metric="score",
        mode=ledger.sweep.mode,
        grace_period=config.train.checkpoint_every,
        max_t=config.train.steps - 1,  # who has trained to the end is not ended before its probes
        reduction_factor=REDUCTION,
        stop_last_trials=False,
    )
    for trial in ledger.all_trials():
        if trial.has_ended and not trial.is_baseline:
            known = _Known(trial.name)
            asha.on_trial_add(None, known)
            for step, score in sorted(trial.looks.items()):
                asha.on_trial_result(None, known, {"step": step, "score": score})
    scheduler_with_memory: TrialScheduler = asha
    return scheduler_with_memory


@dataclass(frozen=True)
class _Known:
    """All that ASHA asks of a trial."""

    trial_id: str
