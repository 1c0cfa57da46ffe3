"""The latent r: what the context cannot tell about the target.

AdaSSL (arXiv 2602.02381): variational (-V, in `adassl.variational`) with a posterior q(r | x, x+)
and a prior p(r | x), or sparse (-S) with a binary mask over its dimensions. Both are deterministic
functions of embeddings and of noise that the caller draws, so a sample can be repeated, split over
workers, or set to the mean. An r that is given with the pair shows what either could reach at most.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adassl.config import MethodConfig
from adassl.heads import build_mlp, initialise_xavier
from adassl.latent_sample import LatentSample
from adassl.variational import MixtureLatent, VariationalLatent

__all__ = [
    "GivenLatent",
    "Latent",
    "LatentSample",
    "MixtureLatent",
    "SparseLatent",
    "VariationalLatent",
    "build_latent",
]

EPS = 1e-6
"""Keeps the logistic noise finite."""


class PriorlessLatent(nn.Module):
    """An r of which nothing can be said from x alone; a subclass says its name in a config."""

    has_prior = False
    name: str

    def sample_prior(
        self,
        context_embedding: Float[Tensor, "batch dim"],
        num_samples: int,
        generator: torch.Generator | None,
    ) -> Float[Tensor, "samples batch latent"]:
        """Refused: there is no distribution of r given x alone.

        Raises:
            NotImplementedError: always; names the remedy.
        """
        raise NotImplementedError(
            f"latent={self.name!r} has no prior p(r | x) to draw futures from; train with "
            "latent='variational', or pass r, such as that of other pairs, to Method.edit"
        )


class SparseLatent(PriorlessLatent):
    """AdaSSL-S: r = mask * content, the mask a straight-through Gumbel-sigmoid at temperature 1.

    The mask's logits start near 0, half of the dimensions active.

    Args:
        embedding_dim: size of an embedding.
        latent_dim: size of r.
        hidden_dims: hidden layer sizes of the MLP that gives content and logits.
    """

    name = "sparse"

    def __init__(self, embedding_dim: int, latent_dim: int, hidden_dims: Sequence[int]) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.head = build_mlp(2 * embedding_dim, hidden_dims, 2 * latent_dim)
        self.apply(initialise_xavier)

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


class GivenLatent(PriorlessLatent):
    """r handed in by the views, the truth about a change that is known: an upper bound on any r.

    Nothing is learnt and nothing penalised.

    Args:
        latent_dim: size of r.
    """

    name = "given"

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    def check(self, latent: Float[Tensor, "..."] | None, num_pairs: int) -> None:
        """Refuses what cannot be used as r.

        Raises:
            ValueError: r is missing or of another size.
        """
        needed = f"views.latent of shape ({num_pairs}, latent_dim={self.latent_dim})"
        if latent is None:
            raise ValueError(
                f"latent='given' needs {needed}, got None: hand in the r of each pair as "
                "Views(latent=...), or choose another latent"
            )
        if latent.shape != (num_pairs, self.latent_dim):
            raise ValueError(
                f"latent='given' needs {needed}, got {tuple(latent.shape)}: hand in a row for "
                "each pair, and set latent_dim to its length"
            )

    def forward(self, latent: Float[Tensor, "batch latent"], *, both: bool) -> LatentSample:
        """The same r forward, then, for `both` directions, -r: a change reversed."""
        value = latent.float()
        value = torch.cat([value, -value]) if both else value
        zeros = torch.zeros_like(value)
        return LatentSample(value=value, penalty=zeros[:, 0], penalty_per_dimension=zeros)


Latent = VariationalLatent | MixtureLatent | SparseLatent | GivenLatent


def build_latent(config: MethodConfig) -> Latent | None:
    """The latent that a config names; None for "none"."""
    sizes = config.embedding_dim, config.latent_dim, config.latent_hidden_dims
    match config.latent:
        case "none":
            return None
        case "variational" if config.prior_components > 1:
            return MixtureLatent(*sizes, config.prior_components)
        case "variational":
            return VariationalLatent(*sizes)
        case "sparse":
            return SparseLatent(*sizes)
        case "given":
            return GivenLatent(config.latent_dim)
