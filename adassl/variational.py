"""AdaSSL-V (arXiv 2602.02381): r ~ q(r | x, x+), held near a learnt prior p(r | x).

The prior is one factorised Gaussian, as in the paper, or a mixture of them.
"""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adassl.gaussians import (
    DiagonalGaussian,
    GaussianMixture,
    gaussian_kl_per_dimension,
    mixture_kl_bound_per_dimension,
)
from adassl.heads import build_mlp, initialise_xavier
from adassl.latent_sample import LatentSample
from adassl.shapes import require_shape


def pair_of(
    context_embedding: Float[Tensor, "batch dim"],
    target_embedding: Float[Tensor, "batch dim"],
    embedding_dim: int,
) -> Float[Tensor, "batch double"]:
    """Both embeddings of each pair side by side.

    Raises:
        ValueError: either is not [batch, embedding_dim].
    """
    remedy = "pass embeddings of that size, or build the latent with theirs as embedding_dim"
    require_shape(context_embedding, (None, embedding_dim), name="context_embedding", remedy=remedy)
    sizes = (len(context_embedding), embedding_dim)
    require_shape(target_embedding, sizes, name="target_embedding", remedy=remedy)
    return torch.cat([context_embedding, target_embedding], dim=-1)


class PosteriorLatent(nn.Module):
    """AdaSSL-V without its prior: r ~ q(r | x, x+), a factorised Gaussian read from both.

    A subclass adds the prior, and then calls `initialise`.

    Args:
        embedding_dim: size of an embedding.
        latent_dim: size of r.
        hidden_dims: hidden layer sizes of the posterior's MLP.

    Attributes:
        kept: 1 for the dimensions of r that are used, 0 for those that were switched off; None:
            all are used for good (`adassl.latent_size`).
    """

    has_prior = True
    kept: Float[Tensor, " latent"] | None

    def __init__(
        self, embedding_dim: int, latent_dim: int, hidden_dims: Sequence[int] = (128,)
    ) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.latent_dim = latent_dim
        self.register_buffer("kept", None)
        self.posterior_head = build_mlp(2 * embedding_dim, hidden_dims, 2 * latent_dim)

    def initialise(self, prior_output: nn.Linear) -> None:
        """Xavier everywhere, and zero for what the prior's last layer reads of x."""
        self.apply(initialise_xavier)
        # The prior starts the same for every x: KL(q || p) grows with 1 / var_p, and a prior that
        # is narrow by the chance of its initialisation costs tens of nats a dimension.
        nn.init.zeros_(prior_output.weight)

    def infer(
        self,
        context_embedding: Float[Tensor, "batch dim"],
        target_embedding: Float[Tensor, "batch dim"],
    ) -> DiagonalGaussian:
        """The posterior q(r | x, x+), read from both embeddings."""
        pair = pair_of(context_embedding, target_embedding, self.embedding_dim)
        return DiagonalGaussian.from_head(*self.posterior_head(pair).chunk(2, dim=-1))

    def divergence(
        self, posterior: DiagonalGaussian, context_embedding: Float[Tensor, "batch dim"]
    ) -> Float[Tensor, "batch latent"]:
        """What q costs in nats, one part per latent dimension: KL(q || p) or a bound on it."""
        raise NotImplementedError

    def draw_noise(
        self,
        shape: tuple[int, ...],
        *,
        generator: torch.Generator | None = None,
        device: torch.device | None = None,
    ) -> Float[Tensor, "*shape latent"]:
        """Standard normal noise [*shape, latent_dim] on `device`, drawn where the generator is."""
        source = device if generator is None else generator.device
        size = (*shape, self.latent_dim)
        return torch.randn(size, generator=generator, device=source).to(device)

    def forward(
        self,
        context_embedding: Float[Tensor, "batch dim"],
        target_embedding: Float[Tensor, "batch dim"],
        noise: Float[Tensor, "batch latent"] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> LatentSample:
        """A reparameterised sample of the posterior, its mean if noise is 0, and its cost.

        Args:
            context_embedding: f(x).
            target_embedding: the embedding of x+, or of x++.
            noise: standard normal; None: drawn here.
            generator: source of the noise that is drawn here; None: torch's global generator.

        Raises:
            ValueError: shapes that do not fit.
        """
        posterior = self.infer(context_embedding, target_embedding)
        if noise is None:
            shape, device = (len(posterior.mean),), posterior.mean.device
            noise = self.draw_noise(shape, generator=generator, device=device)
        divergence = self.divergence(posterior, context_embedding)
        sample = LatentSample(
            value=posterior.mean + posterior.std * noise,
            penalty=divergence.sum(dim=-1),
            penalty_per_dimension=divergence,
        )
        return sample.only(self.kept)

    def drawn(
        self, latents: Float[Tensor, "samples batch latent"]
    ) -> Float[Tensor, "samples batch latent"]:
        """Draws of the prior as the editor gets them."""
        return latents if self.kept is None else latents * self.kept


class VariationalLatent(PosteriorLatent):
    """AdaSSL-V: q(r | x, x+) is held near the learnt prior p(r | x), a factorised Gaussian.

    Args:
        embedding_dim: size of an embedding.
        latent_dim: size of r.
        hidden_dims: hidden layer sizes of the posterior's and the prior's MLP.
    """

    def __init__(
        self, embedding_dim: int, latent_dim: int, hidden_dims: Sequence[int] = (128,)
    ) -> None:
        super().__init__(embedding_dim, latent_dim, hidden_dims)
        self.prior_head = build_mlp(embedding_dim, hidden_dims, 2 * latent_dim)
        self.initialise(cast(nn.Linear, self.prior_head[-1]))

    def prior(self, context_embedding: Float[Tensor, "batch dim"]) -> DiagonalGaussian:
        """The prior p(r | x), read from the context's embedding."""
        return DiagonalGaussian.from_head(*self.prior_head(context_embedding).chunk(2, dim=-1))

    def divergence(
        self, posterior: DiagonalGaussian, context_embedding: Float[Tensor, "batch dim"]
    ) -> Float[Tensor, "batch latent"]:
        """KL(q || p) in nats, one value per latent dimension."""
        return gaussian_kl_per_dimension(posterior, self.prior(context_embedding))

    def sample_prior(
        self,
        context_embedding: Float[Tensor, "batch dim"],
        num_samples: int,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "samples batch latent"]:
        """Draws r ~ p(r | x), independent for every context."""
        prior = self.prior(context_embedding)
        shape = (num_samples, context_embedding.shape[0])
        noise = self.draw_noise(shape, generator=generator, device=prior.mean.device)
        return self.drawn(prior.mean + prior.std * noise)


class MixtureLatent(PosteriorLatent):
    """AdaSSL-V with a mixture of factorised Gaussians as its prior: futures with several modes.

    The regulariser is an upper bound on KL(q || p), so AdaSSL's bound stays valid (see
    `adassl.gaussians.mixture_kl_bound_per_dimension`).

    Args:
        embedding_dim: size of an embedding.
        latent_dim: size of r.
        hidden_dims: hidden layer sizes of the posterior's and the prior's MLP.
        num_components: Gaussians in the prior.
    """

    def __init__(
        self,
        embedding_dim: int,
        latent_dim: int,
        hidden_dims: Sequence[int],
        num_components: int,
    ) -> None:
        super().__init__(embedding_dim, latent_dim, hidden_dims)
        means = num_components * latent_dim
        self.num_components = num_components
        self.prior_head = build_mlp(embedding_dim, hidden_dims, num_components + 2 * means)
        output = cast(nn.Linear, self.prior_head[-1])
        self.initialise(output)
        # Means that start alike get the same gradient for ever. The shares do start equal.
        with torch.no_grad():
            output.bias[num_components : num_components + means].normal_()

    def prior(self, context_embedding: Float[Tensor, "batch dim"]) -> GaussianMixture:
        """The prior p(r | x), read from the context's embedding."""
        means = self.num_components * self.latent_dim
        answer = self.prior_head(context_embedding).float()
        logits, mean, scale = answer.split([self.num_components, means, means], dim=-1)
        shape = (self.num_components, self.latent_dim)
        return GaussianMixture(
            log_share=torch.log_softmax(logits, dim=-1),
            parts=DiagonalGaussian.from_head(mean.unflatten(-1, shape), scale.unflatten(-1, shape)),
        )

    def divergence(
        self, posterior: DiagonalGaussian, context_embedding: Float[Tensor, "batch dim"]
    ) -> Float[Tensor, "batch latent"]:
        """An upper bound on KL(q || p) in nats, in one part per latent dimension."""
        return mixture_kl_bound_per_dimension(posterior, self.prior(context_embedding))

    def sample_prior(
        self,
        context_embedding: Float[Tensor, "batch dim"],
        num_samples: int,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "samples batch latent"]:
        """Draws r ~ p(r | x), a component for every sample of every context and then a value."""
        prior = self.prior(context_embedding)
        shape, device = (num_samples, context_embedding.shape[0]), context_embedding.device
        noise = self.draw_noise(shape, generator=generator, device=device)
        source = device if generator is None else generator.device
        place = torch.rand(shape, generator=generator, device=source).to(device)
        return self.drawn(prior.sample(noise, place))
