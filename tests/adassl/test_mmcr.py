from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from adassl.diagnostics import residual_norm, sample_mean_norm
from adassl.method import Method
from adassl.objectives.mmcr import mmcr
from adassl.views import Views

MakeViews = Callable[..., Views]
MakeMethod = Callable[..., Method]


def slow_mmcr(a: torch.Tensor, b: torch.Tensor) -> float:
    """The nuclear norm by the eigenvalues of C C^T."""
    first, second = a.double().numpy(), b.double().numpy()
    rows = [
        (p / np.sqrt(p @ p) + q / np.sqrt(q @ q)) / 2 for p, q in zip(first, second, strict=True)
    ]
    products = np.array([[p @ q for q in rows] for p in rows])
    nuclear = np.sqrt(np.clip(np.linalg.eigvalsh(products), 0, None)).sum()
    return float(1 - nuclear / np.sqrt(len(rows) * min(len(rows), a.shape[1])))


@pytest.mark.parametrize("rows", [3, 9])
def test_it_equals_the_slow_loop(rows: int) -> None:
    a, b = torch.randn(rows, 5) * 3, torch.randn(rows, 5) + 1
    assert mmcr(a, b).item() == pytest.approx(slow_mmcr(a, b), rel=1e-4)
    both = mmcr(a, b, context=2 * a, edited_target=b)
    assert both.item() == pytest.approx(slow_mmcr(a, b), rel=1e-4)


def test_it_is_0_where_pairs_agree_and_use_all_directions_alike() -> None:
    views = torch.cat([torch.eye(5), -torch.eye(5)])
    assert mmcr(views, views).item() == pytest.approx(0, abs=1e-6)
    assert mmcr(views, -views).item() == pytest.approx(1, abs=1e-6), "opposite pairs have mean 0"
    point = torch.ones(10, 5)
    assert mmcr(point, point).item() == pytest.approx(1 - 5**-0.5)


def test_a_step_down_its_gradient_lengthens_the_residuals_of_a_near_collapse() -> None:
    views = (1 + 0.2 * torch.randn(2, 16, 5)).requires_grad_()
    (gradient,) = torch.autograd.grad(mmcr(views[0], views[1]), views)
    before, after = (residual_norm(normalize(v, dim=-1)) for v in (views, views - gradient))
    assert after > before


def test_by_the_frobenius_norm_it_sees_how_long_the_sample_means_are_and_nothing_else() -> None:
    point = torch.ones(10, 5)
    assert mmcr(point, point, nuclear=False).item() == pytest.approx(0, abs=1e-6)
    a, b = torch.randn(2, 9, 5)
    lengths = sample_mean_norm(normalize(torch.stack([a, b]), dim=-1)[:, :1])
    assert mmcr(a[:1], b[:1], nuclear=False).item() == pytest.approx(1 - lengths.item(), rel=1e-5)


@pytest.mark.parametrize("nuclear", [True, False])
def test_what_is_no_number_gives_a_loss_that_is_none_and_no_error(nuclear: bool) -> None:
    views = torch.randn(2, 9, 5)
    views[0, 3, 2] = float("nan")
    views.requires_grad_()
    loss = mmcr(views[0], views[1], nuclear=nuclear)
    (gradient,) = torch.autograd.grad(loss, views)
    assert loss.isnan()
    assert gradient.isnan().any()


@pytest.mark.parametrize("nuclear", [True, False])
def test_the_order_of_the_pairs_plays_no_part(nuclear: bool) -> None:
    edited, target, context, back = torch.randn(4, 9, 5)
    order = torch.randperm(9)
    loss = mmcr(edited, target, context=context, edited_target=back, nuclear=nuclear)
    shuffled = mmcr(
        edited[order],
        target[order],
        context=context[order],
        edited_target=back[order],
        nuclear=nuclear,
    )
    torch.testing.assert_close(loss, shuffled)


def test_it_is_computed_in_float32_under_bfloat16_autocast() -> None:
    edited, target = torch.randn(9, 5), torch.randn(9, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = mmcr(edited, target)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, mmcr(edited, target))


@pytest.mark.parametrize("surrogate", [False, True])
def test_the_method_takes_each_direction_by_itself(
    surrogate: bool, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(objective="mmcr", editor="mlp").eval()
    views = make_views(surrogate=surrogate)
    z = [method.encode(clips).embedding for clips in (views.context, views.target)]
    losses = [mmcr(method.edit(z[i], None), z[1 - i]) for i in (0, 1)]
    expected = losses[0] if surrogate else (losses[0] + losses[1]) / 2
    torch.testing.assert_close(method(views, step=0).loss, expected)
