from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from adassl.build import build_method
from adassl.config import MethodConfig
from adassl.forecaster import (
    FittedPrior,
    Forecaster,
    LinearMap,
    cross_fitted_futures,
    folds_of,
)
from adassl.method import Method

DIM, LATENT, PAIRS = 4, 3, 2000


def make(latent: Any = "variational") -> Method:
    torch.manual_seed(0)
    config = MethodConfig(latent=latent, latent_dim=LATENT, embedding_dim=DIM)
    return build_method(nn.Identity(), output_dim=DIM, config=config).eval()


def two_kinds(num: int, seed: int) -> tuple[Tensor, Tensor]:
    """z and r: the mean of r is linear in z, and how far r spreads depends on the sign of z_0.

    Its dimensions are one and the same number.
    """
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(num, DIM, generator=generator)
    spread = torch.where(z[:, :1] > 0, 3.0, 0.3)
    noise = spread * torch.randn(num, 1, generator=generator)
    return z, z[:, 1:2] + noise.expand(-1, LATENT)


def test_draws_have_the_mean_the_correlation_and_the_spread_of_like_contexts() -> None:
    prior = FittedPrior.fit(*two_kinds(PAIRS, 0))
    z, _ = two_kinds(50, 1)
    drawn = prior.sample(z, 400, torch.Generator().manual_seed(2))
    assert drawn.shape == (400, 50, LATENT)
    torch.testing.assert_close(drawn[..., 0], drawn[..., 1], atol=0.2, rtol=0)
    surely = z[:, 0].abs() > 0.7
    wide = z[:, 0] > 0
    narrow_std, wide_std = (
        drawn.std(dim=0)[surely & which].mean().item() for which in (~wide, wide)
    )
    assert narrow_std < 1.0  # truly 0.3, some of the like contexts are of the other kind
    assert wide_std == pytest.approx(3.0, rel=0.15)
    means = drawn.mean(dim=0)[surely & ~wide, 0]
    torch.testing.assert_close(means, z[surely & ~wide, 1], atol=0.3, rtol=0)


def test_draws_are_residuals_of_pairs_and_repeat_with_the_generator() -> None:
    z, r = two_kinds(PAIRS, 0)
    prior = FittedPrior.fit(z, r)
    first, again = (prior.sample(z[:7], 5, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    residual = first - prior.mean(z[:7])
    distance = torch.cdist(residual.flatten(0, 1), prior.residual).amin(dim=1)
    assert distance.max() < 0.01


def test_futures_lie_where_embeddings_of_clips_do() -> None:
    """The editor's answers are turned by a rotation; read as clips are, they come right."""
    method = make()
    z, r = two_kinds(PAIRS, 0)
    rotation, _ = torch.linalg.qr(torch.randn(DIM, DIM))
    with torch.no_grad():
        target = method.edited_futures(z, r[None])[0] @ rotation
    forecaster = Forecaster.fit(method, z, target, r)
    mean = forecaster.prior.mean(z) + forecaster.prior.residual if forecaster.prior else r
    told = forecaster.placed(method.edited_futures(z, mean[None])[0])
    torch.testing.assert_close(told, target, atol=0.03, rtol=0)
    futures = forecaster.futures(z[:9], 16, torch.Generator().manual_seed(0))
    assert futures.shape == (16, 9, DIM)
    torch.testing.assert_close(futures.norm(dim=-1), torch.ones(16, 9))


def test_a_sparse_r_has_futures_too_and_no_r_has_one() -> None:
    z, r = two_kinds(300, 0)
    target = normalize(torch.randn(300, DIM), dim=-1)
    sparse = Forecaster.fit(make("sparse"), z, target, r)
    assert sparse.futures(z[:4], 8).std(dim=0).max() > 0
    method = build_method(
        nn.Identity(),
        output_dim=DIM,
        config=MethodConfig(latent="none", editor="mlp", embedding_dim=DIM),
    ).eval()
    only = Forecaster.fit(method, z, target, None).futures(z[:4], 8)
    assert torch.equal(only[0], only[7])


@pytest.mark.parametrize("num", [1, 2])
def test_any_number_of_pairs_will_do(num: int) -> None:
    z, r = two_kinds(num, 0)
    target = normalize(torch.randn(num, DIM), dim=-1)
    assert torch.isfinite(Forecaster.fit(make(), z, target, r).futures(z, 3)).all()


def test_few_pairs_leave_differences_of_futures_as_the_editor_makes_them() -> None:
    """Their targets are noise, from which there is nothing to learn."""
    config = MethodConfig(latent_dim=LATENT, embedding_dim=32)
    method = build_method(nn.Identity(), output_dim=32, config=config).eval()
    z, other = torch.randn(8, 32), torch.randn(50, 32)
    target, r = normalize(torch.randn(8, 32), dim=-1), torch.randn(8, LATENT)
    forecaster = Forecaster.fit(method, z, target, r)
    edited = method.edited_futures(other, torch.randn(2, 50, LATENT))
    told = forecaster.placed(edited)
    kept = torch.cosine_similarity(told[0] - told[1], edited[0] - edited[1], dim=-1)
    assert kept.mean() > 0.5


def test_what_does_not_fit_is_refused() -> None:
    z, r = two_kinds(9, 0)
    target = normalize(torch.randn(9, DIM), dim=-1)
    with pytest.raises(ValueError, match="latent=None with a method with r"):
        Forecaster.fit(make(), z, target, None)
    with pytest.raises(ValueError, match="pass x\\+ of the same pairs"):
        Forecaster.fit(make(), z, target[:8], r)
    with pytest.raises(ValueError, match="pass the r of the same pairs"):
        Forecaster.fit(make(), z, target, r[:8])


def test_the_map_is_that_of_least_squares() -> None:
    features = torch.randn(5000, DIM) * torch.tensor([1.0, 10.0, 0.1, 1.0])
    answers = features @ torch.randn(DIM, 2) + 3
    torch.testing.assert_close(
        LinearMap.fit(features, answers)(features), answers, atol=0.2, rtol=0
    )


def test_the_futures_of_a_pair_are_fitted_to_other_videos() -> None:
    method, group = make(), torch.arange(40) // 5
    z, target = torch.randn(40, DIM), normalize(torch.randn(40, DIM), dim=-1)
    latent = torch.randn(40, LATENT)

    def futures(target: Tensor, latent: Tensor) -> Tensor:
        noise = torch.Generator().manual_seed(0)
        return cross_fitted_futures(method, z, target, latent, group, 6, noise)

    first = futures(target, latent)
    assert first.shape == (6, 40, DIM)
    torch.testing.assert_close(first.norm(dim=-1), torch.ones(6, 40))
    own = (group == 3)[:, None]
    other = futures(torch.where(own, -target, target), torch.where(own, -latent, latent))
    same = (first == other).all(dim=-1).all(dim=0)
    fold = folds_of(group)
    assert same.tolist() == (fold == fold[group == 3][0]).tolist()


def test_without_r_the_future_is_the_editors() -> None:
    method, z = make("none"), torch.randn(5, DIM)
    target = normalize(torch.randn(5, DIM), dim=-1)
    found = cross_fitted_futures(method, z, target, None, torch.arange(5), 3)
    torch.testing.assert_close(found, method.futures_of(z, 3))


def test_the_only_video_is_judged_in_stretches() -> None:
    assert folds_of(torch.full((9,), 7)).tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3]
    assert folds_of(torch.tensor([2, 2, 5, 9, 9, 11, 12])).tolist() == [0, 0, 1, 2, 2, 3, 0]
