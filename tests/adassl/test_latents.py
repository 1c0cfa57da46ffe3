import copy

import pytest
import torch

from adassl.gaussians import MIN_STD, gaussian_kl
from adassl.latents import GivenLatent, MixtureLatent, SparseLatent, VariationalLatent

KINDS: dict[str, VariationalLatent | MixtureLatent | SparseLatent] = {
    "variational": VariationalLatent(5, 4, (8,)),
    "mixture": MixtureLatent(5, 4, (8,), 3),
    "sparse": SparseLatent(5, 4, (8,)),
}


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


@pytest.mark.parametrize("kind", KINDS)
def test_noise_comes_from_the_generator_alone(kind: str) -> None:
    latent, device = KINDS[kind], torch.device("cpu")

    def draw() -> torch.Tensor:
        generator = torch.Generator().manual_seed(3)
        return latent.draw_noise((2, 6), generator=generator, device=device)

    before = torch.get_rng_state()
    first, second = draw(), draw()
    assert torch.equal(first, second)
    assert first.shape == (2, 6, 4)
    assert torch.isfinite(first).all()
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("kind", KINDS)
def test_everything_stays_on_the_device_of_the_embeddings(kind: str) -> None:
    # The meta device refuses to mix with the CPU, so a tensor left behind there would raise.
    latent = copy.deepcopy(KINDS[kind]).to("meta")
    embeddings = torch.zeros(6, 5, device="meta")
    noise = latent.draw_noise((6,), generator=torch.Generator(), device=embeddings.device)
    sample = latent(embeddings, embeddings, noise)
    assert sample.value.device.type == "meta"
    assert sample.penalty.device.type == "meta"
    if latent.has_prior:
        assert latent.sample_prior(embeddings, 3, torch.Generator()).device.type == "meta"


def test_a_sparse_latent_has_no_prior_and_says_what_to_do() -> None:
    with pytest.raises(NotImplementedError, match="latent='variational'"):
        SparseLatent(5, 4, ()).sample_prior(torch.zeros(2, 5), 3, None)


def test_a_given_latent_is_reversed_by_its_sign_and_costs_nothing() -> None:
    latent, value = GivenLatent(4), torch.randn(3, 4, dtype=torch.float64)
    forward, both = latent(value, both=False), latent(value, both=True)
    assert torch.equal(forward.value, value.float())
    assert torch.equal(both.value, torch.cat([value, -value]).float())
    assert torch.equal(both.penalty, torch.zeros(6))
    assert torch.equal(both.penalty_per_dimension, torch.zeros(6, 4))
    assert both.mask is None
    with pytest.raises(NotImplementedError, match="latent='variational'"):
        latent.sample_prior(torch.zeros(2, 5), 3, None)
