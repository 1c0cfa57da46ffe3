import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from adassl.diagnostics import (
    alignment,
    alpha_req,
    centre_norm,
    dimension_std,
    latent_use,
    lidar,
    rankme,
    residual_norm,
    residual_spread,
    sample_mean_norm,
    uniformity,
)
from adassl.latents import LatentSample


def unit(*shape: int) -> torch.Tensor:
    return normalize(torch.randn(*shape), dim=-1)


@pytest.mark.parametrize(("dimensions", "expected"), [(8, 1.33), (128, 3.23)])
def test_the_same_small_residual_leaves_more_rankme_in_more_dimensions(
    dimensions: int, expected: float
) -> None:
    near = torch.eye(dimensions)[0] + 0.02 * unit(128, dimensions)
    assert rankme(near / near.norm(dim=1, keepdim=True)).item() == pytest.approx(expected, abs=0.1)


def test_a_collapse_onto_one_point() -> None:
    point = unit(1, 8).expand(64, 8)
    views = torch.stack([point, point])
    assert centre_norm(point).item() == pytest.approx(1)
    assert residual_norm(views).item() == pytest.approx(0, abs=1e-6)
    assert residual_spread(views).item() == pytest.approx(0, abs=1e-6)
    assert dimension_std(point).max().item() == pytest.approx(0, abs=1e-6)
    assert sample_mean_norm(views).item() == pytest.approx(1)
    assert rankme(point).item() == pytest.approx(1, abs=1e-2)
    assert uniformity(point).item() == pytest.approx(0, abs=1e-5)


def test_points_spread_evenly_whose_views_agree() -> None:
    points = unit(4096, 16)
    views = torch.stack([points, points])
    assert centre_norm(points).item() < 0.05
    assert residual_norm(views).item() == pytest.approx(1, abs=0.01)
    assert rankme(points).item() == pytest.approx(16, rel=0.01)
    torch.testing.assert_close(dimension_std(points), torch.ones(16), rtol=0, atol=0.05)
    assert residual_spread(views).item() < 0.02
    assert alignment(points, points).item() == 0


def test_views_that_do_not_agree_shorten_the_sample_mean() -> None:
    views = torch.stack([unit(512, 64), unit(512, 64)])
    assert sample_mean_norm(views).item() == pytest.approx(math.sqrt(0.5), abs=0.02)


def test_a_dimension_that_has_collapsed_and_pairs_that_have_are_seen() -> None:
    flat = torch.randn(4096, 4)
    flat[:, 3] = 0
    std = dimension_std(normalize(flat, dim=-1))
    assert std[3] == 0
    torch.testing.assert_close(std[:3], torch.full((3,), (4 / 3) ** 0.5), rtol=0, atol=0.05)
    # Half of the pairs at the centre of the others: residuals 0 and 1, so half a unit about half.
    points = torch.cat([unit(2048, 16), torch.zeros(2048, 16)])
    views = torch.stack([points, points])
    assert residual_spread(views).item() == pytest.approx(0.5, abs=0.02)


def test_rankme_equals_its_formula() -> None:
    matrix = torch.randn(30, 6) @ torch.diag(torch.tensor([5.0, 3, 1, 0.5, 0.1, 0.0]))
    values = np.linalg.svd(matrix.double().numpy(), compute_uv=False)
    shares = values[:5] / values[:5].sum()
    expected = math.exp(-(shares * np.log(shares)).sum())
    assert rankme(matrix).item() == pytest.approx(expected, rel=1e-4)


def slow_lidar(context: torch.Tensor, target: torch.Tensor) -> float:
    """The two covariances one pair at a time, and their generalised eigenvalues."""
    dim = context.shape[1]
    pairs = torch.stack([context, target], dim=1).double().numpy() * math.sqrt(dim)
    grand = pairs.mean(axis=(0, 1))
    between, within = np.zeros((dim, dim)), 1e-4 * np.eye(dim)
    for pair in pairs:
        mean = pair.mean(axis=0)
        between += np.outer(mean - grand, mean - grand) / (len(pairs) - 1)
        for sample in pair:
            within += np.outer(sample - mean, sample - mean) / len(pairs)
    values = np.linalg.eigvals(np.linalg.solve(within, between)).real.clip(1e-300)
    shares = values / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


@pytest.mark.parametrize("noise", [0.0, 0.1, 1.0])
def test_lidar_equals_its_formula(noise: float) -> None:
    context = unit(40, 6)
    target = normalize(context + noise * torch.randn(40, 6), dim=-1)
    expected = slow_lidar(context, target)
    assert lidar(context, target).item() == pytest.approx(expected, rel=1e-3)


def test_lidar_does_not_count_the_directions_in_which_pairs_differ_as_any_two_do() -> None:
    context, noise = torch.randn(2, 2048, 16)
    kept = 0.1 * torch.ones(16)
    lost = torch.cat([kept[:4], torch.ones(12)])
    # Each dimension of x+ keeps a part of x and is otherwise drawn anew.
    near, far = (
        normalize((1 - part.square()).sqrt() * context + part * noise, dim=1)
        for part in (kept, lost)
    )
    context = normalize(context, dim=1)
    assert min(rankme(context), rankme(far)) > 15
    assert lidar(context, near) > 15
    assert lidar(context, far) < 6
    point = unit(1, 16).expand(64, 16)
    assert lidar(point, point).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0])
def test_alpha_req_finds_the_power_of_a_power_law(alpha: float) -> None:
    rows = torch.randn(400, 32)
    orthogonal = torch.linalg.qr(rows - rows.mean(dim=0)).Q
    eigenvalues = torch.arange(1, 33).float() ** -alpha
    found = alpha_req(orthogonal * eigenvalues.sqrt() + 3)
    assert found.item() == pytest.approx(alpha, abs=1e-3)


def test_alpha_req_equals_a_weighted_fit() -> None:
    rows = torch.randn(30, 6) @ torch.randn(6, 6)
    values = np.linalg.eigvalsh(np.cov(rows.double().numpy().T))[::-1]
    ranks = np.arange(1, 7)
    # polyfit squares its weights.
    slope = np.polyfit(np.log(ranks), np.log(values), 1, w=np.sqrt(1 / ranks))[0]
    assert alpha_req(rows).item() == pytest.approx(-slope, rel=1e-4)


def test_alpha_req_is_large_in_a_collapse_and_finite() -> None:
    point = unit(1, 16).expand(64, 16)
    line = torch.randn(64, 1) * unit(1, 16)
    assert alpha_req(point) > 5
    assert alpha_req(line) > 5
    assert alpha_req(unit(4096, 16)).item() == pytest.approx(0, abs=0.1)
    assert torch.isfinite(alpha_req(point[:1]))


def test_alignment_and_uniformity_equal_their_loops() -> None:
    context, target = unit(9, 4), unit(9, 4)
    distances = [(context[i] - target[i]).norm().item() ** 2 for i in range(9)]
    assert alignment(context, target).item() == pytest.approx(np.mean(distances), rel=1e-5)
    kernels = [
        math.exp(-2 * (context[i] - context[j]).norm().item() ** 2)
        for i in range(9)
        for j in range(i)
    ]
    assert uniformity(context).item() == pytest.approx(math.log(np.mean(kernels)), rel=1e-4)


def sample(parts: torch.Tensor, mask: torch.Tensor | None = None) -> LatentSample:
    value = torch.ones_like(parts) if mask is None else mask
    return LatentSample(
        value=value, penalty=parts.sum(dim=1), penalty_per_dimension=parts, mask=mask
    )


def test_use_of_a_variational_latent() -> None:
    use = latent_use(sample(torch.tensor([[1.0, 0.005, 0.0, 2.0], [3.0, 0.005, 0.0, 2.0]])))
    torch.testing.assert_close(use.per_dimension, torch.tensor([2.0, 0.005, 0.0, 2.0]))
    assert use.active_dimensions == 2
    assert use.mean_active == 4
    assert use.entropy == pytest.approx(math.log(2), abs=0.01)


def test_use_of_a_sparse_latent() -> None:
    mask = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    use = latent_use(sample(torch.rand(2, 3), mask))
    torch.testing.assert_close(use.per_dimension, torch.tensor([1.0, 0.5, 0.0]))
    assert use.active_dimensions == 2
    assert use.mean_active == 1.5
    shares = np.array([2 / 3, 1 / 3])
    assert use.entropy == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-5)


def test_a_latent_that_is_not_used_has_no_entropy_and_no_nan() -> None:
    use = latent_use(sample(torch.zeros(4, 3)))
    assert use.active_dimensions == 0
    assert use.entropy == 0
