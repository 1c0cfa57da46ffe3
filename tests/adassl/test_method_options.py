"""What the options of the latent change in a step: given r, free nats, mixture, use entropy."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from adassl.method import Method
from adassl.step_output import StepOutput
from adassl.views import Views

MakeViews = Callable[..., Views]
MakeMethod = Callable[..., Method]


def run(method: Method, views: Views) -> StepOutput:
    output: StepOutput = method(views, step=10, generator=torch.Generator().manual_seed(0))
    return output


def gradients(method: Method, loss: torch.Tensor) -> dict[str, torch.Tensor | None]:
    method.zero_grad()
    torch.autograd.backward(loss)
    return {n: p.grad for n, p in method.named_parameters() if p.requires_grad}


def with_latent(views: Views, dim: int = 4) -> Views:
    return dataclasses.replace(views, latent=torch.randn(len(views), dim))


@pytest.mark.parametrize(
    "objective", ["infonce", "aninfonce", "hinfonce", "byol", "simsiam", "vicreg"]
)
def test_edited_is_before_the_predictor_and_prediction_after_it(
    objective: str, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method, views = make_method(objective=objective, editor="mlp").eval(), make_views()
    output = run(method, views)
    edited = method.edit(method.encode(views.context).embedding, None)
    torch.testing.assert_close(output.edited, normalize(edited, dim=1))
    torch.testing.assert_close(output.prediction, normalize(method.predictor(edited), dim=1))
    assert torch.equal(output.edited, output.prediction) == (objective not in ("byol", "simsiam"))
    assert not output.prediction.requires_grad


@pytest.mark.parametrize("surrogate", [False, True])
@pytest.mark.parametrize("editor", ["mlp", "low_rank", "additive", "slots", "attention"])
@pytest.mark.parametrize("objective", ["infonce", "byol"])
def test_a_given_r_is_what_the_editor_gets_and_costs_nothing(
    objective: str, editor: str, surrogate: bool, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(objective=objective, latent="given", editor=editor).eval()
    for parameter in method.editor.parameters():
        torch.nn.init.normal_(parameter)
    views = with_latent(make_views(surrogate=surrogate), 8 if editor == "additive" else 4)
    output = run(method, views)
    assert views.latent is not None
    edited = method.edit(method.encode(views.context).embedding, views.latent)
    torch.testing.assert_close(output.edited, normalize(edited, dim=1))
    assert output.latent is not None
    assert torch.equal(output.latent.value, views.latent)
    assert set(output.terms) == {"loss", "ssl", "beta"}
    assert torch.equal(output.terms["loss"], output.terms["ssl"])
    assert all(g is not None for g in gradients(method, output.loss).values())
    assert not method.has_futures


def test_in_reverse_a_given_r_has_the_other_sign(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(latent="given", editor="mlp").eval()
    views = with_latent(make_views())
    assert views.latent is not None
    swapped = Views(
        context=views.target, target=views.context, group=views.group, latent=-views.latent
    )
    torch.testing.assert_close(run(method, views).loss, run(method, swapped).loss)
    unsigned = dataclasses.replace(swapped, latent=views.latent)
    assert not torch.allclose(run(method, views).loss, run(method, unsigned).loss)


def test_a_given_r_that_is_missing_of_the_wrong_size_or_not_asked_for_is_refused(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    method, views = make_method(latent="given", editor="mlp"), make_views()
    with pytest.raises(
        ValueError,
        match=r"hand in r of shape \(16, latent_dim=4\)",
    ):
        run(method, views)
    with pytest.raises(
        ValueError, match=re.escape("views.latent of shape (16, 3): must be [16, 4]")
    ):
        run(method, with_latent(views, 3))
    for latent, kind in (("none", "None"), ("variational", "VariationalLatent")):
        other = make_method(latent=latent, editor="mlp")
        with pytest.raises(ValueError, match=f"latent is {kind},.*use GivenLatent"):
            run(other, with_latent(views))


def test_small_crops_are_refused_where_pairs_alone_are_compared(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    with pytest.raises(ValueError, match=r"with BYOL,.*choose swav or dino"):
        run(make_method(objective="byol"), make_views(crops=1))


@pytest.mark.parametrize("components", [1, 3])
def test_below_its_free_nats_the_kl_has_no_say_and_above_it_the_usual_one(
    components: int, make_method: MakeMethod, make_views: MakeViews
) -> None:
    def step(**changes: Any) -> tuple[StepOutput, dict[str, torch.Tensor | None]]:
        settings = {"latent": "variational", "editor": "mlp", "prior_components": components}
        method = make_method(**settings, **changes)
        output = run(method, make_views())
        return output, gradients(method, output.loss)

    usual, usual_gradients = step(beta=0.3)
    above, above_gradients = step(beta=0.3, free_nats=1e-3)
    assert torch.equal(above.loss, usual.loss)
    torch.testing.assert_close(above_gradients, usual_gradients)
    below, below_gradients = step(beta=0.3, free_nats=100.0)
    free, free_gradients = step(beta=0.0)
    assert torch.equal(below.terms["kl"], usual.terms["kl"])
    torch.testing.assert_close(below.loss, free.loss + 0.3 * 100.0)
    # Also that no gradient is missing, which DDP would wait for.
    torch.testing.assert_close(below_gradients, free_gradients)
    assert all(gradient is not None for gradient in below_gradients.values())


def test_with_a_mixture_prior_the_gradient_reaches_every_parameter_and_futures_differ(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    method, views = (
        make_method(latent="variational", editor="mlp", prior_components=3),
        make_views(),
    )
    for parameter in method.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    for parameter_name, gradient in gradients(method, run(method, views).loss).items():
        assert gradient is not None, parameter_name
        assert gradient.abs().max() > 0, parameter_name
    futures = method.eval().futures(views.context, 9, torch.Generator().manual_seed(0))
    assert futures.shape == (9, 16, 8)
    assert (futures.std(dim=0).sum(dim=-1) > 0).all()


def test_a_rate_takes_the_place_of_the_active_dimensions(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    settings = {"latent": "sparse", "editor": "low_rank", "beta": 0.2}
    plain = run(make_method(**settings), make_views())
    output = run(make_method(**settings, active_rate=0.25), make_views())
    assert "rate" not in plain.terms
    torch.testing.assert_close(output.terms["l0"], plain.terms["l0"])
    torch.testing.assert_close(output.loss, output.terms["ssl"] + 0.2 * output.terms["rate"])
    assert output.terms["rate"] > 0
