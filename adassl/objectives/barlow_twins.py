"""Barlow Twins: the cross-correlation of the two views should be the identity.

Zbontar et al., "Barlow Twins: Self-Supervised Learning via Redundancy Reduction",
arXiv 2103.03230, equations 1 and 2.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from adassl.collectives import all_gather
from adassl.objectives.objective import Objective, directions

EPS = 1e-5
"""Added to a variance, so that a dimension that never changes has a finite gradient."""


def barlow_twins(
    edited: Float[Tensor, "batch dim"],
    target: Float[Tensor, "batch dim"],
    *,
    context: Float[Tensor, "batch dim"] | None = None,
    edited_target: Float[Tensor, "batch dim"] | None = None,
    off_diagonal_weight: float = 0.005,
) -> Float[Tensor, ""]:
    """sum_i (1 - C_ii)^2 + off_diagonal_weight sum_{i != j} C_ij^2, in float32.

    C_ij is the correlation of dimension i of the edited embeddings with dimension j of the targets
    over the global batch, gathered over workers with gradients; the loss is the same on all. The
    mean over the directions, each with a matrix of its own: without an edit one is the other's
    transpose.

    Args:
        edited: t(f(x), r).
        target: f(x+).
        context: f(x); needed with `edited_target`.
        edited_target: t(f(x+), r); None: forward direction only.
        off_diagonal_weight: the paper's lambda.

    Raises:
        ValueError: shapes that do not fit.
    """
    with torch.autocast(edited.device.type, enabled=False):
        losses = [
            _redundancy(a, b, off_diagonal_weight)
            for a, b in directions(edited, target, context, edited_target)
        ]
        return torch.stack(losses).mean()


def _redundancy(
    edited: Float[Tensor, "batch dim"], target: Float[Tensor, "batch dim"], weight: float
) -> Float[Tensor, ""]:
    views = all_gather(torch.stack([edited.float(), target.float()], dim=1))
    views = views - views.mean(dim=0)
    views = views * (views.square().mean(dim=0) + EPS).rsqrt()
    correlation = views[:, 0].T @ views[:, 1] / len(views)
    off_diagonal = correlation - correlation.diagonal().diag()
    return (1 - correlation.diagonal()).square().sum() + weight * off_diagonal.square().sum()


class BarlowTwins(Objective):
    """Edited contexts against targets, not normalised to unit length; see `barlow_twins`.

    Both sides have a gradient.

    Args:
        off_diagonal_weight: the paper's lambda.
    """

    def __init__(self, off_diagonal_weight: float = 0.005) -> None:
        super().__init__()
        self.off_diagonal_weight = off_diagonal_weight

    def forward(
        self,
        edited: Float[Tensor, "batch dim"],
        target: Float[Tensor, "batch dim"],
        *,
        context: Float[Tensor, "batch dim"] | None = None,
        edited_target: Float[Tensor, "batch dim"] | None = None,
        **_: Any,
    ) -> Float[Tensor, ""]:
        """`barlow_twins` of the pairs; see `Objective.forward`."""
        return barlow_twins(
            edited,
            target,
            context=context,
            edited_target=edited_target,
            off_diagonal_weight=self.off_diagonal_weight,
        )
