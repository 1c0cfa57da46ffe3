"""Barlow Twins: the cross-correlation of the two views should be the identity.

Zbontar et al., "Barlow Twins: Self-Supervised Learning via Redundancy Reduction",
arXiv 2103.03230, equations 1 and 2.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from adassl.collectives import all_gather
from adassl.config import MethodConfig
from adassl.objectives.objective import Comparison, Objective

EPS = 1e-5
"""Added to a variance, so that a dimension that never changes has a finite gradient."""


def barlow_twins(
    prediction: Float[Tensor, "batch dim"],
    destination: Float[Tensor, "batch dim"],
    off_diagonal_weight: float,
) -> Float[Tensor, ""]:
    """sum_i (1 - C_ii)^2 + off_diagonal_weight sum_{i != j} C_ij^2, in float32.

    C_ij is the correlation of dimension i of the prediction with dimension j of the destination
    over the global batch, gathered over workers with gradients; the loss is the same on all.

    Args:
        prediction: t(f(x), r).
        destination: f(x+).
        off_diagonal_weight: the paper's lambda.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        views = all_gather(torch.stack([prediction.float(), destination.float()], dim=1))
        views = views - views.mean(dim=0)
        views = views * (views.square().mean(dim=0) + EPS).rsqrt()
        correlation = views[:, 0].T @ views[:, 1] / len(views)
        off_diagonal = correlation - correlation.diagonal().diag()
        return (1 - correlation.diagonal()).square().sum() + (
            off_diagonal_weight * off_diagonal.square().sum()
        )


class BarlowTwins(Objective):
    """Edited sources against destinations, each direction's cross-correlation by itself.

    All embeddings are the online encoder's, with gradients on both sides, and not normalised to
    unit length. Without an edit both directions are one matrix and its transpose.
    """

    def __init__(self, config: MethodConfig) -> None:
        super().__init__()
        self.off_diagonal_weight = config.off_diagonal_weight

    def forward(self, comparison: Comparison, *, step: int) -> Float[Tensor, ""]:
        """Mean of `barlow_twins` over the directions; the step plays no part."""
        directions = zip(
            comparison.prediction.split(comparison.batch),
            comparison.destination.split(comparison.batch),
            strict=True,
        )
        losses = [barlow_twins(a, b, self.off_diagonal_weight) for a, b in directions]
        return torch.stack(losses).mean()
