"""The latent r: what the context cannot tell about the target.

AdaSSL (arXiv 2602.02381): variational (-V, in `adassl.variational`) with a posterior q(r | x, x+)
and a prior p(r | x), or sparse (-S) with a binary mask over its dimensions. Both draw their own
noise, from a generator where one is given, or take the caller's, so that a sample can be repeated,
split over workers, or set to the mean. An r that is given with the pair shows what either could
reach at most.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adassl.heads import build_mlp, initialise_xavier
from adassl.latent_sample import LatentSample
from adassl.shapes import require_shape
from adassl.variational import MixtureLatent, VariationalLatent, pair_of

__all__ = [
    "GivenLatent",
    "Latent",
    "LatentSample",
    "MixtureLatent",
    "SparseLatent",
    "VariationalLatent",
]

EPS = 1e-6
"""Keeps the logistic noise finite."""


class PriorlessLatent(nn.Module):
    """An r of which nothing can be said from x alone."""

    has_prior = False

    def sample_prior(
        self,
        context_embedding: Float[Tensor, "batch dim"],
        num_samples: int,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "samples batch latent"]:
        """Refused: there is no distribution of r given x alone.

        Raises:
            NotImplementedError: always; names the remedy.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no prior p(r | x) to draw futures from; train with a "
            "VariationalLatent, latent='variational', or pass r, such as that of other pairs, to "
            "Method.edit"
        )


class SparseLatent(PriorlessLatent):
    """AdaSSL-S: r = mask * content, the mask a straight-through Gumbel-sigmoid at temperature 1.

    The mask's logits start near 0, half of the dimensions active.

    Args:
        embedding_dim: size of an embedding.
        latent_dim: size of r.
        hidden_dims: hidden layer sizes of the MLP that gives content and logits.

    Attributes:
        kept: 1 for the dimensions of r that are used, 0 for those that were switched off; None:
            all are used for good (`adassl.latent_size`).
    """

    kept: Float[Tensor, " latent"] | None

    def __init__(
        self, embedding_dim: int, latent_dim: int, hidden_dims: Sequence[int] = (128,)
    ) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.latent_dim = latent_dim
        self.head = build_mlp(2 * embedding_dim, hidden_dims, 2 * latent_dim)
        self.apply(initialise_xavier)
        self.register_buffer("kept", None)

    def draw_noise(
        self,
        shape: tuple[int, ...],
        *,
        generator: torch.Generator | None = None,
        device: torch.device | None = None,
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
        noise: Float[Tensor, "batch latent"] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> LatentSample:
        """A sample of r and its expected L0; a dimension is active with probability sigmoid(logit).

        The mask is 0 or 1 going forward; backward it passes the gradient of the soft sigmoid.

        Args:
            context_embedding: f(x).
            target_embedding: the embedding of x+, or of x++.
            noise: as from `draw_noise`; None: drawn here.
            generator: source of the noise that is drawn here; None: torch's global generator.

        Raises:
            ValueError: shapes that do not fit.
        """
        pair = pair_of(context_embedding, target_embedding, self.embedding_dim)
        if noise is None:
            noise = self.draw_noise((len(pair),), generator=generator, device=pair.device)
        content, logits = self.head(pair).float().chunk(2, dim=-1)
        soft = torch.sigmoid(logits + noise)
        # hard + (soft - soft) rather than (hard - soft) + soft: only the first is exactly binary.
        mask = (soft > 0.5).to(soft.dtype) + (soft - soft.detach())
        active = torch.sigmoid(logits)
        sample = LatentSample(
            value=mask * content,
            penalty=active.sum(dim=-1),
            penalty_per_dimension=active,
            mask=mask,
        )
        return sample.only(self.kept)


class GivenLatent(PriorlessLatent):
    """r that comes with the views, the truth about a known change: an upper bound on any r.

    Nothing is learnt and nothing penalised.

    Args:
        latent_dim: size of r.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    def check(self, latent: Float[Tensor, "..."] | None, num_pairs: int) -> None:
        """Refuse what cannot be used as r.

        Raises:
            ValueError: r is missing or of another size.
        """
        if latent is None:
            raise ValueError(
                f"views.latent=None with a given latent: hand in r of shape ({num_pairs}, "
                f"latent_dim={self.latent_dim}) as Views(latent=...), or choose another latent"
            )
        remedy = "hand in a row for each pair, and set latent_dim to its length"
        require_shape(latent, (num_pairs, self.latent_dim), name="views.latent", remedy=remedy)

    def forward(self, latent: Float[Tensor, "batch latent"], *, both: bool) -> LatentSample:
        """The same r forward, then, for `both` directions, -r: a change reversed."""
        value = latent.float()
        value = torch.cat([value, -value]) if both else value
        zeros = torch.zeros_like(value)
        return LatentSample(value=value, penalty=zeros[:, 0], penalty_per_dimension=zeros)


Latent = VariationalLatent | MixtureLatent | SparseLatent | GivenLatent
