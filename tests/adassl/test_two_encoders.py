"""Context and target with encoders of their own, and texts."""

from dataclasses import asdict

import pytest
import torch
from torch import nn

from adassl.backbones import build_backbone
from adassl.build import build_method
from adassl.config import MethodConfig
from adassl.method import Method
from adassl.pairs import Encoding, encode_pairs
from adassl.text import TextTransformer
from adassl.views import Views

SMALL = {
    "embedding_dim": 8,
    "latent_dim": 4,
    "projector_hidden_dims": (8,),
    "latent_hidden_dims": (8,),
    "editor_hidden_dims": (8,),
}


def method_of(seed: int = 0, **config: object) -> Method:
    torch.manual_seed(seed)
    settings = MethodConfig(**{**SMALL, "encoders": "separate", **config})  # type: ignore[arg-type]
    first = build_backbone("mlp", input_shape=(1, 1, 4, 4), hidden_dims=(16, 12))
    second = build_backbone(
        "text_transformer", input_shape=(6,), hidden_dims=(16, 16), vocabulary=30
    )
    return build_method(
        first, output_dim=12, config=settings, second_encoder=second, second_output_dim=16
    )


def views_of(batch: int = 10, surrogate: bool = False) -> Views:
    generator = torch.Generator().manual_seed(1)
    texts = torch.randint(1, 30, (2, batch, 6), generator=generator)
    texts[:, :, 4:] = 0
    return Views(
        context=torch.randn(batch, 1, 1, 4, 4, generator=generator),
        target=texts[0],
        surrogate=texts[1] if surrogate else None,
    )


@pytest.mark.parametrize("latent", ["none", "variational", "sparse"])
@pytest.mark.parametrize("reverse", [True, False])
@pytest.mark.parametrize("surrogate", [True, False])
def test_the_gradient_reaches_both_encoders(latent: str, reverse: bool, surrogate: bool) -> None:
    method = method_of(latent=latent, reverse=reverse)
    output = method(views_of(surrogate=surrogate), step=2000, generator=torch.Generator())
    output.loss.backward()
    assert output.context.shape == output.target.shape == (10, 8)
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None, name
        if name.startswith(("encoder", "second_encoder")):
            assert parameter.grad.abs().max() > 0, name


def test_both_directions_are_the_clip_loss_without_r() -> None:
    method = method_of(latent="none", editor="identity", temperature=0.2).eval()
    views = views_of()
    output = method(views, step=0)
    x = nn.functional.normalize(method.encoder(views.context).embedding, dim=-1)
    y = nn.functional.normalize(method.second_encoder(views.target).embedding, dim=-1)  # type: ignore[misc]
    torch.testing.assert_close(output.context, x.detach())
    torch.testing.assert_close(output.target, y.detach())
    torch.testing.assert_close(method.encode_target(views.target), y)
    futures = method.futures(views.context, 2)
    torch.testing.assert_close(futures[0], x)


def test_shared_encoders_take_the_same_steps_as_before_to_the_last_bit() -> None:
    """With the second one None, nothing of the way of one encoder has changed."""
    torch.manual_seed(0)
    backbone = build_backbone("mlp", input_shape=(1, 1, 4, 4), hidden_dims=(16, 12))
    method = build_method(backbone, output_dim=12, config=MethodConfig(**SMALL))  # type: ignore[arg-type]
    assert "second" not in " ".join(method.state_dict())
    x, y = torch.randn(2, 10, 1, 1, 4, 4)
    views = Views(context=x, target=y)
    pairs = encode_pairs(method.encoder, None, views, Encoding())
    both = method.encoder(torch.cat([x, y])).embedding
    assert torch.equal(pairs.source, both)
    assert torch.equal(pairs.destination, torch.cat([both[10:], both[:10]]))


def test_two_encoders_of_one_kind_and_weights_are_one_encoder() -> None:
    torch.manual_seed(0)
    config = {**SMALL, "latent": "none"}
    backbones = [
        build_backbone("mlp", input_shape=(1, 1, 4, 4), hidden_dims=(16, 12)) for _ in "12"
    ]
    shared = build_method(backbones[0], output_dim=12, config=MethodConfig(**config))  # type: ignore[arg-type]
    separate = build_method(
        backbones[1],
        output_dim=12,
        config=MethodConfig(**config, encoders="separate"),  # type: ignore[arg-type]
        second_encoder=build_backbone("mlp", input_shape=(1, 1, 4, 4), hidden_dims=(16, 12)),
    )
    state = shared.state_dict()
    twice = {
        f"second_{name}": value for name, value in state.items() if name.startswith("encoder.")
    }
    separate.load_state_dict({**state, **twice})
    x, y = torch.randn(2, 10, 1, 1, 4, 4)
    losses = [m.eval()(Views(context=x, target=y), step=0).loss for m in (shared, separate)]
    torch.testing.assert_close(*losses)


def test_what_cannot_be_is_refused() -> None:
    for config, words in (
        ({"objective": "byol"}, "encoders='separate' with objective='byol'"),
        ({"objective": "simsiam"}, "encoders='separate' with objective='simsiam'"),
        ({"surrogate_form": "both"}, "encoders='separate' with surrogate_form='both'"),
        ({"encoders": "two"}, "encoders='two'"),
    ):
        with pytest.raises(ValueError, match=words):
            method_of(**config)  # type: ignore[arg-type]
    assert asdict(MethodConfig())["encoders"] == "shared"
    backbone = build_backbone("mlp", input_shape=(1, 1, 4, 4), hidden_dims=(12,))
    with pytest.raises(ValueError, match="'separate' needs one"):
        build_method(backbone, output_dim=12, config=MethodConfig(**SMALL, encoders="separate"))  # type: ignore[arg-type]
    one = build_method(backbone, output_dim=12, config=MethodConfig(**SMALL))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one encoder cannot read both"):
        one(views_of(), step=0)


def test_padding_changes_nothing_and_an_empty_text_has_a_representation() -> None:
    torch.manual_seed(0)
    network = TextTransformer(20, 8, width=16, depth=2, num_heads=2).eval()
    ids = torch.tensor([[3, 4, 5, 0, 0, 0, 0, 0], [6, 7, 8, 9, 10, 11, 12, 13]])
    whole = network(ids)
    torch.testing.assert_close(network(ids[:1, :3]), whole[:1])
    assert not torch.allclose(network(torch.tensor([[4, 3, 5]])), whole[:1]), "order counts"
    assert network(torch.zeros(1, 8, dtype=torch.long)).isfinite().all()
    backbone = build_backbone("text_transformer", input_shape=(8,), hidden_dims=(16,))
    with pytest.raises(ValueError, match="up to 8 tokens"):
        backbone(torch.ones(2, 9, dtype=torch.long))
    with pytest.raises(ValueError, match="one width for all blocks"):
        build_backbone("text_transformer", input_shape=(8,), hidden_dims=(16, 32))
