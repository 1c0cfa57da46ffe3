"""Alarms on real trainings: those made to fail raise theirs, those that train well raise none."""

import copy
from typing import Any

import pytest
import torch

from pipelines.config.run import RunConfig, with_overrides
from pipelines.experiments.numerical import arms as numerical
from pipelines.sources.numerical import NumericalSettings, batches
from pipelines.training import loop
from pipelines.training.alarms import Alarm
from pipelines.training.learner import Learner

SETTINGS = NumericalSettings(conditional="complex", seed=5)
COMMON = {
    **numerical.BASE,
    "backbone.hidden_dims": [32, 16],
    "method.latent_hidden_dims": [32],
    "method.editor_hidden_dims": [32],
    "method.predictor_hidden_dims": [32],
    "method.latent_dim": 8,
    "method.temperature": 0.05,
    "method.beta_warmup_steps": 0,
    "optim.learning_rate": 3e-3,
    "optim.warmup_steps": 10,
    "train.steps": 120,
    "train.global_batch_size": 128,
    "train.log_every": 10,
    "train.checkpoint_every": 20,
}
V = {"method.latent": "variational", "method.editor": "low_rank", "method.beta": 0.5}
S = {"method.latent": "sparse", "method.editor": "low_rank", "method.beta": 0.1}
PLAIN = {"method.latent": "none", "method.editor": "identity"}
ALIGNMENT_ALONE = {
    **PLAIN,
    "method.objective": "simple",
    "method.centre_weight": 0.0,
    "optim.learning_rate": 1e-2,
}
WIDE = {
    **PLAIN,
    "backbone.hidden_dims": [64, 128],
    "method.embedding_dim": 128,
    "train.global_batch_size": 64,
}
HOT = {
    **WIDE,
    "method.temperature": 50.0,
    "optim.learning_rate": 3e-2,
    "alarms.from_step": 0,  # the fall begins at once
}


class Received:
    """A sink that keeps the alarms, the metrics and the states."""

    def __init__(self) -> None:
        self.alarms: list[Alarm] = []
        self.logged: dict[int, dict[str, float]] = {}
        self.states: dict[int, dict[str, Any]] = {}

    @property
    def names(self) -> set[str]:
        return {alarm.name for alarm in self.alarms}

    def alarm(self, alarm: Alarm) -> None:
        self.alarms.append(alarm)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        self.logged[step] = metrics

    def save(self, step: int, metrics: dict[str, float], state: dict[str, Any]) -> None:
        self.states[step] = copy.deepcopy(state)


def received_from(changes: dict[str, Any], state: dict[str, Any] | None = None) -> Received:
    """What a training reports, from the start or from a state."""
    config = with_overrides(RunConfig(), {**COMMON, **changes})
    learner = Learner(config, torch.device("cpu"))
    if state:
        learner.load_state_dict(state)
    size, left = config.train.global_batch_size, config.train.steps - learner.step
    received = Received()
    loop.run(
        learner,
        batches(SETTINGS, 5, size, learner.step, left, False),
        received,
        validation=list(batches(SETTINGS, 6, size, 0, 1, False)),
        history=list(state["history"]) if state else None,
    )
    return received


@pytest.mark.parametrize(
    ("alarm", "changes"),
    [
        ("collapse", ALIGNMENT_ALONE),
        ("kl_collapse", {**V, "method.beta": 100.0}),
        ("shortcut", {**V, "method.beta": 0.0}),
        ("shortcut", {**S, "method.beta": 0.0}),
        ("sparse_underused", {**S, "method.beta": 100.0}),
    ],
)
def test_a_run_made_to_fail_raises_its_alarm_and_no_other(
    alarm: str, changes: dict[str, Any]
) -> None:
    received = received_from(changes)
    assert received.names == {alarm}
    (raised,) = received.alarms
    for step, metrics in received.logged.items():
        assert metrics.get(f"alarm/{alarm}", 0.0) == (step >= raised.step)


def test_embeddings_that_lose_dimensions_without_collapsing_raise_their_alarm() -> None:
    """So high a temperature asks for a small centre alone: two directions are enough for that."""
    received = received_from(HOT)
    assert received.names == {"dimensional_collapse"}
    first, last = received.logged[1], received.logged[120]
    assert first["train/rankme"] > 4 * last["train/rankme"]
    assert last["train/centre_norm"] < 0.6
    assert last["train/residual_norm"] > 0.5


@pytest.mark.parametrize(
    "changes",
    [
        V,
        {**PLAIN, "method.temperature": 0.002},
        {**PLAIN, "method.objective": "byol", "method.ema_momentum": 0.99},
        pytest.param(PLAIN, marks=pytest.mark.slow),
        pytest.param(S, marks=pytest.mark.slow),
        pytest.param(WIDE, marks=pytest.mark.slow),
        pytest.param({**PLAIN, "method.objective": "simple"}, marks=pytest.mark.slow),
        pytest.param({**PLAIN, "method.objective": "vicreg"}, marks=pytest.mark.slow),
        pytest.param({**PLAIN, "method.objective": "lejepa"}, marks=pytest.mark.slow),
        pytest.param({**PLAIN, "method.objective": "visreg"}, marks=pytest.mark.slow),
        pytest.param({**PLAIN, "method.objective": "frossl"}, marks=pytest.mark.slow),
        pytest.param({**PLAIN, "method.objective": "mmcr"}, marks=pytest.mark.slow),
    ],
    ids=(
        *("v", "cold", "byol", "infonce", "s", "wide", "simple", "vicreg"),
        *("lejepa", "visreg", "frossl", "mmcr"),
    ),
)
def test_a_run_that_trains_well_raises_none(changes: dict[str, Any]) -> None:
    received = received_from(changes)
    assert received.names == set()
    assert received.logged[max(received.logged)]["train/loss"] < received.logged[1]["train/loss"]


def test_a_resumed_run_has_the_alarms_it_had() -> None:
    straight = received_from(ALIGNMENT_ALONE)
    (raised,) = straight.alarms
    before = max(step for step in straight.states if step < raised.step)
    after = min(step for step in straight.states if step > raised.step)
    assert received_from(ALIGNMENT_ALONE, straight.states[before]).alarms == [raised]
    resumed = received_from(ALIGNMENT_ALONE, straight.states[after])
    assert resumed.alarms == [], "it was raised before"
    assert all(metrics["alarm/collapse"] == 1.0 for metrics in resumed.logged.values())
