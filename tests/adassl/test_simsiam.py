from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from adassl.method import Method
from adassl.objectives.simsiam import simsiam
from adassl.pairs import Encoding, encode_pairs
from adassl.views import Views

MakeViews = Callable[..., Views]
MakeMethod = Callable[..., Method]


def test_it_equals_the_slow_loop() -> None:
    prediction, destination = torch.randn(6, 4) * 3, torch.randn(6, 4)
    rows = zip(prediction.double().numpy(), destination.double().numpy(), strict=True)
    cosines = [p @ z / np.sqrt((p @ p) * (z @ z)) for p, z in rows]
    expected = -np.mean(cosines)
    assert simsiam(prediction, destination).item() == pytest.approx(expected, rel=1e-5)
    half = simsiam(prediction.bfloat16(), destination.bfloat16())
    assert half.dtype == torch.float32


def run(method: Method, views: Views, step: int = 0) -> torch.Tensor:
    loss: torch.Tensor = method(
        views, step=step, generator=torch.Generator().manual_seed(step)
    ).loss
    return loss


@pytest.mark.parametrize("surrogate", [False, True])
def test_both_directions_are_predicted_from_the_online_encoder_s_own_embeddings(
    surrogate: bool, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method, views = make_method(objective="simsiam").eval(), make_views(surrogate=surrogate)
    z = [method.encode(clips).embedding for clips in (views.context, views.target)]
    forward, reverse = (simsiam(method.predictor(z[a]), z[b].detach()) for a, b in ((0, 1), (1, 0)))
    expected = forward if surrogate else (forward + reverse) / 2
    torch.testing.assert_close(run(method, views), expected)
    parameters = [p for p in method.parameters() if p.requires_grad]
    torch.testing.assert_close(
        torch.autograd.grad(run(method, views), parameters),
        torch.autograd.grad(expected, parameters),
    )


def test_without_the_stop_gradient_the_loss_is_the_same_and_the_gradient_is_not(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    stopped, free = (
        make_method(objective="simsiam", stop_gradient=stop).eval() for stop in (True, False)
    )
    views, gradients = make_views(), []
    for method in (stopped, free):
        loss = run(method, views)
        weight = method.encoder.get_parameter("projector.0.weight")
        gradients.append(torch.autograd.grad(loss, weight)[0])
    assert torch.equal(run(stopped, views), run(free, views))
    assert not torch.allclose(gradients[0], gradients[1])
    z = [free.encode(clips).embedding for clips in (views.context, views.target)]
    expected = simsiam(
        free.predictor(z[0]),
        z[1],
        context=z[0],
        edited_target=free.predictor(z[1]),
        stop_gradient=False,
    )
    weight = free.encoder.get_parameter("projector.0.weight")
    torch.testing.assert_close(gradients[1], torch.autograd.grad(expected, weight)[0])


@pytest.mark.parametrize("surrogate", [False, True])
def test_stopped_pairs_are_the_same_numbers_with_a_gradient_in_the_source_alone(
    surrogate: bool, make_method: MakeMethod, make_views: MakeViews
) -> None:
    encoder, views = make_method().encoder, make_views(surrogate=surrogate)
    stopped, plain = (
        encode_pairs(encoder, None, views, Encoding(stop_gradient=stop)) for stop in (True, False)
    )
    for field in ("source", "destination", "evidence"):
        assert torch.equal(getattr(stopped, field), getattr(plain, field))
    assert plain.destination.requires_grad
    assert stopped.source.requires_grad
    assert not stopped.destination.requires_grad
    assert not stopped.evidence.requires_grad


@pytest.mark.parametrize("predictor", [True, False])
@pytest.mark.parametrize("latent", ["none", "variational"])
def test_byol_without_an_ema_trains_as_simsiam_at_twice_the_rate(
    latent: str, predictor: bool, make_method: MakeMethod, make_views: MakeViews
) -> None:
    settings: dict[str, Any] = {"latent": latent, "editor": "mlp", "predictor": predictor}
    byol = make_method(
        objective="byol", ema_momentum=0.0, ema_schedule="constant", beta=0.2, **settings
    )
    siamese = make_method(objective="simsiam", beta=0.1, **settings)
    assert {n for n, _ in byol.named_parameters() if not n.startswith("target_encoder")} == {
        n for n, _ in siamese.named_parameters()
    }
    optimizers = [
        torch.optim.SGD([p for p in m.parameters() if p.requires_grad], lr=lr)
        for m, lr in ((byol, 0.05), (siamese, 0.1))
    ]
    for step in range(4):
        losses = []
        for method, optimizer in zip((byol, siamese), optimizers, strict=True):
            loss = run(method, make_views(seed=step), step)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            method.after_step(step, total_steps=4)
            losses.append(loss.item())
        # 2 - 2 cos against -cos, and 2 beta KL against beta KL.
        assert losses[0] == pytest.approx(2 + 2 * losses[1], rel=1e-4)
    state = byol.state_dict()
    for name, value in siamese.named_parameters():
        torch.testing.assert_close(state[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("objective", ["byol", "simsiam"])
def test_without_a_predictor_the_edit_itself_is_the_prediction(
    objective: str, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(objective=objective, predictor=False, editor="mlp")
    output = method(make_views(), step=0)
    assert torch.equal(output.edited, output.prediction)
    assert not list(method.predictor.parameters())
