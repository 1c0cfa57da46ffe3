import math

import pytest
import torch

from adassl.latents import (
    MIN_STD,
    DiagonalGaussian,
    SparseLatent,
    VariationalLatent,
    gaussian_kl,
    gaussian_kl_per_dimension,
)


def random_gaussian(batch: int = 6, dim: int = 3) -> DiagonalGaussian:
    return DiagonalGaussian(mean=torch.randn(batch, dim), std=torch.rand(batch, dim) * 2 + 0.1)


def as_distribution(gaussian: DiagonalGaussian) -> torch.distributions.Normal:
    return torch.distributions.Normal(gaussian.mean, gaussian.std)


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


def test_std_stays_above_its_floor_with_a_gradient() -> None:
    latent = VariationalLatent(4, 2, ())
    output = latent.posterior_head[-1]
    assert isinstance(output, torch.nn.Linear)
    torch.nn.init.constant_(output.bias, -8.0)
    posterior = latent.infer(torch.zeros(3, 4), torch.zeros(3, 4))
    assert (posterior.std > MIN_STD).all()
    torch.autograd.backward(posterior.std.log().sum())
    assert output.bias.grad is not None
    assert (output.bias.grad[2:] > 1e-3).all()


def test_a_variational_sample_is_reparameterised_and_zero_noise_is_its_mean() -> None:
    latent = VariationalLatent(5, 3, (8,)).eval()
    context, target, noise = torch.randn(4, 5), torch.randn(4, 5), torch.randn(4, 3)
    posterior = latent.infer(context, target)
    sample = latent(context, target, noise)
    torch.testing.assert_close(sample.value, posterior.mean + posterior.std * noise)
    torch.testing.assert_close(latent(context, target, noise * 0).value, posterior.mean)
    torch.testing.assert_close(sample.penalty, gaussian_kl(posterior, latent.prior(context)))
    torch.testing.assert_close(sample.penalty, sample.penalty_per_dimension.sum(dim=1))
    assert sample.mask is None


def test_prior_samples_have_the_prior_s_moments() -> None:
    latent = VariationalLatent(5, 2, (8,)).eval()
    context = torch.randn(3, 5)
    samples = latent.sample_prior(context, 50_000, torch.Generator().manual_seed(1))
    prior = latent.prior(context)
    torch.testing.assert_close(samples.mean(dim=0), prior.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(samples.std(dim=0), prior.std, atol=0.03, rtol=0)


def test_the_sparse_mask_is_binary_and_passes_the_soft_gradient() -> None:
    latent = SparseLatent(5, 40, (8,))
    sample = latent(torch.randn(30, 5), torch.randn(30, 5), torch.randn(30, 40))
    assert sample.mask is not None
    assert sorted(sample.mask.unique().tolist()) == [0.0, 1.0]
    assert torch.equal(sample.value == 0, sample.mask == 0)
    output = latent.head[-1]
    assert isinstance(output, torch.nn.Linear)
    (gradient,) = torch.autograd.grad(sample.mask.sum(), output.weight)
    content, logits = gradient.chunk(2)
    assert torch.equal(content, torch.zeros_like(content))
    assert (logits.abs().sum(dim=1) > 0).all()


def test_a_dimension_is_active_as_often_as_its_expected_l0_says() -> None:
    latent = SparseLatent(5, 4, ()).eval()
    pair = torch.randn(1, 5).expand(40_000, 5), torch.randn(1, 5).expand(40_000, 5)
    noise = latent.draw_noise(
        (40_000,), generator=torch.Generator().manual_seed(2), device=torch.device("cpu")
    )
    sample = latent(*pair, noise)
    assert sample.mask is not None
    torch.testing.assert_close(
        sample.mask.mean(dim=0), sample.penalty_per_dimension[0], atol=0.015, rtol=0
    )
    torch.testing.assert_close(sample.penalty, sample.penalty_per_dimension.sum(dim=1))


@pytest.mark.parametrize("kind", [VariationalLatent, SparseLatent])
def test_noise_comes_from_the_generator_alone(
    kind: type[VariationalLatent | SparseLatent],
) -> None:
    latent, device = kind(5, 4, ()), torch.device("cpu")

    def draw() -> torch.Tensor:
        generator = torch.Generator().manual_seed(3)
        return latent.draw_noise((2, 6), generator=generator, device=device)

    before = torch.get_rng_state()
    first, second = draw(), draw()
    assert torch.equal(first, second)
    assert first.shape == (2, 6, 4)
    assert torch.isfinite(first).all()
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("kind", [VariationalLatent, SparseLatent])
def test_everything_stays_on_the_device_of_the_embeddings(
    kind: type[VariationalLatent | SparseLatent],
) -> None:
    # The meta device refuses to mix with the CPU, so a tensor left behind there would raise.
    with torch.device("meta"):
        latent = kind(5, 4, (8,))
    embeddings = torch.zeros(6, 5, device="meta")
    noise = latent.draw_noise((6,), generator=torch.Generator(), device=embeddings.device)
    sample = latent(embeddings, embeddings, noise)
    assert sample.value.device.type == "meta"
    assert sample.penalty.device.type == "meta"


def test_a_sparse_latent_has_no_prior_and_says_what_to_do() -> None:
    with pytest.raises(NotImplementedError, match="latent='variational'"):
        SparseLatent(5, 4, ()).sample_prior(torch.zeros(2, 5), 3, None)
