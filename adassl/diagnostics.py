"""Label-free metrics: collapse, spread, and whether r is used.

Centre, sample mean and residual: "The Common Stability Mechanism behind most SSL Approaches",
arXiv 2402.14957. All take unit-length embeddings unless said otherwise.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from adassl.latent_sample import LatentSample

ACTIVE_KL = 0.01
"""Nats of KL above which a dimension of a variational r counts as active."""

ACTIVE_SHARE = 0.01
"""Share of pairs above which a dimension of a sparse r counts as active."""


def centre_norm(embeddings: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """Length of the centre s = E[z] of unit embeddings; it rises to 1 when they collapse."""
    return _length(embeddings.float().mean(dim=0))


def sample_mean_norm(views: Float[Tensor, "views batch dim"]) -> Float[Tensor, ""]:
    """E|s_x|, s_x the mean over the views of a pair of unit embeddings; 1 = views agree."""
    return _length(views.float().mean(dim=0)).mean()


def residual_norm(views: Float[Tensor, "views batch dim"]) -> Float[Tensor, ""]:
    """E|s_x - s|, the sample means' mean distance to the centre; it falls to 0 in a collapse."""
    return _residuals(views).mean()


def residual_spread(views: Float[Tensor, "views batch dim"]) -> Float[Tensor, ""]:
    """Standard deviation of |s_x - s| over the pairs: whether some have collapsed and some not."""
    return _residuals(views).std(correction=0)


def dimension_std(embeddings: Float[Tensor, "batch dim"]) -> Float[Tensor, " dim"]:
    """Standard deviation of each dimension of unit embeddings, times sqrt(dim).

    1 everywhere when they spread evenly over the sphere; 0 in the dimensions that have collapsed.
    """
    return embeddings.float().std(dim=0, correction=0) * math.sqrt(embeddings.shape[1])


def rankme(embeddings: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """Effective rank: exp of the entropy of the singular values' shares, 1 to min(batch, dim).

    Garrido et al., "RankMe", arXiv 2210.02885. The matrix is not centred, as there: a centred one
    does not see a collapse onto one point. Any embeddings, of any length.
    """
    singular_values = torch.linalg.svdvals(embeddings.float())
    return share_entropy(singular_values).exp()


def alignment(
    context: Float[Tensor, "batch dim"], target: Float[Tensor, "batch dim"]
) -> Float[Tensor, ""]:
    """E|z - z+|^2 over unit embeddings of pairs, 0 to 4 (Wang and Isola, arXiv 2005.10242)."""
    return (context.float() - target.float()).square().sum(dim=-1).mean()


def uniformity(embeddings: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """Log of E exp(-2 |z - z'|^2) over all pairs of unit embeddings; -4 at best, 0 in a collapse.

    Wang and Isola, arXiv 2005.10242. Memory grows with the square of the batch.
    """
    squared = torch.pdist(embeddings.float()).square()
    return squared.mul(-2).exp().mean().log()


@dataclass(frozen=True, kw_only=True)
class LatentUse:
    """How a batch of pairs uses r.

    Attributes:
        per_dimension: use of each dimension: mean KL in nats (variational), or the share of pairs
            in which it is active (sparse).
        active_dimensions: how many exceed `ACTIVE_KL` or `ACTIVE_SHARE`.
        mean_active: E|r|_0, the mean number of nonzero dimensions of a pair.
        entropy: H(rho) in nats, rho the shares of `per_dimension`: 0 when one dimension does all,
            log(latent_dim) when all do alike; 0 also where r is not used at all.
    """

    per_dimension: Float[Tensor, " latent"]
    active_dimensions: int
    mean_active: float
    entropy: float


def latent_use(sample: LatentSample) -> LatentUse:
    """Use of r over the pairs of a sample."""
    sparse = sample.mask is not None
    parts = sample.mask if sample.mask is not None else sample.penalty_per_dimension
    per_dimension = parts.detach().mean(dim=0)
    threshold = ACTIVE_SHARE if sparse else ACTIVE_KL
    return LatentUse(
        per_dimension=per_dimension,
        active_dimensions=int((per_dimension > threshold).sum()),
        mean_active=float((sample.value != 0).sum(dim=-1).float().mean()),
        entropy=float(share_entropy(per_dimension)),
    )


def share_entropy(sizes: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Entropy in nats of the shares of non-negative sizes; 0 where all are 0."""
    tiny = torch.finfo(sizes.dtype).tiny
    # Rounding can take a KL of 0 slightly below it.
    sizes = sizes.clamp(min=0)
    shares = sizes / sizes.sum().clamp(min=tiny)
    # Clamped, because the gradient of 0 log 0 is infinite.
    return -(shares * shares.clamp(min=tiny).log()).sum()


def _residuals(views: Float[Tensor, "views batch dim"]) -> Float[Tensor, " batch"]:
    sample_means = views.float().mean(dim=0)
    return _length(sample_means - sample_means.mean(dim=0))


def _length(vectors: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows"]:
    return vectors.square().sum(dim=-1).sqrt()
