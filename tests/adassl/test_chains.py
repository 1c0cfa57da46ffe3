"""Chains: the editor again and again, against a loop that is written out."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from adassl.build import build_method
from adassl.chains import chain_futures
from adassl.config import MethodConfig
from adassl.forecaster import Forecaster
from adassl.method import Method
from adassl.objectives.infonce import info_nce
from adassl.variational import VariationalLatent
from adassl.views import Views

MakeViews = Callable[..., Views]
MakeMethod = Callable[..., Method]

V: dict[str, Any] = {"latent": "variational", "editor": "mlp", "temperature": 0.3, "beta": 0.4}


def chain_of(views: Views, num_moments: int) -> Views:
    """Each moment a step from the one before."""
    generator = torch.Generator().manual_seed(1)
    size = (num_moments - 2, *views.target.shape)
    steps = 0.5 * torch.randn(size, generator=generator)
    return replace(views, further=views.target + steps.cumsum(dim=0))


def latent_of(method: Method) -> VariationalLatent:
    return cast(VariationalLatent, method.latent)


def noise(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("num_moments", [3, 5])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_loss_is_the_mean_of_the_steps_written_out(
    reverse: bool, num_moments: int, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(**V, reverse=reverse, free_nats=0.01).eval()
    views = chain_of(make_views(6), num_moments)
    output = method(views, step=0, generator=noise())
    z = [method.encode(moment).embedding for moment in views.moments]
    ways = [z, z[::-1]] if reverse else [z]
    edited, drawn = [way[0] for way in ways], noise()
    losses, kls = [], []
    for j in range(1, num_moments):
        source = latent_of(method).draw_noise((len(ways), 6), generator=drawn)
        penalties = []
        for i, way in enumerate(ways):
            sample = latent_of(method)(edited[i], way[j], source[i])
            edited[i] = method.editor(edited[i], sample.value)
            penalties.append(sample.penalty)
        kls.append(torch.cat(penalties).mean())
        ssl = info_nce(
            edited[0],
            z[j],
            context=z[num_moments - 1 - j] if reverse else z[0],
            edited_target=edited[1] if reverse else None,
            group=views.group,
            temperature=0.3,
        )
        losses.append(ssl + 0.4 * kls[-1])
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(output.terms["kl"], torch.stack(kls).mean())
    parameters = [p for p in method.parameters() if p.requires_grad]
    for one, other in zip(
        torch.autograd.grad(output.loss, parameters),
        torch.autograd.grad(expected, parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(output.target, normalize(z[1], dim=-1).detach())


@pytest.mark.parametrize("objective", ["infonce", "triplet", "byol", "simsiam", "lejepa"])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_chain_of_two_moments_is_a_pair(
    objective: str, reverse: bool, make_method: MakeMethod, make_views: MakeViews
) -> None:
    settings = V | {"objective": objective, "reverse": reverse}
    one, other = make_method(**settings), make_method(**settings)
    views = make_views()
    none = views.target[None][:0]
    losses = []
    for method, seen in ((one, views), (other, replace(views, further=none))):
        output = method(seen, step=1, generator=noise())
        torch.autograd.backward(output.loss)
        losses.append(output.loss)
    # The target network encodes one view less where pairs go forward only, and it has BatchNorms.
    if objective != "byol" or reverse:
        torch.testing.assert_close(*losses)
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            if a.grad is not None:
                torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("objective", ["infonce", "triplet", "lejepa"])
def test_pairs_train_as_before_there_were_chains_to_the_last_bit(
    objective: str, make_method: MakeMethod, make_views: MakeViews
) -> None:
    """The very operators in the very order, in which their gradients add up."""
    one, other = (make_method(**V | {"objective": objective}) for _ in range(2))
    views = make_views()
    torch.autograd.backward(one(views, step=0, generator=noise()).loss)
    drawn = noise()
    both = other.encoder(torch.cat([views.context, views.target])).embedding
    context, target = both.chunk(2)
    destination = torch.cat([target, context])
    latent = latent_of(other)
    source = latent.draw_noise((2, 16), generator=drawn).flatten(0, 1)
    sample = latent(both, destination, source)
    edited = other.editor(both, sample.value)
    ssl = other.objective(
        edited[:16],
        destination[:16],
        context=both[:16],
        edited_target=edited[16:],
        group=views.group,
        generator=drawn,
    )
    torch.autograd.backward(ssl + 0.4 * sample.penalty.mean())
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad)


def test_what_comes_later_teaches_the_first_step(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    """The gradient of the last step's loss goes through every edit before it."""
    method = make_method(**V, reverse=False).eval()
    views = chain_of(make_views(), 4)
    embedded = [method.encode(moment).embedding.detach() for moment in views.moments]
    first = embedded[0].requires_grad_()
    edited = first
    for z in embedded[1:]:
        edited = method.editor(edited, latent_of(method)(edited, z, generator=noise()).value)
    output = method(views, step=0, generator=noise())
    assert output.edited.shape == first.shape
    (gradient,) = torch.autograd.grad(edited.sum(), first)
    assert gradient.abs().min() > 0


@pytest.mark.parametrize("chunks", [1, 4])
@pytest.mark.parametrize("objective", ["infonce", "aninfonce", "byol", "vicreg", "mmcr"])
@pytest.mark.parametrize("latent", ["none", "variational", "sparse"])
def test_every_parameter_has_a_gradient(
    latent: str, objective: str, chunks: int, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(**V | {"latent": latent, "objective": objective})
    method.encoding = replace(method.encoding, chunks=chunks)
    output = method(chain_of(make_views(), 3), step=5, generator=noise())
    torch.autograd.backward(output.loss)
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"objective": "swav", "latent": "none", "editor": "identity"}, "nothing is edited"),
        ({"objective": "dino", "latent": "none", "editor": "identity"}, "nothing is edited"),
        ({"objective": "hinfonce"}, "after the first step there is none"),
        ({"latent": "none", "editor": "identity"}, "leave x_1 as it is"),
        ({"latent": "given"}, "the r of one step"),
        ({"surrogate_form": "both"}, "chains have no surrogates"),
        ({"encoders": "separate"}, "are of one kind"),
    ],
)
def test_what_has_no_chains_says_so(
    settings: dict[str, Any],
    words: str,
    make_method: MakeMethod,
    make_views: MakeViews,
) -> None:
    config = MethodConfig(**V | settings)
    with pytest.raises(ValueError, match=words):
        config.check_chains()
    if config.encoders == "separate":
        second = torch.nn.Flatten()
        method = build_method(second, output_dim=12, config=config, second_encoder=second)
    else:
        method = make_method(**V | settings)
    views = chain_of(make_views(surrogate=True), 3)
    views = replace(views, context_surrogate=views.surrogate)
    if config.surrogate_form != "both":
        views = replace(views, surrogate=None, context_surrogate=None)
    if config.latent == "given":
        views = replace(views, latent=torch.zeros(16, 4))
    with pytest.raises(ValueError, match=r"views\.further is set"):
        method(views, step=0)


def test_a_surrogate_beside_a_chain_is_refused(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    with pytest.raises(ValueError, match=r"views\.further is set beside surrogates: chains have"):
        make_method(**V)(chain_of(make_views(surrogate=True), 3), step=0)
    with pytest.raises(ValueError, match="further of shape"):
        replace(make_views(), further=make_views().target[None, :, :6])


@pytest.mark.parametrize("objective", ["infonce", "byol"])
@pytest.mark.parametrize("rescaled", [False, True])
def test_futures_are_drawn_from_the_prior_of_what_was_edited(
    rescaled: bool, objective: str, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(**V | {"objective": objective}).eval()
    z = method.encode(make_views(6).context).embedding
    found = chain_futures(method, z, 4, 3, noise(), rescaled=rescaled)
    assert found.shape == (3, 6, 4, 8)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(3, 6, 4))
    drawn, edited = noise(), z.repeat_interleave(4, dim=0)
    for step in found:
        prior = latent_of(method).prior(edited)
        source = torch.randn(1, 24, 4, generator=drawn)[0]
        edited = method.edit(edited, prior.mean + prior.std * source)
        unit = normalize(method.predictor(edited), dim=-1)
        torch.testing.assert_close(step.flatten(0, 1), unit)
        if rescaled:
            edited = unit * z.norm(dim=-1).mean()
    assert not torch.allclose(found[1, :, 0], found[1, :, 1])
    control = make_method(**V | {"latent": "none"}).eval()
    assert chain_futures(control, z, 4, 2).shape == (2, 6, 1, 8)


@pytest.mark.parametrize("latent", ["variational", "sparse"])
def test_a_forecaster_leads_from_future_to_future(
    make_method: MakeMethod, make_views: MakeViews, latent: str
) -> None:
    method = make_method(latent=latent, editor="mlp").eval()
    forecaster, z = forecaster_of(method, make_views(40))
    first, again = (chain_futures(method, z, 5, 2, noise(), forecaster=forecaster) for _ in "ab")
    assert first.shape == (2, 40, 5, 8)
    torch.testing.assert_close(first.norm(dim=-1), torch.ones(2, 40, 5))
    assert torch.equal(first, again)
    assert (first.std(dim=2).mean(dim=(1, 2)) > 0).all()
    drawn = noise()
    unit = forecaster.futures(z.repeat_interleave(5, dim=0), 1, drawn)[0]
    then = forecaster.futures(unit * z.norm(dim=-1).mean(), 1, drawn)[0]
    torch.testing.assert_close(first[1].flatten(0, 1), then)


def test_without_r_a_forecaster_has_one_future(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(objective="byol", latent="none", editor="mlp").eval()
    forecaster, z = forecaster_of(method, make_views(40))
    found = chain_futures(method, z, 5, 2, forecaster=forecaster)
    assert found.shape == (2, 40, 1, 8)
    torch.testing.assert_close(found[0, :, 0], forecaster.futures(z, 1)[0])


def forecaster_of(method: Method, views: Views) -> tuple[Forecaster, Tensor]:
    """Fitted on pairs, with r that are noise."""
    with torch.no_grad():
        z, target = method.encode(views.context).embedding, method.encode_target(views.target)
    latent = None if method.latent is None else torch.randn(len(z), method.latent.latent_dim)
    return Forecaster.fit(method, z, target, latent), z
