from collections.abc import Callable

import numpy as np
import pytest
import torch

from adassl.method import Method
from adassl.objectives.lejepa import LeJEPA, lejepa, prediction_loss, sigreg
from adassl.objectives.projections import draw_projections
from adassl.views import Views

MakeViews = Callable[..., Views]
MakeMethod = Callable[..., Method]


def slow_epps_pulley(x: np.ndarray) -> float:
    """N integral |phi_N - phi|^2 exp(-t^2/2) dt over the whole line, solved pair by pair."""
    n = len(x)
    pairs = sum(np.exp(-((a - b) ** 2) / 2) for a in x for b in x) / n**2
    cross = sum(np.exp(-(a**2) / 4) / np.sqrt(2) for a in x) / n
    return float(n * np.sqrt(2 * np.pi) * (pairs - 2 * cross + 1 / np.sqrt(3)))


def slow_rule(x: np.ndarray) -> float:
    """The trapezoid rule on both sides of 0, one frequency at a time."""
    frequencies = np.linspace(-3, 3, 33)
    values = []
    for t in frequencies:
        distance = np.mean(np.exp(1j * t * x)) - np.exp(-(t**2) / 2)
        values.append(abs(distance) ** 2 * np.exp(-(t**2) / 2))
    return float(len(x) * np.trapezoid(values, frequencies))


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.1, 0.0), (2.0, 1.0)])
def test_sigreg_equals_its_rule_and_nearly_its_integral(scale: float, shift: float) -> None:
    views = torch.randn(2, 9, 5) * scale + shift
    projections = draw_projections(5, 4)
    projected = (views.double() @ projections.double()).numpy()
    columns = [projected[v, :, k] for v in range(2) for k in range(4)]
    found = sigreg(views, projections).item()
    assert found == pytest.approx(np.mean([slow_rule(x) for x in columns]), rel=1e-4)
    # What lies beyond +-3 is left out.
    assert found == pytest.approx(np.mean([slow_epps_pulley(x) for x in columns]), rel=0.03)


def test_a_gaussian_costs_the_same_in_any_number_and_everything_else_more() -> None:
    projections = draw_projections(8, 64)
    few, many = (sigreg(torch.randn(400, n, 8), projections).item() for n in (16, 128))
    expected = np.sqrt(2 * np.pi) * (1 - 3**-0.5)
    assert few == pytest.approx(expected, rel=0.05)
    assert many == pytest.approx(expected, rel=0.05)
    gaussian = torch.randn(1, 512, 8)
    flat = gaussian.clone()
    flat[..., 4:] = 0
    two_points = gaussian[..., :1].sign().expand(-1, -1, 8)
    for other in (gaussian * 0, gaussian + 1, gaussian * 3, flat, two_points):
        assert sigreg(other, projections) > 4 * expected


def test_a_step_down_its_gradient_spreads_a_batch_that_has_nearly_collapsed() -> None:
    views = (1 + 0.1 * torch.randn(1, 64, 5)).requires_grad_()
    loss = sigreg(views, draw_projections(5, 64))
    (gradient,) = torch.autograd.grad(loss, views)
    moved = views - 0.1 * gradient
    assert moved.std(dim=1).mean() > views.std(dim=1).mean()
    assert moved.mean(dim=1).norm() < views.mean(dim=1).norm()


def test_the_prediction_is_half_of_each_view_s_distance_from_their_mean() -> None:
    a, b = torch.randn(6, 4), torch.randn(6, 4)
    mean = (a + b) / 2
    expected = ((a - mean).square().mean() + (b - mean).square().mean()) / 2
    torch.testing.assert_close(prediction_loss(a, b), expected)
    torch.testing.assert_close(prediction_loss(a, b, context=a, edited_target=b), expected)
    torch.testing.assert_close(prediction_loss(3 * a, 3 * b), 9 * expected)


def test_the_order_of_the_pairs_plays_no_part() -> None:
    edited, target, context, back = torch.randn(4, 9, 5)
    projections, order = draw_projections(5, 16), torch.randperm(9)
    loss = lejepa(edited, target, projections, context=context, edited_target=back)
    shuffled = lejepa(
        edited[order], target[order], projections, context=context[order], edited_target=back[order]
    )
    torch.testing.assert_close(loss, shuffled)


def test_it_is_computed_in_float32_under_bfloat16_autocast() -> None:
    edited, target, projections = torch.randn(9, 5), torch.randn(9, 5), draw_projections(5, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = lejepa(edited, target, projections)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, lejepa(edited, target, projections))


def test_directions_have_length_one_and_come_from_the_generator() -> None:
    first, again, other = (
        draw_projections(5, 7, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    torch.testing.assert_close(first.norm(dim=0), torch.ones(7))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    objective, (edited, target) = LeJEPA(num_projections=3), torch.randn(2, 9, 5)
    losses = [
        objective(edited, target, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("surrogate", [False, True])
def test_the_method_edits_for_the_prediction_alone(
    surrogate: bool, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(objective="lejepa", editor="mlp", sigreg_weight=0.3).eval()
    views = make_views(surrogate=surrogate)
    z = [method.encode(clips).embedding for clips in (views.context, views.target)]
    distances = [(method.edit(z[i], None) - z[1 - i]).square().mean() / 4 for i in (0, 1)]
    expected = distances[0] if surrogate else (distances[0] + distances[1]) / 2
    projections = draw_projections(8, 256, generator=torch.Generator().manual_seed(4))
    expected = expected + 0.3 * sigreg(torch.stack(z), projections)
    output = method(views, step=0, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(output.loss, expected)
