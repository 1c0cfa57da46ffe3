"""Surprise against a slow loop, and what it must not depend on."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from adassl.next_clip import next_clip_nats, next_clip_temperature
from adassl.surprise import surprise_nats

SAMPLES, BATCH, DIM, TAU = 7, 5, 6, 0.1


@pytest.fixture
def futures() -> Tensor:
    noise = torch.randn(SAMPLES, BATCH, DIM, generator=torch.Generator().manual_seed(0))
    return normalize(noise + torch.eye(BATCH, DIM), dim=-1)


@pytest.fixture
def targets() -> Tensor:
    noise = torch.randn(BATCH, DIM, generator=torch.Generator().manual_seed(1))
    return normalize(noise, dim=-1)


def slow(futures: Tensor, targets: Tensor, tau: float) -> list[float]:
    found = []
    for b in range(futures.shape[1]):
        own = futures[:, b].tolist()
        z = targets[b].tolist()

        def log_density(point: list[float], around: list[list[float]]) -> float:
            dots = [sum(x * y for x, y in zip(point, f, strict=True)) for f in around]
            return math.log(sum(math.exp(dot / tau) for dot in dots) / len(dots))

        expected = [
            log_density(f, [g for j, g in enumerate(own) if j != k]) for k, f in enumerate(own)
        ]
        found.append(-log_density(z, own) + sum(expected) / len(expected))
    return found


def test_it_is_that_of_a_slow_loop(futures: Tensor, targets: Tensor) -> None:
    found = surprise_nats(futures, targets, temperature=TAU)
    assert found.tolist() == pytest.approx(slow(futures, targets, TAU), abs=1e-4)


def test_a_future_that_comes_surprises_less_than_what_is_far(futures: Tensor) -> None:
    came = surprise_nats(futures, futures[0], temperature=TAU)
    opposite = surprise_nats(futures, -futures.mean(dim=0), temperature=TAU)
    assert (came < opposite - 1).all()


def test_a_future_of_its_own_scores_nothing_on_average_however_wide_they_are() -> None:
    noise = torch.Generator().manual_seed(0)
    for width in (0.05, 0.3, 1.0):
        drawn = torch.randn(401, 60, 3, generator=noise) * width
        drawn[..., 0] += 1
        points = normalize(drawn, dim=-1)
        mean = surprise_nats(points[:-1], points[-1], temperature=0.05).mean()
        assert abs(float(mean)) < 0.35


def test_order_does_not_count(futures: Tensor, targets: Tensor) -> None:
    found = surprise_nats(futures, targets, temperature=TAU)
    samples, rows = torch.randperm(SAMPLES), torch.randperm(BATCH)
    moved = surprise_nats(futures[samples][:, rows], targets[rows], temperature=TAU)
    torch.testing.assert_close(moved, found[rows])


def test_no_other_pair_counts(futures: Tensor, targets: Tensor) -> None:
    found = surprise_nats(futures, targets, temperature=TAU)
    alone = surprise_nats(futures[:, 2:3], targets[2:3], temperature=TAU)
    torch.testing.assert_close(alone, found[2:3])


def test_a_single_future_expects_itself(futures: Tensor, targets: Tensor) -> None:
    found = surprise_nats(futures[:1], targets, temperature=TAU)
    torch.testing.assert_close(found, (1 - (futures[0] * targets).sum(dim=1)) / TAU)
    repeated = surprise_nats(futures[:1].expand(9, -1, -1), targets, temperature=TAU)
    torch.testing.assert_close(repeated, found)


def test_small_temperatures_stay_finite(futures: Tensor, targets: Tensor) -> None:
    assert torch.isfinite(surprise_nats(futures, targets, temperature=1e-4)).all()


@pytest.mark.parametrize(("count", "tau"), [(0, 0.1), (3, 0.0), (3, math.nan)])
def test_what_makes_no_density_is_refused(
    futures: Tensor, targets: Tensor, count: int, tau: float
) -> None:
    with pytest.raises(ValueError, match="at least one future"):
        surprise_nats(futures[:count], targets, temperature=tau)


def test_the_temperature_follows_the_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = normalize(torch.randn(200, 32, generator=generator), dim=-1)
    fitted = []
    for noise in (0.1, 0.5, 1.5):
        drawn = targets + noise / 32**0.5 * 3 * torch.randn(4, 200, 32, generator=generator)
        futures = normalize(drawn, dim=-1)
        fitted.append(next_clip_temperature(futures, targets))
    assert fitted == sorted(fitted)
    assert fitted[0] < fitted[-1]
    assert math.isnan(next_clip_temperature(futures, targets, torch.arange(200)))
    assert np.isnan(next_clip_nats(futures, targets, torch.arange(200)))
