from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
import torch

from adassl.method import Method
from adassl.objectives.projections import draw_projections
from adassl.objectives.visreg import departure, visreg
from adassl.views import Views

MakeViews = Callable[..., Views]
MakeMethod = Callable[..., Method]


def slow_departure(view: torch.Tensor, projections: torch.Tensor) -> tuple[float, float, float]:
    """Scale, shape and centre, one dimension and one projection at a time."""
    rows, directions = view.double().numpy(), projections.double().numpy()
    count, dim = rows.shape
    std = [np.sqrt(np.var(rows[:, j]) + 1e-4) for j in range(dim)]
    scale = np.mean([(s - 1) ** 2 for s in std])
    centre = np.mean([rows[:, j].mean() ** 2 for j in range(dim)])
    normal = np.stack([(rows[:, j] - rows[:, j].mean()) / std[j] for j in range(dim)], axis=1)
    quantiles = [NormalDist().inv_cdf(i / (count + 1)) for i in range(1, count + 1)]
    shape = np.mean([(np.sort(normal @ d) - quantiles) ** 2 for d in directions.T])
    return float(scale), float(shape), float(centre)


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_the_departure_of_a_view_is_what_the_slow_loop_says(scale: float) -> None:
    view = (torch.randn(9, 5) @ torch.randn(5, 5) + 2) * scale
    projections = draw_projections(5, 6)
    found = departure(view, projections)
    expected = slow_departure(view, projections)
    assert (found.scale.item(), found.shape.item(), found.centre.item()) == pytest.approx(
        expected, rel=1e-3
    )


def test_each_part_sees_its_own_departure_alone() -> None:
    rows = torch.randn(4096, 6)
    projections = draw_projections(6, 64)
    sound = departure(rows, projections)
    assert max(sound.scale, sound.shape, sound.centre) < 0.01
    wide = departure(rows * 3, projections)
    assert wide.scale.item() == pytest.approx(4, rel=0.05)
    torch.testing.assert_close(wide.shape, sound.shape, rtol=1e-3, atol=1e-4)
    moved = departure(rows + 2, projections)
    assert moved.centre.item() == pytest.approx(4, rel=0.05)
    torch.testing.assert_close(moved.shape, sound.shape, rtol=1e-3, atol=1e-4)
    line = departure(rows[:, :1].expand(-1, 6), projections)
    assert line.shape > 0.2
    assert line.scale < 0.01


def test_shape_reaches_the_rows_and_not_the_std_that_divides_them() -> None:
    rows = torch.randn(64, 4, requires_grad=True)
    found = departure(rows, draw_projections(4, 32))
    (gradient,) = torch.autograd.grad(found.shape, rows)
    scaled = rows.detach().mul(2).requires_grad_()
    shape = departure(scaled, draw_projections(4, 32)).shape
    assert gradient.abs().max() > 0
    assert torch.isfinite(torch.autograd.grad(shape, scaled)[0]).all()
    # By a constant std a larger batch would have a larger shape: it has a pull outwards or inwards.
    assert (gradient * rows.detach()).sum().abs() > 1e-3


@pytest.mark.parametrize("rows", [1, 6])
def test_a_collapsed_batch_costs_scale_and_has_a_finite_gradient(rows: int) -> None:
    view = torch.full((rows, 5), 2.0, requires_grad=True)
    found = departure(view, draw_projections(5, 6))
    (gradient,) = torch.autograd.grad(found.scale + found.shape + found.centre, view)
    assert found.scale.item() == pytest.approx((1 - 1e-2) ** 2)
    assert found.centre.item() == pytest.approx(4)
    assert torch.isfinite(gradient).all()


def test_the_gradient_of_scale_does_not_fade_as_a_batch_collapses() -> None:
    rows = torch.randn(64, 5)
    norms = []
    for size in (0.5, 0.1, 0.05):
        view = (rows * size).requires_grad_()
        (gradient,) = torch.autograd.grad(departure(view, draw_projections(5, 6)).scale, view)
        assert (gradient * rows).sum() < 0, "a step down it widens the batch"
        norms.append(gradient.norm().item())
    assert norms[0] < norms[1] < norms[2]


def test_the_order_of_the_pairs_plays_no_part() -> None:
    edited, target, context, back = torch.randn(4, 9, 5)
    projections, order = draw_projections(5, 16), torch.randperm(9)
    loss = visreg(edited, target, projections, context=context, edited_target=back)
    shuffled = visreg(
        edited[order], target[order], projections, context=context[order], edited_target=back[order]
    )
    torch.testing.assert_close(loss, shuffled)


def test_it_is_computed_in_float32_under_bfloat16_autocast() -> None:
    edited, target, projections = torch.randn(9, 5), torch.randn(9, 5), draw_projections(5, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = visreg(edited, target, projections)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, visreg(edited, target, projections))


@pytest.mark.parametrize("surrogate", [False, True])
def test_the_method_edits_for_the_prediction_alone(
    surrogate: bool, make_method: MakeMethod, make_views: MakeViews
) -> None:
    weights = {"scale_weight": 2.0, "shape_weight": 3.0, "centre_weight": 5.0}
    method = make_method(objective="visreg", editor="mlp", num_projections=6, **weights).eval()
    views = make_views(surrogate=surrogate)
    z = [method.encode(clips).embedding for clips in (views.context, views.target)]
    distances = [(method.edit(z[i], None) - z[1 - i]).square().mean() / 4 for i in (0, 1)]
    expected = distances[0] if surrogate else (distances[0] + distances[1]) / 2
    projections = draw_projections(8, 6, generator=torch.Generator().manual_seed(4))
    for view in z:
        found = departure(view, projections)
        expected = expected + (2 * found.scale + 3 * found.shape + 5 * found.centre) / 2
    output = method(views, step=0, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(output.loss, expected)
