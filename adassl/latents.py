"""The latent r: what the context cannot tell about the target.

AdaSSL (arXiv 2602.02381): variational (-V) with a posterior q(r | x, x+) and a prior p(r | x), or
sparse (-S) with a binary mask over its dimensions. Both are deterministic functions of embeddings
and of noise that the caller draws, so a sample can be repeated, split over workers, or set to the
mean.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from adassl.config import MethodConfig
from adassl.heads import build_mlp

MIN_STD = math.exp(-5)
"""Floor of every standard deviation. The authors clamp log-variances at -10, where a clamp also
stops the gradient; the same floor is *added* here, so that a narrow posterior can still widen."""

EPS = 1e-6
"""Keeps the logistic noise finite."""


@dataclass(frozen=True, kw_only=True)
class DiagonalGaussian:
    """A Gaussian with independent dimensions, in float32."""

    mean: Float[Tensor, "batch latent"]
    std: Float[Tensor, "batch latent"]


@dataclass(frozen=True, kw_only=True)
class LatentSample:
    """A sampled r and what it cost.

    Attributes:
        value: r, float32.
        penalty: the regulariser of each pair: KL(q || p) in nats, or the expected number of active
            dimensions.
        penalty_per_dimension: its parts; they sum to `penalty`.
        mask: the binary mask of a sparse r (1 = active); None for a variational one.
    """

    value: Float[Tensor, "batch latent"]
    penalty: Float[Tensor, " batch"]
    penalty_per_dimension: Float[Tensor, "batch latent"]
    mask: Float[Tensor, "batch latent"] | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> "LatentSample":
        """A sample whose every tensor went through a function, such as a gather."""
        return LatentSample(
            value=function(self.value),
            penalty=function(self.penalty),
            penalty_per_dimension=function(self.penalty_per_dimension),
            mask=None if self.mask is None else function(self.mask),
        )

    def first(self, rows: int) -> "LatentSample":
        """The first `rows` pairs, detached."""
        return self.map(lambda tensor: tensor[:rows].detach())


def gaussian_kl_per_dimension(
    posterior: DiagonalGaussian, prior: DiagonalGaussian
) -> Float[Tensor, "batch latent"]:
    """KL(q || p) in nats, one value per latent dimension."""
    ratio = posterior.std / prior.std
    shift = (posterior.mean - prior.mean) / prior.std
    return 0.5 * (ratio.square() + shift.square() - 1) - ratio.log()


def gaussian_kl(posterior: DiagonalGaussian, prior: DiagonalGaussian) -> Float[Tensor, " batch"]:
    """KL(q || p) in nats, summed over the latent dimensions (AdaSSL, the regulariser of -V)."""
    return gaussian_kl_per_dimension(posterior, prior).sum(dim=-1)


class VariationalLatent(nn.Module):
    """AdaSSL-V: r ~ q(r | x, x+), a factorised Gaussian held near the learnt prior p(r | x).

    Args:
        embedding_dim: size of an embedding.
        latent_dim: size of r.
        hidden_dims: hidden layer sizes of the posterior's and the prior's MLP.
    """

    has_prior = True

    def __init__(self, embedding_dim: int, latent_dim: int, hidden_dims: Sequence[int]) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.posterior_head = build_mlp(2 * embedding_dim, hidden_dims, 2 * latent_dim)
        self.prior_head = build_mlp(embedding_dim, hidden_dims, 2 * latent_dim)
        self.apply(_initialise_xavier)
        # The prior starts the same for every x: KL(q || p) grows with 1 / var_p, and a prior that
        # is narrow by the chance of its initialisation costs tens of nats a dimension.
        nn.init.zeros_(cast(Tensor, self.prior_head[-1].weight))

    def infer(
        self,
        context_embedding: Float[Tensor, "batch dim"],
        target_embedding: Float[Tensor, "batch dim"],
    ) -> DiagonalGaussian:
        """The posterior q(r | x, x+), read from both embeddings."""
        pair = torch.cat([context_embedding, target_embedding], dim=-1)
        return _as_gaussian(self.posterior_head(pair))

    def prior(self, context_embedding: Float[Tensor, "batch dim"]) -> DiagonalGaussian:
        """The prior p(r | x), read from the context's embedding."""
        return _as_gaussian(self.prior_head(context_embedding))

    def draw_noise(
        self, shape: tuple[int, ...], *, generator: torch.Generator | None, device: torch.device
    ) -> Float[Tensor, "*shape latent"]:
        """Standard normal noise [*shape, latent_dim] on `device`, drawn where the generator is."""
        source = device if generator is None else generator.device
        size = (*shape, self.latent_dim)
        return torch.randn(size, generator=generator, device=source).to(device)

    def forward(
        self,
        context_embedding: Float[Tensor, "batch dim"],
        target_embedding: Float[Tensor, "batch dim"],
        noise: Float[Tensor, "batch latent"],
    ) -> LatentSample:
        """A reparameterised sample of the posterior, its mean if noise is 0, and its KL."""
        posterior = self.infer(context_embedding, target_embedding)
        divergence = gaussian_kl_per_dimension(posterior, self.prior(context_embedding))
        return LatentSample(
            value=posterior.mean + posterior.std * noise,
            penalty=divergence.sum(dim=-1),
            penalty_per_dimension=divergence,
        )

    def sample_prior(
        self,
        context_embedding: Float[Tensor, "batch dim"],
        num_samples: int,
        generator: torch.Generator | None,
    ) -> Float[Tensor, "samples batch latent"]:
        """Draws r ~ p(r | x), independent for every context."""
        prior = self.prior(context_embedding)
        shape = (num_samples, context_embedding.shape[0])
        noise = self.draw_noise(shape, generator=generator, device=prior.mean.device)
        return prior.mean + prior.std * noise


class SparseLatent(nn.Module):
    """AdaSSL-S: r = mask * content, the mask a straight-through Gumbel-sigmoid at temperature 1.

    The mask's logits start near 0, half of the dimensions active.

    Args:
        embedding_dim: size of an embedding.
        latent_dim: size of r.
        hidden_dims: hidden layer sizes of the MLP that gives content and logits.
    """

    has_prior = False

    def __init__(self, embedding_dim: int, latent_dim: int, hidden_dims: Sequence[int]) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.head = build_mlp(2 * embedding_dim, hidden_dims, 2 * latent_dim)
        self.apply(_initialise_xavier)

    def draw_noise(
        self, shape: tuple[int, ...], *, generator: torch.Generator | None, device: torch.device
    ) -> Float[Tensor, "*shape latent"]:
        """Logistic noise [*shape, latent_dim], which is the difference of two Gumbel variables."""
        source = device if generator is None else generator.device
        size = (*shape, self.latent_dim)
        uniform = torch.rand(size, generator=generator, device=source).to(device)
        return torch.logit(uniform, eps=EPS)

    def forward(
        self,
        context_embedding: Float[Tensor, "batch dim"],
        target_embedding: Float[Tensor, "batch dim"],
        noise: Float[Tensor, "batch latent"],
    ) -> LatentSample:
        """A sample of r and its expected L0; a dimension is active with probability sigmoid(logit).

        The mask is 0 or 1 going forward; backward it passes the gradient of the soft sigmoid.
        """
        pair = torch.cat([context_embedding, target_embedding], dim=-1)
        content, logits = self.head(pair).float().chunk(2, dim=-1)
        soft = torch.sigmoid(logits + noise)
        # hard + (soft - soft) rather than (hard - soft) + soft: only the first is exactly binary.
        mask = (soft > 0.5).to(soft.dtype) + (soft - soft.detach())
        active = torch.sigmoid(logits)
        return LatentSample(
            value=mask * content,
            penalty=active.sum(dim=-1),
            penalty_per_dimension=active,
            mask=mask,
        )

    def sample_prior(
        self,
        context_embedding: Float[Tensor, "batch dim"],
        num_samples: int,
        generator: torch.Generator | None,
    ) -> Float[Tensor, "samples batch latent"]:
        """Refused: AdaSSL-S has no distribution of r given x alone.

        Raises:
            NotImplementedError: always; names the remedy.
        """
        raise NotImplementedError(
            "latent='sparse' has no prior p(r | x) to draw futures from; train with "
            "latent='variational', or pass r inferred from other pairs to Method.edit"
        )


Latent = VariationalLatent | SparseLatent


def build_latent(config: MethodConfig) -> Latent | None:
    """The latent that a config names; None for "none"."""
    if config.latent == "none":
        return None
    kind = VariationalLatent if config.latent == "variational" else SparseLatent
    return kind(config.embedding_dim, config.latent_dim, config.latent_hidden_dims)


def _as_gaussian(parameters: Tensor) -> DiagonalGaussian:
    # float32 before softplus: under autocast the heads answer in bfloat16.
    mean, scale = parameters.float().chunk(2, dim=-1)
    return DiagonalGaussian(mean=mean, std=softplus(scale) + MIN_STD)


def _initialise_xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(cast(Tensor, module.bias))
