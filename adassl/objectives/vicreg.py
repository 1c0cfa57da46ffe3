"""VICReg: invariance, variance and covariance of embeddings that are not normalised.

Bardes et al., "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised
Learning", arXiv 2105.04906, equations 1 to 6 and algorithm 1.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from adassl.collectives import all_gather
from adassl.config import MethodConfig
from adassl.objectives.objective import Comparison, Objective

EPS = 1e-4
"""Added to a variance before its root, as in the paper."""


def invariance(
    prediction: Float[Tensor, "rows dim"], destination: Float[Tensor, "rows dim"]
) -> Float[Tensor, ""]:
    """Mean squared difference over rows and dimensions, in float32.

    The paper's equation 5 sums over the dimensions where its algorithm 1 takes the mean; the
    weights of 25, 25 and 1 belong to the mean.

    Args:
        prediction: t(f(x), r).
        destination: f(x+).
    """
    return (prediction.float() - destination.float()).square().mean()


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
        # A batch of one has no spread: nought over one, not nought over nought.
        covariance = rows.T @ rows / max(len(rows) - 1, 1)
        variances = covariance.diagonal()
        hinge = (1 - (variances + EPS).sqrt()).clamp(min=0).mean()
        off_diagonal = covariance - variances.diag()
        return hinge, off_diagonal.square().sum() / rows.shape[1]


class VICReg(Objective):
    """Edited sources against destinations; variance and covariance of the unedited embeddings.

    Unedited, because it is f whose dimensions must stay alive and uncorrelated, whatever an editor
    does after it. All are the online encoder's, with gradients on both sides.
    """

    def __init__(self, config: MethodConfig) -> None:
        super().__init__()
        self.invariance_weight = config.invariance_weight
        self.variance_weight = config.variance_weight
        self.covariance_weight = config.covariance_weight

    def forward(self, comparison: Comparison, *, step: int) -> Float[Tensor, ""]:
        """The weighted sum of the three, for both views; the step plays no part."""
        loss = self.invariance_weight * invariance(comparison.prediction, comparison.destination)
        for view in (comparison.context, comparison.target):
            variance, covariance = variance_and_covariance(view)
            loss = loss + self.variance_weight * variance + self.covariance_weight * covariance
        return loss
