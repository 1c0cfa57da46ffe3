"""Simple: alignment, and a price on the length of the centre. No negatives, predictor or EMA.

Jha et al., "The Common Stability Mechanism behind most Self-Supervised Learning Approaches",
arXiv 2402.14957.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from adassl.collectives import all_gather
from adassl.config import MethodConfig
from adassl.objectives.objective import Comparison, Objective


def simple_loss(
    *,
    prediction: Float[Tensor, "rows dim"],
    destination: Float[Tensor, "rows dim"],
    views: Float[Tensor, "views dim"],
    centre_weight: float,
) -> Float[Tensor, ""]:
    """1/2 (E|prediction - destination|^2 + centre_weight |s|^2) of unit vectors, in float32.

    s is the mean of the unit embeddings of both views over the global batch. The paper writes
    L_Simple = 1/2 (L_align - lambda_L s), with its lambda_L and the power of s left to the reader.
    Read here as: the squared length, whose gradient shrinks with s as those in the paper do, and
    the sign by which s shrinks, with a positive weight. At a weight of 1 a full collapse costs
    1/2, as much as a mean alignment of 1 (a cosine of 1/2).

    Args:
        prediction: t(f(x), r), any norm, as everything here.
        destination: f(x+).
        views: unedited embeddings of x and x+ of this worker's pairs.
        centre_weight: weight of |s|^2; 0 leaves the alignment alone, which collapses.
    """
    prediction, destination, views = (
        normalize(vectors.float(), dim=-1) for vectors in (prediction, destination, views)
    )
    alignment = (prediction - destination).square().sum(dim=-1).mean()
    centre = all_gather(views).mean(dim=0)
    return (alignment + centre_weight * centre.square().sum()) / 2


class Simple(Objective):
    """Edited sources against destinations; the centre is that of the unedited embeddings.

    Unedited, because it is f that must not collapse: an editor that shifts everything could hold
    the centre of what it edits at nought. All are the online encoder's, with gradients on both
    sides.
    """

    def __init__(self, config: MethodConfig) -> None:
        super().__init__()
        self.centre_weight = config.centre_weight

    def forward(self, comparison: Comparison, *, step: int) -> Float[Tensor, ""]:
        """`simple_loss` of all rows; the step plays no part."""
        return simple_loss(
            prediction=comparison.prediction,
            destination=comparison.destination,
            views=torch.cat([comparison.context, comparison.target]),
            centre_weight=self.centre_weight,
        )
