"""The score of sampled futures against closed forms, and what it must tell apart."""

import math
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize, one_hot

from adassl.next_clip import NUM_FUTURES, next_clip_nats, sample_futures
from pipelines.training.learner import Learner
from tests.pipelines.training.test_learner import METHODS, batch_of, config_of

PAIRS, DIM = 64, 64
TARGETS = one_hot(torch.arange(PAIRS), DIM).float()


def test_knowing_the_next_clip_scores_all_there_is_and_guessing_nothing() -> None:
    sure = TARGETS.expand(4, -1, -1)
    assert next_clip_nats(sure, TARGETS) == pytest.approx(math.log(PAIRS), abs=1e-3)
    alike = normalize(torch.ones(4, PAIRS, DIM), dim=-1)
    assert next_clip_nats(alike, TARGETS) == pytest.approx(0, abs=1e-5)


def test_one_of_four_equally_likely_futures_costs_log_four() -> None:
    futures = torch.stack([TARGETS.roll(-k, 0) for k in range(4)])
    score = next_clip_nats(futures, TARGETS)
    assert score == pytest.approx(math.log(PAIRS) - math.log(4), abs=1e-3)


def test_being_sure_of_something_else_is_worse_than_hedging_over_both() -> None:
    wrong = TARGETS.roll(1, 0).expand(2, -1, -1)
    hedged = torch.stack([TARGETS, TARGETS.roll(1, 0)])
    assert next_clip_nats(wrong, TARGETS) < 0.1
    assert next_clip_nats(hedged, TARGETS) == pytest.approx(math.log(PAIRS / 2), abs=1e-3)


def test_the_order_of_pairs_and_of_samples_changes_nothing() -> None:
    noise = torch.Generator().manual_seed(0)
    futures = normalize(torch.randn(3, 20, 8, generator=noise), dim=-1)
    targets = normalize(torch.randn(20, 8, generator=noise), dim=-1)
    order = torch.randperm(20, generator=noise)
    score = next_clip_nats(futures, targets)
    assert next_clip_nats(futures[:, order], targets[order]) == pytest.approx(score, abs=1e-5)
    assert next_clip_nats(futures.flip(0), targets) == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize("changes", METHODS, ids=lambda c: "-".join(map(str, c.values())))
def test_every_method_is_scored_without_a_look_at_the_next_clip(changes: dict[str, Any]) -> None:
    learner = Learner(config_of(**changes), torch.device("cpu"))
    batches = [batch_of(1), batch_of(2)]
    score = learner.validate(batches)["next_clip_nats"]
    assert score == learner.validate(batches)["next_clip_nats"]
    assert -math.log(16) * 4 < score <= math.log(16)
    views = learner.views(batches[0])
    with torch.no_grad():
        output = learner.method(views, step=0, generator=torch.Generator().manual_seed(0))
        samples = sample_futures(learner.method, views, output, torch.Generator().manual_seed(0))
    assert samples.shape == (8, NUM_FUTURES, 16)
    assert torch.allclose(samples.norm(dim=-1), torch.ones(8, NUM_FUTURES), atol=1e-5)
    spread = (samples - samples[:, :1]).norm(dim=-1).max()
    assert (spread > 1e-4) == (changes["method.latent"] == "variational")
