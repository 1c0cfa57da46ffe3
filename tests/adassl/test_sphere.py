"""Proposition 2.1 of AdaSSL (arXiv 2602.02381): on the sphere no noise is the same everywhere.

z+ = z + n with isotropic n, and h a smooth map of full rank onto the unit sphere: the covariance of
h(z+) given z is J J^T std^2 to first order, J the Jacobian of h at z. It lies in the tangent space
at h(z), which turns with z. The maps here are injective or generically so; z and h(z) tell the
same.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

Map = Callable[[Tensor], Tensor]

FACTORS, DIM = 3, 5
STD = 0.01
NUM_SAMPLES = 20_000
RELATIVE_ERROR = math.sqrt((1 + FACTORS) / NUM_SAMPLES)
"""Of an estimated covariance, on average: E|C^ - C|^2 = (|C|^2 + tr(C)^2) / n in Frobenius norm."""

SEEDS = (0, 1, 2)


def affine(seed: int) -> Map:
    """z to W z + b, not normalised: the noise is the same everywhere."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(DIM, FACTORS, generator=generator, dtype=torch.float64)
    bias = torch.randn(DIM, generator=generator, dtype=torch.float64)
    return lambda z: z @ weight.T + bias


def affine_on_sphere(seed: int) -> Map:
    """z to (W z + b) / |W z + b|."""
    inner = affine(seed)
    return lambda z: normalize(inner(z), dim=-1)


def mlp_on_sphere(seed: int) -> Map:
    """A hidden layer of tanh with random weights, and the norm taken off."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(32, FACTORS, generator=generator, dtype=torch.float64) / FACTORS**0.5
    out = torch.randn(DIM, 32, generator=generator, dtype=torch.float64) / 32**0.5
    return lambda z: normalize(torch.tanh(z @ hidden.T) @ out.T, dim=-1)


ON_SPHERE = pytest.mark.parametrize("make", [affine_on_sphere, mlp_on_sphere])


def points(seed: int, number: int = 3) -> Tensor:
    """Rows z ~ N(0, I)."""
    generator = torch.Generator().manual_seed(100 + seed)
    return torch.randn(number, FACTORS, generator=generator, dtype=torch.float64)


def covariance(h: Map, point: Tensor, *, std: float = STD, seed: int = 0) -> Tensor:
    """Cov(h(z + n) | z) / std^2, from samples of n ~ N(0, std^2 I)."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(NUM_SAMPLES, FACTORS, generator=generator, dtype=torch.float64)
    return torch.cov(h(point + std * noise).T) / std**2


def distance(first: Tensor, second: Tensor) -> float:
    """Frobenius distance relative to the mean of the two norms."""
    return float(2 * (first - second).norm() / (first.norm() + second.norm()))


def radial_share(h: Map, point: Tensor, std: float) -> float:
    """Variance along h(z), as a share of all variance."""
    spread, along = covariance(h, point, std=std), normalize(h(point), dim=-1)
    return float(along @ spread @ along / spread.trace())


def turning(h: Map, seed: int) -> tuple[float, float]:
    """How far the covariances of two points lie apart, and two estimates of one; the worst pair."""
    places = points(seed)
    first = [covariance(h, z, seed=2 * i) for i, z in enumerate(places)]
    again = [covariance(h, z, seed=2 * i + 1) for i, z in enumerate(places)]
    between = [distance(first[i], first[j]) for i in range(3) for j in range(i)]
    return min(between), max(distance(a, b) for a, b in zip(first, again, strict=True))


@ON_SPHERE
@pytest.mark.parametrize("seed", SEEDS)
def test_on_the_sphere_the_noise_differs_from_point_to_point(
    make: Callable[[int], Map], seed: int
) -> None:
    between, within = turning(make(seed), seed)
    assert within < 3 * RELATIVE_ERROR
    assert between > 10 * within


@pytest.mark.parametrize("seed", SEEDS)
def test_off_the_sphere_it_need_not(seed: int) -> None:
    between, within = turning(affine(seed), seed)
    assert between < 3 * within


@ON_SPHERE
@pytest.mark.parametrize("seed", SEEDS)
def test_the_noise_is_tangent_to_first_order(make: Callable[[int], Map], seed: int) -> None:
    h = make(seed)
    for point in points(seed):
        # h(z) . h(z+) = 1 - |h(z+) - h(z)|^2 / 2: its variance is of order std^4, not std^2.
        coarse, fine = (radial_share(h, point, std) for std in (STD, STD / 4))
        assert fine < 1e-3
        assert fine == pytest.approx(coarse / 16, rel=0.1)


@pytest.mark.parametrize("seed", SEEDS)
def test_off_the_sphere_the_radial_part_stays(seed: int) -> None:
    for point in points(seed):
        coarse, fine = (radial_share(affine(seed), point, std) for std in (STD, STD / 4))
        assert fine == pytest.approx(coarse, rel=1e-6)


@pytest.mark.parametrize("make", [affine, affine_on_sphere, mlp_on_sphere])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_covariance_is_that_of_the_jacobian(make: Callable[[int], Map], seed: int) -> None:
    h = make(seed)
    for point in points(seed):
        jacobian = torch.func.jacrev(h)(point)
        assert torch.linalg.matrix_rank(jacobian) == FACTORS
        assert distance(covariance(h, point), jacobian @ jacobian.T) < 3 * RELATIVE_ERROR
