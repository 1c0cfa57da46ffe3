from collections.abc import Callable

import numpy as np
import pytest
import torch

from adassl.method import Method
from adassl.objectives.vicreg import variance_and_covariance, vicreg
from adassl.views import Views

MakeViews = Callable[..., Views]
MakeMethod = Callable[..., Method]


def slow_variance_and_covariance(view: torch.Tensor) -> tuple[float, float]:
    """Equations 1 to 4, one dimension and one pair of dimensions at a time."""
    rows = view.double().numpy()
    dim = rows.shape[1]
    hinges = [max(0.0, 1 - np.sqrt(np.var(rows[:, j], ddof=1) + 1e-4)) for j in range(dim)]
    covariance = np.cov(rows.T)
    squares = [covariance[i, j] ** 2 for i in range(dim) for j in range(dim) if i != j]
    return float(np.mean(hinges)), float(np.sum(squares) / dim)


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_the_spread_of_a_view_costs_what_the_slow_loop_says(scale: float) -> None:
    view = (torch.randn(9, 5) @ torch.randn(5, 5) + 2) * scale
    variance, covariance = variance_and_covariance(view)
    expected = slow_variance_and_covariance(view)
    assert variance.item() == pytest.approx(expected[0], rel=1e-4, abs=1e-7)
    assert covariance.item() == pytest.approx(expected[1], rel=1e-4)


def test_invariance_is_the_mean_over_dimensions_too_and_of_any_norm() -> None:
    a, b = torch.randn(6, 4), torch.randn(6, 4)
    expected = np.mean([(x - y) ** 2 for x, y in zip(a.flatten(), b.flatten(), strict=True)])
    for scale in (1, 3):
        loss = vicreg(
            scale * a,
            scale * b,
            invariance_weight=1.0,
            variance_weight=0.0,
            covariance_weight=0.0,
        )
        assert loss.item() == pytest.approx(scale**2 * float(expected), rel=1e-5)


@pytest.mark.parametrize("rows", [1, 6])
def test_a_collapsed_batch_and_one_of_a_single_pair_are_finite(rows: int) -> None:
    view = torch.ones(rows, 5, requires_grad=True)
    variance, covariance = variance_and_covariance(view)
    (gradient,) = torch.autograd.grad(variance + covariance, view)
    assert variance.item() == pytest.approx(1 - 1e-4**0.5)
    assert covariance.item() == 0
    assert torch.isfinite(gradient).all()


def test_it_is_computed_in_float32_under_bfloat16_autocast() -> None:
    view = torch.randn(9, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = variance_and_covariance(view)
    assert terms == variance_and_covariance(view)


@pytest.mark.parametrize("surrogate", [False, True])
def test_the_method_edits_for_the_invariance_alone(
    surrogate: bool, make_method: MakeMethod, make_views: MakeViews
) -> None:
    weights = {"invariance_weight": 2.0, "variance_weight": 3.0, "covariance_weight": 5.0}
    method = make_method(objective="vicreg", editor="mlp", **weights).eval()
    views = make_views(surrogate=surrogate)
    z = [method.encode(clips).embedding for clips in (views.context, views.target)]
    distances = [(method.edit(z[i], None) - z[1 - i]).square().mean() for i in (0, 1)]
    expected = 2 * (distances[0] if surrogate else (distances[0] + distances[1]) / 2)
    for view in z:
        variance, covariance = variance_and_covariance(view)
        expected = expected + 3 * variance + 5 * covariance
    torch.testing.assert_close(method(views, step=0).loss, expected)
