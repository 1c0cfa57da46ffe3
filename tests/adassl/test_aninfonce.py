from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from adassl.method import Method
from adassl.objectives.aninfonce import (
    AnInfoNCE,
    HInfoNCE,
    PredictedWeights,
    SharedWeights,
    an_info_nce,
)
from adassl.objectives.infonce import info_nce
from adassl.views import Views

MakeViews = Callable[..., Views]
MakeMethod = Callable[..., Method]

GROUP = torch.tensor([0, 0, 1, 2, 2, 2, 3])


def embeddings(batch: int = 7, dim: int = 5) -> dict[str, Any]:
    names = ("edited", "edited_target", "context", "target")
    return {name: torch.randn(batch, dim) * 3 for name in names}


def slow_weighted_nt_xent(
    arrays: dict[str, Any], weights: torch.Tensor, temperature: float, same_video: float, both: bool
) -> float:
    """The weighted squared distance written out, one anchor and one candidate at a time."""
    unit = {k: (v / v.norm(dim=1, keepdim=True)).double().numpy() for k, v in arrays.items()}
    w, batch, losses = weights.double().numpy(), len(GROUP), []

    def likeness(row: int, anchor: Any, candidate: Any) -> Any:
        return np.exp(-0.5 * np.sum(w[row] * (anchor - candidate) ** 2) / temperature)

    for direction, positive in enumerate(("target", "context") if both else ("target",)):
        edited = unit[("edited", "edited_target")[direction]]
        for i in range(batch):
            row = direction * batch + i
            hit = likeness(row, edited[i], unit[positive][i])
            denominator = hit
            for j in range(batch):
                if j == i:
                    continue
                times = same_video if GROUP[i] == GROUP[j] else 1.0
                for view in ("context", "target"):
                    denominator += times * likeness(row, edited[i], unit[view][j])
            losses.append(-np.log(hit / denominator))
    return float(np.mean(losses))


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("same_video", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_weighted_loss_equals_the_slow_loop(
    temperature: float, same_video: float, both: bool
) -> None:
    arrays, weights = embeddings(), torch.randn(14 if both else 7, 5).exp()
    expected = slow_weighted_nt_xent(arrays, weights, temperature, same_video, both)
    inputs = arrays if both else arrays | {"edited_target": None}
    loss = an_info_nce(
        **inputs,
        group=GROUP,
        temperature=temperature,
        same_video_negative_weight=same_video,
        weights=weights,
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_weights_of_one_are_infonce_with_its_gradients() -> None:
    arrays = {name: value.requires_grad_() for name, value in embeddings().items()}
    settings: dict[str, Any] = {"group": GROUP, "temperature": 0.1}
    plain = info_nce(**arrays, **settings)
    weighted = an_info_nce(**arrays, **settings, weights=torch.ones(14, 5))
    torch.testing.assert_close(weighted, plain)
    of_plain = torch.autograd.grad(plain, list(arrays.values()))
    of_weighted = torch.autograd.grad(weighted, list(arrays.values()))
    torch.testing.assert_close(of_weighted, of_plain, atol=1e-6, rtol=1e-4)


def test_a_dimension_of_weight_zero_does_not_count() -> None:
    arrays = embeddings()
    unit = {name: value / value.norm(dim=1, keepdim=True) for name, value in arrays.items()}
    # Mirrored in dimension 0 the anchors stay unit vectors, and far from what they were.
    mirror = torch.tensor([-1.0, 1, 1, 1, 1])
    mirrored = unit | {n: unit[n] * mirror for n in ("edited", "edited_target")}
    weights = torch.tensor([0.0, 1, 1, 1, 1]).expand(14, 5)
    first, second = (
        an_info_nce(**u, group=GROUP, temperature=0.1, weights=weights) for u in (unit, mirrored)
    )
    torch.testing.assert_close(first, second)


def test_it_is_computed_in_float32_under_bfloat16_autocast() -> None:
    arrays, weights = embeddings(), torch.randn(14, 5).exp()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = an_info_nce(**arrays, group=GROUP, temperature=0.05, weights=weights)
        predicted = PredictedWeights(5, (8,))(arrays["context"])
    assert loss.dtype == predicted.dtype == torch.float32
    assert torch.equal(loss, an_info_nce(**arrays, group=GROUP, temperature=0.05, weights=weights))


@pytest.mark.parametrize("weights", [SharedWeights(5), PredictedWeights(5, (8,))])
def test_weights_start_at_one(weights: torch.nn.Module) -> None:
    assert torch.equal(weights(torch.randn(6, 5)), torch.ones(6, 5))


def test_shared_weights_are_alike_for_all_and_predicted_ones_are_not() -> None:
    shared, predicted = SharedWeights(5), PredictedWeights(5, (8,))
    for module in (shared, predicted):
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter)
    source = torch.randn(6, 5)
    assert torch.equal(shared(source), shared.log_weight.exp().expand(6, 5))
    assert (predicted(source) > 0).all()
    assert (predicted(source).std(dim=0) > 0).all()


@pytest.mark.parametrize("objective", ["aninfonce", "hinfonce"])
def test_a_checkpoint_with_the_weights_in_the_method_still_loads(
    objective: str, make_method: MakeMethod
) -> None:
    saved, loaded = (make_method(objective=objective, seed=seed) for seed in (0, 1))
    old = {n.replace("objective.weights.", "weights."): v for n, v in saved.state_dict().items()}
    assert any(n.startswith("weights.") for n in old)
    loaded.load_state_dict(old)
    for name, value in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


@pytest.mark.parametrize("surrogate", [False, True])
@pytest.mark.parametrize("latent", ["none", "variational"])
@pytest.mark.parametrize("objective", ["aninfonce", "hinfonce"])
def test_a_fresh_method_is_infonce(
    objective: str, latent: str, surrogate: bool, make_method: MakeMethod, make_views: MakeViews
) -> None:
    settings = {"latent": latent, "editor": "mlp", "same_video_negative_weight": 0.5}
    method, plain = make_method(objective=objective, **settings), make_method(**settings)
    state = method.state_dict().items()
    plain.load_state_dict({n: v for n, v in state if not n.startswith("objective.")})
    views = make_views(surrogate=surrogate)
    first, second = (
        m(views, step=1, generator=torch.Generator().manual_seed(0)) for m in (method, plain)
    )
    torch.testing.assert_close(first.loss, second.loss)
    torch.testing.assert_close(first.edited, second.edited)


@pytest.mark.parametrize("objective", ["aninfonce", "hinfonce"])
def test_the_weights_are_those_of_each_anchor_s_unedited_source(
    objective: str, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method, views = make_method(objective=objective, editor="low_rank").eval(), make_views()
    assert isinstance(method.objective, AnInfoNCE | HInfoNCE)
    for module in (method.objective.weights, method.editor):
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter)
    both = [method.encode(clips).embedding for clips in (views.context, views.target)]
    expected = an_info_nce(
        edited=method.edit(both[0], None),
        edited_target=method.edit(both[1], None),
        context=both[0],
        target=both[1],
        group=views.group,
        temperature=0.1,
        weights=torch.cat([method.objective.weights(embedding) for embedding in both]),
    )
    torch.testing.assert_close(method(views, step=0).loss, expected)
