"""The mixture prior; what it shares with one Gaussian is in `test_latents.py`."""

import torch

from adassl.gaussians import mixture_kl_bound_per_dimension
from adassl.heads import build_mlp
from adassl.latents import MixtureLatent, VariationalLatent


def test_one_component_is_the_single_gaussian_as_it_was() -> None:
    torch.manual_seed(0)
    latent = VariationalLatent(5, 4)
    # The order in which random numbers are used, too.
    torch.manual_seed(0)
    heads = torch.nn.ModuleList([build_mlp(10, (128,), 8), build_mlp(5, (128,), 8)])
    for module in heads.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    torch.nn.init.zeros_(heads[1][-1].weight)  # type: ignore[index]
    for found, expected in zip(latent.parameters(), heads.parameters(), strict=True):
        assert torch.equal(found, expected)


def test_components_start_with_equal_shares_and_means_apart() -> None:
    latent = MixtureLatent(6, 200, (8,), 5)
    prior = latent.prior(torch.randn(4, 6))
    torch.testing.assert_close(prior.log_share.exp(), torch.full((4, 5), 0.2))
    mean = prior.parts.mean
    assert mean.shape == (4, 5, 200)
    assert torch.equal(mean[0], mean[3])
    torch.testing.assert_close(mean[0].std(dim=1), torch.ones(5), atol=0.2, rtol=0)
    torch.testing.assert_close(prior.parts.std, prior.parts.std[:1, :1, :1].expand(4, 5, 200))


def test_a_sample_costs_the_bound_and_the_components_share_no_gradient() -> None:
    latent = MixtureLatent(5, 3, (8,), 2).eval()
    context, target = torch.randn(4, 5), torch.randn(4, 5)
    sample = latent(context, target, torch.zeros(4, 3))
    posterior = latent.infer(context, target)
    bound = mixture_kl_bound_per_dimension(posterior, latent.prior(context))
    assert torch.equal(sample.value, posterior.mean)
    assert torch.equal(sample.penalty_per_dimension, bound)
    assert torch.equal(sample.penalty, bound.sum(dim=1))
    bias = latent.prior_head[-1].bias
    assert isinstance(bias, torch.Tensor)
    (gradient,) = torch.autograd.grad(sample.penalty.mean(), bias)
    first, second = gradient[2:8].chunk(2)
    assert not torch.allclose(first, second)


def test_prior_samples_follow_the_context_s_own_mixture_and_the_generator_alone() -> None:
    latent = MixtureLatent(5, 2, (8,), 3).eval()
    torch.nn.init.normal_(latent.prior_head[-1].weight)  # type: ignore[arg-type]
    context = torch.randn(3, 5)

    def draw(num_samples: int) -> torch.Tensor:
        return latent.sample_prior(context, num_samples, torch.Generator().manual_seed(1))

    before = torch.get_rng_state()
    samples = draw(100_000)
    assert torch.equal(draw(10), draw(10))
    assert torch.equal(before, torch.get_rng_state())
    prior = latent.prior(context)
    share, parts = prior.log_share.exp()[..., None], prior.parts
    mean = (share * parts.mean).sum(dim=1)
    second = (share * (parts.std.square() + parts.mean.square())).sum(dim=1)
    torch.testing.assert_close(samples.mean(dim=0), mean, atol=0.03, rtol=0.02)
    torch.testing.assert_close(samples.square().mean(dim=0), second, atol=0.03, rtol=0.02)
