"""VICReg: invariance, variance and covariance of embeddings that are not normalised.

Bardes et al., "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised
Learning", arXiv 2105.04906, equations 1 to 6 and algorithm 1.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from adassl.collectives import all_gather
from adassl.objectives.objective import Objective, directions

EPS = 1e-4
"""Added to a variance before its root, as in the paper."""


def vicreg(
    edited: Float[Tensor, "batch dim"],
    target: Float[Tensor, "batch dim"],
    *,
    context: Float[Tensor, "batch dim"] | None = None,
    edited_target: Float[Tensor, "batch dim"] | None = None,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """The weighted sum of invariance, variance and covariance, in float32.

    Invariance: the mean squared difference of edited contexts and targets over rows and dimensions.
    The paper's equation 5 sums over the dimensions where its algorithm 1 takes the mean; the
    weights of 25, 25 and 1 belong to the mean. Variance and covariance: `variance_and_covariance`
    of both unedited views, because it is f whose dimensions must stay alive and uncorrelated,
    whatever an editor does after it.

    Args:
        edited: t(f(x), r).
        target: f(x+).
        context: f(x); None: `edited`, which is then not edited.
        edited_target: t(f(x+), r); None: forward direction only.
        invariance_weight: weight of the mean squared difference.
        variance_weight: weight of the hinge on each dimension's standard deviation.
        covariance_weight: weight of the squared covariances.

    Raises:
        ValueError: shapes that do not fit.
    """
    context = edited if context is None else context
    sources, targets = zip(*directions(edited, target, context, edited_target), strict=True)
    difference = torch.cat(sources).float() - torch.cat(targets).float()
    loss = invariance_weight * difference.square().mean()
    for view in (context, target):
        variance, covariance = variance_and_covariance(view)
        loss = loss + variance_weight * variance + covariance_weight * covariance
    return loss


def variance_and_covariance(
    view: Float[Tensor, "batch dim"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """What the spread of one view costs, over the global batch and the same on all workers.

    Variance (equations 1 and 2): max(0, 1 - std), the mean over the dimensions. Covariance
    (equations 3 and 4): the squares off the diagonal, summed and divided by the dimensions. Both
    with batch - 1 in the denominator, in float32.

    Args:
        view: unedited embeddings of this worker's x, or of its x+.
    """
    with torch.autocast(view.device.type, enabled=False):
        rows = all_gather(view.float())
        rows = rows - rows.mean(dim=0)
        # A batch of one has no spread: zero over one, not zero over zero.
        covariance = rows.T @ rows / max(len(rows) - 1, 1)
        variances = covariance.diagonal()
        hinge = (1 - (variances + EPS).sqrt()).clamp(min=0).mean()
        off_diagonal = covariance - variances.diag()
        return hinge, off_diagonal.square().sum() / rows.shape[1]


class VICReg(Objective):
    """Edited contexts against targets; variance and covariance of both views; see `vicreg`.

    Both sides have a gradient.

    Args:
        invariance_weight: weight of the mean squared difference.
        variance_weight: weight of the hinge on each dimension's standard deviation.
        covariance_weight: weight of the squared covariances.
    """

    def __init__(
        self,
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.invariance_weight = invariance_weight
        self.variance_weight = variance_weight
        self.covariance_weight = covariance_weight

    def forward(
        self,
        edited: Float[Tensor, "batch dim"],
        target: Float[Tensor, "batch dim"],
        *,
        context: Float[Tensor, "batch dim"] | None = None,
        edited_target: Float[Tensor, "batch dim"] | None = None,
        **_: Any,
    ) -> Float[Tensor, ""]:
        """`vicreg` of the pairs; see `Objective.forward`."""
        return vicreg(
            edited,
            target,
            context=context,
            edited_target=edited_target,
            invariance_weight=self.invariance_weight,
            variance_weight=self.variance_weight,
            covariance_weight=self.covariance_weight,
        )
