"""When ASHA ends a trial, and that a new driver's ASHA knows what the last one's did."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from pipelines.config.run import ConfigError, RunConfig, with_overrides
from pipelines.storage.folder import Folder
from pipelines.sweep.pruning import first_rung, scheduler_of
from pipelines.trials.records import TrialRecord
from pipelines.trials.store import TrialStore
from tests.pipelines.sweep.test_settings import SPACE
from tests.pipelines.trials.test_store import SWEEP
from tune_spaces import Choice

CONFIG = with_overrides(
    RunConfig(),
    {"train.steps": 90, "train.checkpoint_every": 10, "method.beta_warmup_steps": 0},
)


@pytest.fixture
def store(tmp_path: Path) -> TrialStore:
    store = TrialStore(Folder(tmp_path / "sweep"))
    store.register(SWEEP)
    return store


def verdict(scheduler: Any, name: str, step: int, score: float) -> str:
    trial = SimpleNamespace(trial_id=name)
    if name not in scheduler._trial_info:
        scheduler.on_trial_add(None, trial)
    said: str = scheduler.on_trial_result(None, trial, {"step": step, "score": score})
    return said


def ended(name: str, score: float, **changes: Any) -> TrialRecord:
    validations = {10: score, 20: score, 30: score}
    record = TrialRecord(
        name=name, setting=0, seed=0, params={}, validations=validations, state="finished"
    )
    return replace(record, **changes)


def test_who_falls_behind_is_ended_and_who_leads_goes_on(store: TrialStore) -> None:
    asha = scheduler_of("asha", CONFIG, SPACE, store)
    for number in range(3):
        verdict(asha, str(number), 10, 1.0 + number)
    assert verdict(asha, "behind", 10, 0.5) == TrialScheduler.STOP
    assert verdict(asha, "ahead", 10, 5.0) == TrialScheduler.CONTINUE
    assert verdict(asha, "ahead", 90, 0.0) == TrialScheduler.CONTINUE, "its probes are still due"


def test_a_new_driver_knows_the_trials_of_the_last(store: TrialStore) -> None:
    for number in range(3):
        store.write(ended(f"00{number}-s0", 1.0 + number, state="pruned"))
    store.write(ended("base-s0", 9.0, setting=-1))
    asha = scheduler_of("asha", CONFIG, SPACE, store)
    assert verdict(asha, "behind", 10, 0.5) == TrialScheduler.STOP
    assert verdict(asha, "ahead", 10, 5.0) == TrialScheduler.CONTINUE, "held against the baseline?"


def test_no_trial_is_ended_while_its_beta_warms_up(store: TrialStore) -> None:
    warm = replace(
        SPACE,
        sampled={"method.beta_warmup_steps": Choice(values=(0, 40), why="")},
        first=(),
    )
    assert first_rung(CONFIG, warm) == 40
    assert first_rung(CONFIG, SPACE) == 10
    longer = with_overrides(CONFIG, {"method.beta_warmup_steps": 85})
    with pytest.raises(ConfigError, match=r"β warm-up of up to 85 steps.*--scheduler none"):
        scheduler_of("asha", longer, SPACE, store)
    assert isinstance(scheduler_of("none", longer, SPACE, store), FIFOScheduler)
