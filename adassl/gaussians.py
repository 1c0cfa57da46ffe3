"""Factorised Gaussians, mixtures of them, and what it costs in nats to leave one for another."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

MIN_STD = math.exp(-5)
"""Floor of every standard deviation. The authors clamp log-variances at -10, where a clamp also
stops the gradient; the same floor is *added* here, so that a narrow posterior can still widen."""


@dataclass(frozen=True, kw_only=True)
class DiagonalGaussian:
    """A Gaussian with independent dimensions, in float32."""

    mean: Float[Tensor, "*batch latent"]
    std: Float[Tensor, "*batch latent"]

    @classmethod
    def from_head(cls, mean: Tensor, scale: Tensor) -> "DiagonalGaussian":
        """From what a network answers: the standard deviation is softplus(scale) + MIN_STD."""
        # float32 before softplus: under autocast the heads answer in bfloat16.
        return cls(mean=mean.float(), std=softplus(scale.float()) + MIN_STD)


@dataclass(frozen=True, kw_only=True)
class GaussianMixture:
    """For each row sum_k pi_k N(mean_k, diag std_k^2), in float32.

    Attributes:
        log_share: log pi_k.
        parts: the components, [batch, components, latent].
    """

    log_share: Float[Tensor, "batch components"]
    parts: DiagonalGaussian

    def sample(
        self, noise: Float[Tensor, "samples batch latent"], place: Float[Tensor, "samples batch"]
    ) -> Float[Tensor, "samples batch latent"]:
        """Draws from standard normal noise and from uniform numbers that choose the components."""
        edges = self.log_share.exp().cumsum(dim=-1)
        # Without the last edge, which rounding may leave below a uniform number close to 1.
        component = (place[..., None] >= edges[:, :-1]).sum(dim=-1)
        rows = torch.arange(len(edges), device=edges.device)
        return self.parts.mean[rows, component] + self.parts.std[rows, component] * noise


def gaussian_kl_per_dimension(
    posterior: DiagonalGaussian, prior: DiagonalGaussian
) -> Float[Tensor, "*batch latent"]:
    """KL(q || p) in nats, one value per latent dimension."""
    ratio = posterior.std / prior.std
    shift = (posterior.mean - prior.mean) / prior.std
    return 0.5 * (ratio.square() + shift.square() - 1) - ratio.log()


def gaussian_kl(posterior: DiagonalGaussian, prior: DiagonalGaussian) -> Float[Tensor, "*batch"]:
    """KL(q || p) in nats, summed over the latent dimensions (AdaSSL, the regulariser of -V)."""
    return gaussian_kl_per_dimension(posterior, prior).sum(dim=-1)


def mixture_kl_bound_per_dimension(
    posterior: DiagonalGaussian, prior: GaussianMixture
) -> Float[Tensor, "batch latent"]:
    """An upper bound on KL(q || p) in nats for a mixture p, in one part per latent dimension.

    The parts sum to -log sum_k pi_k exp(-KL(q || p_k)): the variational approximation of Hershey
    and Olsen ("Approximating the Kullback Leibler divergence between Gaussian mixture models",
    ICASSP 2007), which for a single Gaussian q bounds KL(q || p) from above (Jensen's inequality
    with gamma below). AdaSSL subtracts its regulariser from a lower bound on the information, so
    that with an upper bound on the KL its own bound still holds. With one component it is the KL.

    With gamma_k = pi_k exp(-KL(q || p_k)) / sum, the share of the work that component k does,
    dimension d's part is sum_k gamma_k KL_d(q || p_k) + KL(gamma || pi) / latent_dim.
    """
    own = DiagonalGaussian(mean=posterior.mean[:, None], std=posterior.std[:, None])
    divergence = gaussian_kl_per_dimension(own, prior.parts)
    log_gamma = torch.log_softmax(prior.log_share - divergence.sum(dim=-1), dim=-1)
    gamma = log_gamma.exp()
    choice = (gamma * (log_gamma - prior.log_share)).sum(dim=-1, keepdim=True)
    return (gamma[..., None] * divergence).sum(dim=1) + choice / divergence.shape[-1]
