"""How pairs are encoded: in parts with the gradient of the whole, and surrogates in both forms."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from adassl.build import build_method
from adassl.config import MethodConfig
from adassl.method import Method
from adassl.pairs import encode_pairs
from adassl.views import Views

MakeViews = Callable[..., Views]
MakeMethod = Callable[..., Method]

METHODS: list[dict[str, Any]] = [
    {"objective": "infonce", "latent": "variational", "editor": "mlp"},
    {"objective": "infonce", "latent": "none", "editor": "identity"},
    {"objective": "byol", "latent": "sparse", "editor": "low_rank"},
    {"objective": "vicreg", "latent": "none", "editor": "identity"},
    {"objective": "lejepa", "latent": "variational", "editor": "mlp"},
    {"objective": "swav", "latent": "none", "editor": "identity", "queue_size": 24},
    {"objective": "dino", "latent": "none", "editor": "identity"},
]


def name(settings: Any) -> str:
    return "-".join(map(str, settings.values())) if isinstance(settings, dict) else str(settings)


def without_batchnorm(**settings: Any) -> Method:
    """A method whose encoder has no BatchNorm, and whose other parts may have it."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"latent_dim": 4, "embedding_dim": 8, "num_prototypes": 12}
    config = MethodConfig(**sizes, projector_hidden_dims=(), beta_warmup_steps=0, **settings)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.LayerNorm(16), nn.Dropout(0.3))
    method = build_method(encoder, output_dim=16, config=config)
    for parameter in method.parameters():
        if parameter.requires_grad and not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return method


def in_parts(method: Method, chunks: int) -> Method:
    """A copy that encodes its batch in parts."""
    other = copy.deepcopy(method)
    other.encoding = replace(method.encoding, chunks=chunks)
    return other


def step(method: Method, views: Views) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    output = method(views, step=1, generator=torch.Generator().manual_seed(0))
    torch.autograd.backward(output.loss)
    found = {n: p.grad for n, p in method.named_parameters() if p.grad is not None}
    return output.loss.detach(), found


@pytest.mark.parametrize("surrogate", [False, True])
@pytest.mark.parametrize("settings", METHODS, ids=name)
def test_parts_have_the_gradient_of_the_whole_batch(
    settings: dict[str, Any], surrogate: bool, make_views: MakeViews
) -> None:
    method = without_batchnorm(**settings)
    for backbone in method.parts()["backbone"]:
        backbone.eval()  # no dropout: its masks are drawn by part
    crops = 2 if settings["objective"] in ("swav", "dino") else 0
    views = make_views(surrogate=surrogate, crops=crops)
    loss, gradients = step(in_parts(method, 1), views)
    for chunks in (2, 4):
        other, others = step(in_parts(method, chunks), views)
        torch.testing.assert_close(other, loss)
        torch.testing.assert_close(others, gradients)


def test_the_second_encoding_of_a_part_draws_what_the_first_drew(
    make_views: MakeViews, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, found = without_batchnorm(latent="none", editor="identity"), []
    for once in (False, True):
        if once:  # held in the forward pass, so that nothing is encoded again
            monkeypatch.setattr("adassl.pairs.checkpoint", lambda act, x, **_: act(x))
        torch.manual_seed(5)
        found.append(step(in_parts(method, 4), make_views()))
    torch.testing.assert_close(*found)


def test_of_a_part_alone_the_activations_are_held(make_views: MakeViews) -> None:
    def most_held(chunks: int) -> int:
        method, held = in_parts(without_batchnorm(latent="none", editor="identity"), chunks), 0
        sizes: list[int] = []
        seen = method.encoder.backbone.register_forward_hook(
            lambda module, given, output: sizes.append(len(output))
        )
        output = method(make_views(32), step=1)
        assert sizes == [64 // chunks] * chunks

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal held
            held += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            method(make_views(32), step=1)
        torch.autograd.backward(output.loss)
        assert len(sizes) == (2 if chunks == 1 else 3 * chunks)
        seen.remove()
        return held

    assert most_held(8) < most_held(1)


def test_batchnorm_takes_each_part_by_itself_and_moves_once_a_part(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = in_parts(make_method(), 2)
    expected, views = copy.deepcopy(method.encoder), make_views()
    for half in (slice(0, 8), slice(8, 16)):
        expected(torch.cat([views.context[half], views.target[half]]))
    step(method, views)
    for (entry, value), other in zip(
        method.encoder.state_dict().items(), expected.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(value, other, msg=entry)


@pytest.mark.parametrize("objective", ["infonce", "byol", "simsiam"])
@pytest.mark.parametrize("latent", ["none", "given"])
def test_a_surrogate_that_nothing_reads_is_not_encoded(
    latent: str, objective: str, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(objective=objective, latent=latent, editor="mlp")
    views = make_views(surrogate=True)
    if latent == "given":
        views = replace(views, latent=torch.randn(16, 4))
    rows = []
    for encoder in (method.encoder, method.target_encoder):
        if encoder is not None:
            encoder.register_forward_hook(lambda m, given, output: rows.append(len(given[0])))
    method(views, step=0)
    assert sum(rows) == 32, "x and x+ alone"
    read = make_method(objective=objective, latent="variational", editor="mlp")
    rows.clear()
    for encoder in (read.encoder, read.target_encoder):
        if encoder is not None:
            encoder.register_forward_hook(lambda m, given, output: rows.append(len(given[0])))
    read(make_views(surrogate=True), step=0)
    assert sum(rows) == 48


@pytest.mark.parametrize("objective", ["infonce", "byol", "simsiam"])
@pytest.mark.parametrize("latent", ["none", "variational"])
def test_the_forward_direction_alone_is_what_a_surrogate_equal_to_the_target_gives(
    latent: str, objective: str, make_method: MakeMethod, make_views: MakeViews
) -> None:
    settings: dict[str, Any] = {"objective": objective, "latent": latent, "editor": "mlp"}
    method, other = make_method(**settings, reverse=False).eval(), make_method(**settings).eval()
    views = make_views()
    pairs = encode_pairs(method.encoder, method.target_encoder, views, method.encoding)
    assert pairs.num_directions == 1
    losses = [
        m(v, step=1, generator=torch.Generator().manual_seed(0)).loss
        for m, v in ((method, views), (other, replace(views, surrogate=views.target)))
    ]
    torch.testing.assert_close(*losses)


def with_both(views: Views) -> Views:
    noise = torch.randn(views.context.shape, generator=torch.Generator().manual_seed(9))
    return replace(views, context_surrogate=views.context + 0.5 * noise)


@pytest.mark.parametrize("objective", ["infonce", "byol", "simsiam"])
def test_both_surrogates_are_read_in_their_own_direction_with_a_gradient(
    objective: str, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(
        objective=objective, latent="variational", editor="mlp", surrogate_form="both"
    ).eval()
    views = with_both(make_views(surrogate=True))
    assert views.surrogate is not None
    assert views.context_surrogate is not None
    for x in (views.surrogate, views.context_surrogate):
        x.requires_grad_()
    pairs = encode_pairs(method.encoder, method.target_encoder, views, method.encoding)
    assert pairs.num_directions == 2
    # The online encoder's, also where the target has a network of its own.
    if method.target_encoder is not None:
        with torch.no_grad():
            for parameter in method.target_encoder.parameters():
                parameter.mul_(1.5)
    evidence = [method.encode(x).embedding for x in (views.surrogate, views.context_surrogate)]
    torch.testing.assert_close(pairs.evidence, torch.cat(evidence))
    assert pairs.destination.requires_grad == (objective == "infonce")
    output = method(views, step=0, generator=torch.Generator().manual_seed(0))
    torch.autograd.backward(output.loss)
    for x in (views.surrogate, views.context_surrogate):
        assert x.grad is not None
        assert x.grad.any()


def test_both_surrogates_are_needed_and_one_form_ignores_none_of_them(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    settings: dict[str, Any] = {"latent": "variational", "editor": "mlp"}
    both, one = make_method(**settings, surrogate_form="both"), make_method(**settings)
    views = make_views(surrogate=True)
    with pytest.raises(ValueError, match=r"views.context_surrogate=None: it needs an extra view"):
        both(views, step=0)
    with pytest.raises(ValueError, match=r"views.surrogate=None.*choose surrogate_form='target_"):
        both(replace(with_both(views), surrogate=None), step=0)
    with pytest.raises(ValueError, match=r"would ignore it; choose surrogate_form='both'"):
        one(with_both(views), step=0)


@pytest.mark.parametrize("objective", ["infonce", "byol"])
def test_frozen_parts_stand_still_in_evaluation_mode(
    objective: str, make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(objective=objective, latent="variational", editor="mlp")
    method.freeze("backbone", "latent")
    method.train()
    assert method.encoder.projector.training
    frozen = [m for part in ("backbone", "latent") for m in method.parts()[part]]
    before = copy.deepcopy([m.state_dict() for m in frozen])
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1)
    for number in range(2):
        _, gradients = step(method, make_views(seed=number))
        optimizer.step()
        method.after_step(number, total_steps=10)
    assert not any(n.startswith(("encoder.backbone", "latent")) for n in gradients)
    assert any(n.startswith("encoder.projector") for n in gradients)
    assert not any(module.training for module in frozen)
    for module, state in zip(frozen, before, strict=True):
        for entry, value in module.state_dict().items():
            assert torch.equal(value, state[entry]), entry
    with pytest.raises(ValueError, match=r"freeze\('objective'\): only backbone, projector"):
        method.freeze("objective")
