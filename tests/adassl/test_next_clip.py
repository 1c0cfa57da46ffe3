"""The score of sampled futures against closed forms, and what it must distinguish."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize, one_hot

from adassl.latents import LatentSample
from adassl.method import Method
from adassl.next_clip import NUM_FUTURES, next_clip_nats, other_pairs, sample_futures
from adassl.views import Views
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


def test_within_videos_the_next_clip_is_looked_for_among_those_of_its_own() -> None:
    videos = torch.arange(PAIRS) // 4
    sure = TARGETS.expand(2, -1, -1)
    assert next_clip_nats(sure, TARGETS, videos) == pytest.approx(math.log(4), abs=1e-3)
    knows_the_video = normalize(one_hot(videos).float() @ one_hot(videos).float().T, dim=-1)
    futures = knows_the_video.expand(2, -1, -1)
    assert next_clip_nats(futures, TARGETS) == pytest.approx(math.log(PAIRS / 4), abs=1e-3)
    assert next_clip_nats(futures, TARGETS, videos) == pytest.approx(0, abs=1e-5)


def test_pairs_that_are_alone_in_their_videos_do_not_count_within_videos() -> None:
    some = math.log(5)
    wrong = TARGETS.roll(1, 0).clone()
    wrong[:5] = TARGETS[:5]
    apart = torch.arange(PAIRS)
    apart[:5] = 0
    assert next_clip_nats(wrong[None], TARGETS, apart) == pytest.approx(some, abs=1e-3)
    assert math.isnan(next_clip_nats(TARGETS[None], TARGETS, torch.arange(PAIRS)))


@pytest.mark.parametrize("changes", METHODS, ids=lambda c: "-".join(map(str, c.values())))
def test_every_method_is_scored_without_seeing_the_next_clip(changes: dict[str, Any]) -> None:
    learner = Learner(config_of(**changes), torch.device("cpu"))
    batches = [batch_of(1), batch_of(2)]
    score = learner.validate(batches)["next_clip_nats"]
    assert score == learner.validate(batches)["next_clip_nats"]
    assert -math.log(16) * 4 < score <= math.log(16)
    views = learner.views(batches[0])
    with torch.no_grad():
        output = learner.method(views, step=0, generator=torch.Generator().manual_seed(0))
        z = learner.method.encode(views.context).embedding
        samples = sample_futures(learner.method, z, output, torch.Generator().manual_seed(0))
    assert samples.shape == (8, NUM_FUTURES, 16)
    assert torch.allclose(samples.norm(dim=-1), torch.ones(8, NUM_FUTURES), atol=1e-5)
    spread = (samples - samples[:, :1]).norm(dim=-1).max()
    assert (spread > 1e-4) == (changes["method.latent"] == "variational")


@pytest.mark.parametrize("num_pairs", [2, 3, 8, 257])
def test_the_other_pair_is_never_the_same_pair(num_pairs: int) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = [other_pairs(num_pairs, generator) for _ in range(20)]
    for other in drawn:
        assert torch.equal(other.sort().values, torch.arange(num_pairs))
        assert (other != torch.arange(num_pairs)).all()
    assert len({tuple(other.tolist()) for other in drawn}) > (1 if num_pairs > 2 else 0)
    again = other_pairs(num_pairs, torch.Generator().manual_seed(0))
    assert torch.equal(again, drawn[0])


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_a_sparse_r_is_that_of_other_pairs(
    batch: int,
    make_method: Callable[..., Method],
    make_views: Callable[..., Views],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method, views = make_method(latent="sparse", editor="low_rank").eval(), make_views(batch)
    output = method(views, step=0, generator=torch.Generator().manual_seed(0))
    own = 1 + torch.arange(batch).float()[:, None].expand(batch, 4)
    zeros = torch.zeros(batch)
    named = LatentSample(value=own, penalty=zeros, penalty_per_dimension=torch.zeros(batch, 4))
    used: list[torch.Tensor] = []
    edit = method.edit

    def spy(embedding: torch.Tensor, latent: torch.Tensor | None) -> torch.Tensor:
        assert latent is not None
        used.append(latent)
        return edit(embedding, latent)

    monkeypatch.setattr(method, "edit", spy)
    generator = torch.Generator().manual_seed(1)
    z = method.encode(views.context).embedding
    samples = sample_futures(method, z, replace(output, latent=named), generator)
    assert samples.shape == (batch, NUM_FUTURES, 8)
    assert len(used) == NUM_FUTURES
    for latent in used:
        assert not (latent == own).any()
        if batch == 1:
            assert not latent.any()
        else:
            assert set(latent[:, 0].tolist()) == set(own[:, 0].tolist())
