"""Alarms on real trainings: those made to fail raise theirs, those that train well raise none."""

from typing import Any

import pytest
import torch

from pipelines import loop
from pipelines.alarms import Alarm
from pipelines.config import RunConfig, with_overrides
from pipelines.experiments import numerical
from pipelines.learner import Learner
from pipelines.sources.numerical import NumericalSettings, batches

STEPS = 160
SETTINGS = NumericalSettings(conditional="complex", seed=5)
COMMON = {
    **numerical.BASE,
    "train.steps": STEPS,
    "train.log_every": 10,
    "train.checkpoint_every": 40,
    "method.temperature": 0.05,
    "method.beta_warmup_steps": 0,
    "optim.warmup_steps": 10,
}
V = {"method.latent": "variational", "method.editor": "low_rank", "method.beta": 0.5}
S = {"method.latent": "sparse", "method.editor": "low_rank", "method.beta": 0.1}
PLAIN = {"method.latent": "none", "method.editor": "identity"}


class Heard:
    """A sink that keeps the alarms alone."""

    def __init__(self) -> None:
        self.alarms: list[Alarm] = []

    def alarm(self, alarm: Alarm) -> None:
        self.alarms.append(alarm)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        for alarm in self.alarms:
            assert metrics[f"alarm/{alarm.name}"] == 1.0

    def save(self, step: int, metrics: dict[str, float], state: dict[str, Any]) -> None:
        pass


def alarms_of(changes: dict[str, Any]) -> set[str]:
    learner = Learner(with_overrides(RunConfig(), {**COMMON, **changes}), torch.device("cpu"))
    pairs = batches(SETTINGS, 5, 256, 0, STEPS, False)
    validation = list(batches(SETTINGS, 6, 256, 0, 1, False))
    heard = Heard()
    loop.run(learner, pairs, heard, validation=validation)
    return {alarm.name for alarm in heard.alarms}


@pytest.mark.parametrize(
    ("alarm", "changes"),
    [
        ("collapse", {**PLAIN, "method.objective": "simple", "method.centre_weight": 0.0}),
        (
            "dimensional_collapse",
            {**PLAIN, "method.objective": "simple", "method.centre_weight": 0.0},
        ),
        ("kl_collapse", {**V, "method.beta": 100.0}),
        ("shortcut", {**V, "method.beta": 0.0}),
        ("sparse_underused", {**S, "method.beta": 100.0}),
    ],
)
def test_a_run_made_to_fail_raises_its_alarm(alarm: str, changes: dict[str, Any]) -> None:
    assert alarm in alarms_of(changes)


@pytest.mark.parametrize(
    "changes",
    [
        PLAIN,
        V,
        S,
        {**PLAIN, "method.temperature": 0.002},
        {**PLAIN, "method.objective": "byol", "method.ema_momentum": 0.99},
        {**PLAIN, "method.objective": "vicreg"},
    ],
    ids=lambda c: "-".join(str(v) for v in c.values()),
)
def test_a_run_that_trains_well_raises_none(changes: dict[str, Any]) -> None:
    assert alarms_of(changes) == set()
