from collections.abc import Callable

import numpy as np
import pytest
import torch

from adassl.method import Method
from adassl.objectives.barlow_twins import barlow_twins
from adassl.views import Views

MakeViews = Callable[..., Views]
MakeMethod = Callable[..., Method]


def slow_barlow_twins(a: torch.Tensor, b: torch.Tensor, weight: float) -> float:
    """The correlation of every dimension with every other, one at a time."""
    first, second = a.double().numpy(), b.double().numpy()
    loss = 0.0
    for i in range(a.shape[1]):
        for j in range(b.shape[1]):
            c = np.corrcoef(first[:, i], second[:, j])[0, 1]
            loss += (1 - c) ** 2 if i == j else weight * c**2
    return loss


@pytest.mark.parametrize("weight", [0.005, 1.0])
def test_it_equals_the_slow_loop(weight: float) -> None:
    a = torch.randn(9, 5) * 3 + 2
    b = 0.5 * a + torch.randn(9, 5)
    expected = slow_barlow_twins(a, b, weight)
    assert barlow_twins(a, b, off_diagonal_weight=weight).item() == pytest.approx(
        expected, rel=1e-4
    )


def test_scale_and_shift_of_a_dimension_play_no_part() -> None:
    a, b = torch.randn(9, 5), torch.randn(9, 5)
    moved = a * torch.tensor([1.0, 2, 3, 4, 5]) + torch.arange(5)
    torch.testing.assert_close(
        barlow_twins(moved, b, off_diagonal_weight=0.3),
        barlow_twins(a, b, off_diagonal_weight=0.3),
        rtol=1e-4,
        atol=1e-5,
    )


def test_equal_views_of_uncorrelated_dimensions_cost_nothing() -> None:
    views = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert barlow_twins(views, views, off_diagonal_weight=1.0).item() == pytest.approx(0, abs=1e-8)


def test_a_collapsed_batch_costs_one_a_dimension_and_has_a_finite_gradient() -> None:
    views = torch.ones(6, 5, requires_grad=True)
    loss = barlow_twins(views, views * 2, off_diagonal_weight=1.0)
    (gradient,) = torch.autograd.grad(loss, views)
    assert loss.item() == pytest.approx(5)
    assert torch.isfinite(gradient).all()


def test_it_is_computed_in_float32_under_bfloat16_autocast() -> None:
    a, b = torch.randn(9, 5), torch.randn(9, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = barlow_twins(a, b, off_diagonal_weight=0.3)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, barlow_twins(a, b, off_diagonal_weight=0.3))


@pytest.mark.parametrize("surrogate", [False, True])
def test_the_method_takes_each_direction_by_itself(
    surrogate: bool, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(objective="barlow_twins", editor="mlp", off_diagonal_weight=0.3).eval()
    views = make_views(surrogate=surrogate)
    z = [method.encode(clips).embedding for clips in (views.context, views.target)]
    losses = [
        barlow_twins(method.edit(z[i], None), z[1 - i], off_diagonal_weight=0.3) for i in (0, 1)
    ]
    expected = losses[0] if surrogate else (losses[0] + losses[1]) / 2
    torch.testing.assert_close(method(views, step=0).loss, expected)
