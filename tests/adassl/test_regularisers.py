import math

import pytest
import torch

from adassl.regularisers import free_bits, rate_divergence


@pytest.mark.parametrize(("kl", "free", "expected"), [(3.0, 2.0, 3.0), (1.0, 2.0, 2.0)])
def test_below_the_free_nats_a_kl_costs_nothing_more(
    kl: float, free: float, expected: float
) -> None:
    value = torch.tensor(kl, requires_grad=True)
    charged = free_bits(value, free)
    torch.autograd.backward(charged)
    assert charged.item() == expected
    assert value.grad is not None
    assert value.grad.item() == (kl > free)


def test_without_free_nats_the_kl_is_left_alone() -> None:
    kl = torch.tensor(-1e-7)
    assert free_bits(kl, 0.0) is kl


def test_a_rate_is_charged_for_as_between_bernoulli_distributions() -> None:
    active = torch.rand(20, 6, dtype=torch.float64)
    expected = 0.0
    for q in active.mean(dim=0).tolist():
        expected += q * math.log(q / 0.2) + (1 - q) * math.log((1 - q) / 0.8)
    assert rate_divergence(active.float(), 0.2).item() == pytest.approx(expected, rel=1e-5)
    assert rate_divergence(torch.full((3, 6), 0.2), 0.2).item() == pytest.approx(0, abs=1e-6)


def test_a_rate_pulls_from_both_sides_and_leaves_what_is_off() -> None:
    logits = torch.tensor([[-4.0, 4.0, -1000.0]], requires_grad=True)
    active = logits.sigmoid() * torch.tensor([1.0, 1.0, 0.0])
    torch.autograd.backward(rate_divergence(active, 0.25))
    assert logits.grad is not None
    assert logits.grad[0, 0] < 0 < logits.grad[0, 1]
    assert logits.grad[0, 2] == 0
