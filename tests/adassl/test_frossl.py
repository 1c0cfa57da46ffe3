from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from adassl.diagnostics import centre_norm
from adassl.method import Method
from adassl.objectives.frossl import frossl, log_frobenius
from adassl.objectives.simple import simple
from adassl.views import Views

MakeViews = Callable[..., Views]
MakeMethod = Callable[..., Method]


def slow_log_frobenius(view: torch.Tensor) -> float:
    """The log of the mean squared cosine, one pair of rows at a time."""
    rows = [v / np.sqrt(v @ v) for v in view.double().numpy()]
    return float(np.log(np.mean([(a @ b) ** 2 for a in rows for b in rows])))


@pytest.mark.parametrize("rows", [3, 9])
def test_it_equals_the_slow_loop(rows: int) -> None:
    edited, context, target = torch.randn(3, rows, 5) + 0.5
    unit = [v / v.norm(dim=1, keepdim=True) for v in (edited.double(), target.double())]
    align = np.mean([float((p - d) @ (p - d)) for p, d in zip(*unit, strict=True)])
    norms = slow_log_frobenius(context) + slow_log_frobenius(target)
    loss = frossl(edited, target, context=context, frobenius_weight=0.7)
    assert loss.item() == pytest.approx(0.5 * align + 0.7 * norms, rel=1e-4)


def test_it_is_the_authors_loss_of_two_views_where_nothing_is_edited() -> None:
    """Theirs: the norm of a covariance of trace 1, and the distance from the mean of the views."""
    views = [normalize(v, dim=1) * 5**0.5 for v in torch.randn(2, 9, 5)]
    expected = torch.zeros(())
    for view in views:
        covariance = view.T @ view
        norm = torch.linalg.norm(covariance / covariance.trace())
        invariance = (view - (views[0] + views[1]) / 2).square().mean()
        expected = expected + 2 * norm.log() + invariance
    torch.testing.assert_close(frossl(*views), expected)


def test_the_norm_is_0_in_a_collapse_and_log_dim_below_it_at_best() -> None:
    point = torch.randn(1, 5).expand(8, 5)
    assert log_frobenius(point).item() == pytest.approx(0, abs=1e-6)
    assert log_frobenius(torch.eye(5) * 3).item() == pytest.approx(-np.log(5))
    line = torch.cat([torch.eye(5)[:1], -torch.eye(5)[:1]])
    assert log_frobenius(line).item() == pytest.approx(0, abs=1e-6), "its centre is 0"


def test_a_step_down_its_gradient_shrinks_the_centre() -> None:
    view = (torch.randn(16, 5) + 1).requires_grad_()
    (gradient,) = torch.autograd.grad(log_frobenius(view), view)
    before, after = (centre_norm(normalize(v, dim=1)) for v in (view, view - gradient))
    assert after < before
    assert 2 * before.square().log() <= log_frobenius(view)


def test_the_order_of_the_pairs_and_their_length_play_no_part() -> None:
    edited, target, context, back = torch.randn(4, 9, 5)
    order = torch.randperm(9)
    loss = frossl(edited, target, context=context, edited_target=back)
    shuffled = frossl(
        3 * edited[order], target[order], context=context[order] * 2, edited_target=back[order]
    )
    torch.testing.assert_close(loss, shuffled)


def test_without_its_norms_it_is_simple_without_its_centre() -> None:
    edited, target, context, back = torch.randn(4, 9, 5)
    views = {"context": context, "edited_target": back}
    torch.testing.assert_close(
        frossl(edited, target, frobenius_weight=0.0, **views),
        simple(edited, target, centre_weight=0.0, **views),
    )


def test_it_is_computed_in_float32_under_bfloat16_autocast() -> None:
    edited, target = torch.randn(9, 5), torch.randn(9, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = frossl(edited, target)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, frossl(edited, target))


@pytest.mark.parametrize("surrogate", [False, True])
def test_the_method_takes_the_norms_of_the_unedited_views(
    surrogate: bool, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(objective="frossl", editor="mlp", frobenius_weight=0.4).eval()
    views = make_views(surrogate=surrogate)
    z = [method.encode(clips).embedding for clips in (views.context, views.target)]
    cosines = [
        torch.nn.functional.cosine_similarity(method.edit(z[i], None), z[1 - i]) for i in (0, 1)
    ]
    found = cosines[0] if surrogate else torch.cat(cosines)
    expected = 1 - found.mean() + 0.4 * (log_frobenius(z[0]) + log_frobenius(z[1]))
    torch.testing.assert_close(method(views, step=0).loss, expected)
