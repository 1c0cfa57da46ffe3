import math

import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from adassl.gaussians import (
    MIN_STD,
    DiagonalGaussian,
    GaussianMixture,
    gaussian_kl,
    gaussian_kl_per_dimension,
    mixture_kl_bound_per_dimension,
)


def random_gaussian(batch: int = 6, dim: int = 3) -> DiagonalGaussian:
    return DiagonalGaussian(mean=torch.randn(batch, dim), std=torch.rand(batch, dim) * 2 + 0.1)


def as_distribution(gaussian: DiagonalGaussian) -> Normal:
    return Normal(gaussian.mean, gaussian.std)


def log_density(gaussian: DiagonalGaussian, at: torch.Tensor) -> torch.Tensor:
    density = as_distribution(gaussian).log_prob(at)
    assert isinstance(density, torch.Tensor)
    return density


def test_kl_equals_that_of_torch_distributions() -> None:
    posterior, prior = random_gaussian(), random_gaussian()
    expected = torch.distributions.kl_divergence(as_distribution(posterior), as_distribution(prior))
    torch.testing.assert_close(gaussian_kl_per_dimension(posterior, prior), expected)
    torch.testing.assert_close(gaussian_kl(posterior, prior), expected.sum(dim=1))


def test_kl_equals_its_monte_carlo_estimate() -> None:
    posterior, prior = random_gaussian(2), random_gaussian(2)
    samples = as_distribution(posterior).rsample(torch.Size([200_000]))
    estimate = (log_density(posterior, samples) - log_density(prior, samples)).sum(dim=-1)
    error = 5 * estimate.std(dim=0) / math.sqrt(len(samples))
    assert ((estimate.mean(dim=0) - gaussian_kl(posterior, prior)).abs() < error).all()


def test_kl_of_a_gaussian_to_itself_is_zero_even_at_the_smallest_std() -> None:
    gaussian = DiagonalGaussian(mean=torch.randn(4, 3) * 100, std=torch.full((4, 3), MIN_STD))
    assert torch.equal(gaussian_kl(gaussian, gaussian), torch.zeros(4))


def random_mixture(batch: int, components: int, dim: int = 3) -> GaussianMixture:
    shape = (batch, components, dim)
    return GaussianMixture(
        log_share=torch.log_softmax(torch.randn(batch, components), dim=-1),
        parts=DiagonalGaussian(mean=2 * torch.randn(shape), std=torch.rand(shape) + 0.3),
    )


def as_mixture(mixture: GaussianMixture) -> MixtureSameFamily:
    parts = Independent(Normal(mixture.parts.mean, mixture.parts.std), 1)
    return MixtureSameFamily(Categorical(logits=mixture.log_share), parts)


def component(mixture: GaussianMixture, k: int) -> DiagonalGaussian:
    return DiagonalGaussian(mean=mixture.parts.mean[:, k], std=mixture.parts.std[:, k])


def test_the_bound_with_one_component_is_the_kl_with_its_gradient() -> None:
    posterior, mixture = random_gaussian(), random_mixture(6, 1)
    mean = posterior.mean.requires_grad_()
    bound = mixture_kl_bound_per_dimension(posterior, mixture)
    kl = gaussian_kl_per_dimension(posterior, component(mixture, 0))
    assert torch.equal(bound, kl)
    (of_bound,), (of_kl,) = (torch.autograd.grad(x.sum(), mean) for x in (bound, kl))
    torch.testing.assert_close(of_bound, of_kl)


def test_the_parts_of_the_bound_sum_to_its_closed_form() -> None:
    posterior, mixture = random_gaussian(), random_mixture(6, 4)
    expected = torch.zeros(6, dtype=torch.float64)
    for k in range(4):
        kl = gaussian_kl(posterior, component(mixture, k)).double()
        expected += mixture.log_share[:, k].double().exp() * torch.exp(-kl)
    parts = mixture_kl_bound_per_dimension(posterior, mixture)
    assert parts.shape == (6, 3)
    torch.testing.assert_close(parts.double().sum(dim=1), -expected.log(), rtol=1e-4, atol=1e-5)


def test_the_bound_lies_above_the_kl_and_near_it_where_components_are_apart() -> None:
    near, mixture = random_gaussian(5), random_mixture(5, 3)
    apart = GaussianMixture(
        log_share=mixture.log_share,
        parts=DiagonalGaussian(
            mean=torch.tensor([-30.0, 0, 30])[None, :, None].expand(5, 3, 3),
            std=mixture.parts.std,
        ),
    )
    for prior, is_tight in ((mixture, False), (apart, True)):
        samples = as_distribution(near).sample(torch.Size([200_000]))
        estimate = log_density(near, samples).sum(dim=-1) - as_mixture(prior).log_prob(samples)
        error = 5 * estimate.std(dim=0) / math.sqrt(len(samples))
        slack = mixture_kl_bound_per_dimension(near, prior).sum(dim=1) - estimate.mean(dim=0)
        assert (slack > -error).all()
        assert not is_tight or (slack < error).all()


def test_the_bound_is_finite_with_its_gradient_far_from_every_component() -> None:
    posterior, mixture = random_gaussian(2), random_mixture(2, 3)
    mean = (posterior.mean + 1e4).requires_grad_()
    far = DiagonalGaussian(mean=mean, std=posterior.std)
    bound = mixture_kl_bound_per_dimension(far, mixture).sum()
    torch.autograd.backward(bound)
    assert torch.isfinite(bound)
    assert mean.grad is not None
    assert torch.isfinite(mean.grad).all()


def test_samples_of_a_mixture_have_its_moments() -> None:
    mixture = random_mixture(4, 3, 2)
    noise, place = torch.randn(100_000, 4, 2), torch.rand(100_000, 4)
    samples, expected = mixture.sample(noise, place), as_mixture(mixture)
    torch.testing.assert_close(samples.mean(dim=0), expected.mean, atol=0.04, rtol=0)
    torch.testing.assert_close(samples.var(dim=0), expected.variance, atol=0.05, rtol=0.02)
    # Moments are blind to which part a draw came from; the density is not.
    entropy = -as_mixture(mixture).log_prob(expected.sample(torch.Size([100_000]))).mean(dim=0)
    found = -as_mixture(mixture).log_prob(samples).mean(dim=0)
    torch.testing.assert_close(found, entropy, atol=0.03, rtol=0)
    last = mixture.sample(torch.zeros(1, 4, 2), torch.full((1, 4), 1 - 1e-7))
    assert torch.equal(last[0], mixture.parts.mean[:, -1])
