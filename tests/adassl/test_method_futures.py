from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import normalize

from adassl.latents import VariationalLatent
from adassl.method import Method
from adassl.views import Views

MakeViews = Callable[..., Views]
MakeMethod = Callable[..., Method]


@pytest.mark.parametrize("objective", ["infonce", "byol"])
def test_futures_are_unit_vectors_that_differ_by_the_sampled_r(
    objective: str, make_method: MakeMethod, make_views: MakeViews
) -> None:
    clips = make_views(5).context
    method = make_method(objective=objective, latent="variational", editor="mlp").eval()
    generator = torch.Generator().manual_seed(0)
    futures = method.futures(clips, 7, generator)
    assert futures.shape == (7, 5, 8)
    torch.testing.assert_close(futures.norm(dim=-1), torch.ones(7, 5))
    assert (futures.std(dim=0).sum(dim=-1) > 0).all()
    # The axes are not mixed up: context 2 alone, with its own noise, gives its own futures.
    assert isinstance(method.latent, VariationalLatent)
    noise = method.latent.draw_noise(
        (7, 5), generator=torch.Generator().manual_seed(0), device=clips.device
    )
    embedding = method.encode(clips[2:3]).embedding
    prior = method.latent.prior(embedding)
    edited = method.predictor(method.edit(embedding, prior.mean + prior.std * noise[3, 2:3]))
    torch.testing.assert_close(futures[3, 2], edited[0] / edited[0].norm())


def test_without_r_there_is_one_future(make_method: MakeMethod, make_views: MakeViews) -> None:
    method = make_method(objective="byol").eval()
    futures = method.futures(make_views(5).context, 3)
    assert futures.shape == (3, 5, 8)
    assert torch.equal(futures[0], futures[2])


def test_a_sparse_latent_has_no_futures(make_method: MakeMethod, make_views: MakeViews) -> None:
    method = make_method(latent="sparse", editor="low_rank").eval()
    assert not method.has_futures
    with pytest.raises(NotImplementedError, match="latent='variational'"):
        method.futures(make_views(5).context, 3)


def test_embeddings_and_what_futures_are_compared_with(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    clips = make_views(5).context
    method = make_method(objective="byol").eval()
    embeddings = method.encode(clips)
    assert torch.equal(method.embed(clips), embeddings.representation)
    assert embeddings.representation.shape == (5, 10)
    assert embeddings.embedding.shape == (5, 8)
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.mul_(2)
    assert torch.equal(method.encode_target(clips), normalize(embeddings.embedding, dim=-1))
