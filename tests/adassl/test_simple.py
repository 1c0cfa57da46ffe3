from collections.abc import Callable

import numpy as np
import pytest
import torch

from adassl.diagnostics import alignment, centre_norm, residual_norm
from adassl.method import Method
from adassl.objectives.simple import simple
from adassl.optim import build_adamw
from adassl.views import Views

MakeViews = Callable[..., Views]
MakeMethod = Callable[..., Method]


@pytest.mark.parametrize("weight", [0.0, 1.0, 3.0])
def test_it_equals_the_slow_loop(weight: float) -> None:
    edited, context, target = (torch.randn(6, 5) * 3 for _ in range(3))

    def unit(vectors: torch.Tensor) -> list[np.ndarray]:
        return [v / np.sqrt(v @ v) for v in vectors.double().numpy()]

    pairs = zip(unit(edited), unit(target), strict=True)
    align = np.mean([np.sum((p - d) ** 2) for p, d in pairs])
    # The squared length of a mean is the mean of all inner products.
    views = unit(torch.cat([context, target]))
    centre = np.mean([a @ b for a in views for b in views])
    loss = simple(edited, target, context=context, centre_weight=weight)
    assert loss.item() == pytest.approx(0.5 * (align + weight * centre), rel=1e-5)


def test_a_step_down_its_gradient_shrinks_the_centre() -> None:
    views = (torch.randn(8, 5) + 1).requires_grad_()
    context, target = views.chunk(2)
    loss = simple(target, target, context=context, centre_weight=1.0)
    (gradient,) = torch.autograd.grad(loss, views)
    before, after = (
        centre_norm(torch.nn.functional.normalize(v, dim=1)) for v in (views, views - gradient)
    )
    assert after < before


def test_the_method_takes_the_centre_of_the_unedited_views(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(objective="simple", editor="mlp", centre_weight=2.0).eval()
    for surrogate in (False, True):
        views = make_views(surrogate=surrogate)
        output = method(views, step=0)
        align = alignment(output.edited, output.target)
        if not surrogate:
            unit = torch.nn.functional.normalize
            reverse = method.edit(method.encode(views.target).embedding, None)
            align = (align + alignment(unit(reverse, dim=1), output.context)) / 2
        centre = centre_norm(torch.cat([output.context, output.target]))
        torch.testing.assert_close(output.loss, 0.5 * (align + 2.0 * centre**2))


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_alignment_alone_collapses_and_a_price_on_the_centre_prevents_it(
    weight: float, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(objective="simple", centre_weight=weight)
    optimizer = build_adamw(method, lr=3e-3, weight_decay=0.0)
    for step in range(150):
        output = method(make_views(64, seed=step), step=step)
        optimizer.zero_grad()
        torch.autograd.backward(output.loss)
        optimizer.step()
    views = torch.stack([output.context, output.target])
    centre, residual = centre_norm(views.flatten(0, 1)), residual_norm(views)
    if weight == 0:
        assert centre > 0.95
        assert residual < 0.3
    else:
        assert centre < 0.2
        assert residual > 0.8
