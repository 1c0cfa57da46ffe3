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

WITHIN_FLOOR = 1e-4
"""LiDAR's delta: added to the variances within pairs, beside variances of about 1 in all."""

SPECTRUM_FLOOR = 1e-8
"""Of the largest eigenvalue; smaller ones are rounding errors and count as this in alpha-ReQ."""


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


def lidar(
    context: Float[Tensor, "batch dim"], target: Float[Tensor, "batch dim"]
) -> Float[Tensor, ""]:
    """Effective rank of what tells pairs apart, measured against how the two of a pair differ.

    exp of the entropy of the shares of the eigenvalues of W^-1/2 B W^-1/2, 1 to min(batch - 1,
    dim): B is the covariance of the pairs' means, W that of a pair's two embeddings around theirs.
    A direction in which the two of a pair differ as much as any two adds little, which RankMe does
    not see. Each pair is a class of its own, whose two samples are x and x+: two moments, or two
    augmentations. Where the target has an encoder of its own (byol, dino), how far the two have
    moved apart counts as a difference within the pair.

    Thilak et al., "LiDAR", arXiv 2312.04000. Their delta in W suits variances of 1: the unit
    embeddings are first made sqrt(dim) long, as in `dimension_std`. A batch of fewer pairs than
    dimensions says little.
    """
    dim = context.shape[1]
    views = torch.stack([context, target]).float() * math.sqrt(dim)
    difference, means = views[0] - views[1], views.mean(dim=0)
    means = means - means.mean(dim=0)
    within = difference.T @ difference / (2 * len(means))
    between = means.T @ means / max(len(means) - 1, 1)
    values, vectors = torch.linalg.eigh(within)
    whiten = vectors * (values.clamp(min=0) + WITHIN_FLOOR).rsqrt()
    return share_entropy(torch.linalg.eigvalsh(whiten.T @ between @ whiten)).exp()


def alpha_req(embeddings: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """alpha, with which the i-th eigenvalue of the embeddings' covariance falls as i^-alpha.

    0 where all dimensions have the same share; about 1 is said to be best; large where few
    directions hold nearly everything, as in a collapse. The slope of log eigenvalue against log i,
    rank i with the weight 1 / i, so that the many last ones do not decide alone. Any embeddings, of
    any length.

    Agrawal et al., "alpha-ReQ", NeurIPS 2022; the weights are those of Stringer et al., Nature
    2019, whose fit their code takes. They leave the first ranks out: here there are too few.
    """
    centred = embeddings.float() - embeddings.float().mean(dim=0)
    values = torch.linalg.svdvals(centred).square()
    # One fewer than pairs: the mean took one away.
    values = values[: max(len(embeddings) - 1, 1)]
    largest = values[0].clamp(min=torch.finfo(values.dtype).tiny / SPECTRUM_FLOOR)
    logs = torch.maximum(values, largest * SPECTRUM_FLOOR).log()
    ranks = torch.arange(1, len(values) + 1, device=values.device).float()
    weights = (1 / ranks) / (1 / ranks).sum()
    x = ranks.log() - (weights * ranks.log()).sum()
    spread = (weights * x.square()).sum().clamp(min=torch.finfo(x.dtype).tiny)
    return -(weights * x * logs).sum() / spread


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
