import math

import pytest
import torch

from adassl.regularisers import free_bits, use_entropy


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


def test_use_entropy_is_that_of_the_shares() -> None:
    active = torch.rand(20, 6)
    rho = [float(active[:, i].double().sum() / active.double().sum()) for i in range(6)]
    assert use_entropy(active).item() == pytest.approx(-sum(p * math.log(p) for p in rho), rel=1e-5)
    assert use_entropy(torch.ones(3, 6)).item() == pytest.approx(math.log(6))
    assert use_entropy(torch.eye(6)[:1].expand(3, 6)).item() == 0


def test_a_dimension_that_is_never_used_has_a_finite_gradient() -> None:
    logits = torch.tensor([[-1000.0, 0, 1]], requires_grad=True)
    torch.autograd.backward(use_entropy(logits.sigmoid()))
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
