from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch

from adassl.method import Method
from adassl.objectives.triplet import triplet
from adassl.variational import VariationalLatent
from adassl.views import Views

MakeViews = Callable[..., Views]
MakeMethod = Callable[..., Method]

GROUP = torch.tensor([0, 0, 1, 2, 2, 2, 3])


def embeddings(batch: int = 7, dim: int = 5) -> dict[str, Any]:
    names = ("edited", "edited_target", "context", "target")
    return {name: torch.randn(batch, dim) * 3 for name in names}


def slow_triplet(arrays: dict[str, Any], margin: float, weight: float, both: bool) -> float:
    """One anchor and one negative at a time, squared distances written out."""
    unit = {k: (v / v.norm(dim=1, keepdim=True)).double().numpy() for k, v in arrays.items()}
    directions = [("edited", "target")] + [("edited_target", "context")] * both
    losses = []
    for edited, positive in directions:
        for i, anchor in enumerate(unit[edited]):
            near = np.sum((anchor - unit[positive][i]) ** 2)
            total = weights = 0.0
            for j in range(len(GROUP)):
                if j == i:
                    continue
                times = weight if GROUP[i] == GROUP[j] else 1.0
                for view in ("context", "target"):
                    far = np.sum((anchor - unit[view][j]) ** 2)
                    total += times * max(0.0, margin + near - far)
                    weights += times
            losses.append(total / weights)
    return float(np.mean(losses))


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("margin", [0.2, 1.0])
def test_it_equals_the_slow_loop(margin: float, weight: float, both: bool) -> None:
    arrays = embeddings()
    inputs = arrays if both else arrays | {"edited_target": None}
    loss = triplet(**inputs, group=GROUP, margin=margin, same_video_negative_weight=weight)
    assert loss.item() == pytest.approx(slow_triplet(arrays, margin, weight, both), rel=1e-5)


def test_it_is_zero_once_every_negative_is_far_enough() -> None:
    unit = torch.eye(4, requires_grad=True)
    views: dict[str, Any] = {
        "edited": unit,
        "edited_target": unit,
        "context": unit,
        "target": unit,
    }
    group = torch.arange(4)
    assert triplet(**views, group=group, margin=1.9).item() == 0
    # All negatives lie at a squared distance of 2.
    assert triplet(**views, group=group, margin=2.5).item() == pytest.approx(0.5)


def test_a_batch_of_one_video_without_its_negatives_is_zero_and_has_a_gradient_of_zero() -> None:
    arrays = {name: value.requires_grad_() for name, value in embeddings().items()}
    group = torch.zeros(7, dtype=torch.long)
    loss = triplet(**arrays, group=group, margin=0.2, same_video_negative_weight=0.0)
    torch.autograd.backward(loss)
    assert loss.item() == 0
    for value in arrays.values():
        assert torch.equal(value.grad, torch.zeros_like(value))


def test_it_is_computed_in_float32_under_bfloat16_autocast() -> None:
    arrays = embeddings()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = triplet(**arrays, group=GROUP, margin=0.2)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, triplet(**arrays, group=GROUP, margin=0.2))


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("margin", [0.2, 1.0])
def test_with_a_negative_of_each_pair_it_equals_the_slow_loop_over_triplets(
    margin: float, both: bool
) -> None:
    arrays = embeddings() | {"negative": torch.randn(7, 5)}
    unit = {k: (v / v.norm(dim=1, keepdim=True)).double().numpy() for k, v in arrays.items()}
    expected = [
        max(0.0, margin + np.sum((anchor - near) ** 2) - np.sum((anchor - far) ** 2))
        for edited, positive in [("edited", "target"), ("edited_target", "context")][: 1 + both]
        for anchor, near, far in zip(unit[edited], unit[positive], unit["negative"], strict=True)
    ]
    inputs = arrays if both else arrays | {"edited_target": None}
    loss = triplet(**inputs, group=GROUP, margin=margin)
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-5)


@pytest.mark.parametrize("reverse", [True, False])
def test_the_edited_context_is_told_from_the_negative_of_its_pair(
    reverse: bool, make_method: MakeMethod, make_views: MakeViews
) -> None:
    settings: dict[str, Any] = {"latent": "variational", "editor": "mlp", "reverse": reverse}
    method = make_method(objective="triplet", triplet_margin=0.7, beta=0.3, **settings).eval()
    strange = make_views(seed=5).target
    views = replace(make_views(), negative=strange)
    output = method(views, step=0, generator=torch.Generator().manual_seed(2))
    x, y, away = (method.encode(v).embedding for v in (views.context, views.target, strange))
    ways = [(x, y), (y, x)][: 1 + reverse]
    generator = torch.Generator().manual_seed(2)
    latent = cast(VariationalLatent, method.latent)
    noise = latent.draw_noise((len(ways), 16), generator=generator)
    latents = [latent(*way, noise[i]) for i, way in enumerate(ways)]
    edited = [method.edit(way[0], r.value) for way, r in zip(ways, latents, strict=True)]
    expected = triplet(
        edited[0],
        y,
        context=x,
        edited_target=edited[1] if reverse else None,
        negative=away,
        margin=0.7,
    )
    kl = torch.cat([r.penalty for r in latents]).mean()
    torch.testing.assert_close(output.loss, expected + 0.3 * kl)
    with pytest.raises(ValueError, match=r"views\.negative is set with InfoNCE"):
        make_method(**settings)(views, step=0)


def test_the_method_holds_edited_anchors_against_unedited_views(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(
        objective="triplet", editor="mlp", triplet_margin=0.7, same_video_negative_weight=0.5
    ).eval()
    views = make_views()
    context, target = (method.encode(x).embedding for x in (views.context, views.target))
    expected = triplet(
        edited=method.edit(context, None),
        edited_target=method.edit(target, None),
        context=context,
        target=target,
        group=views.group,
        margin=0.7,
        same_video_negative_weight=0.5,
    )
    torch.testing.assert_close(method(views, step=0).loss, expected)
