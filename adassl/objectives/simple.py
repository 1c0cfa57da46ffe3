"""Simple: alignment, and a price on the length of the centre. No negatives, predictor or EMA.

Jha et al., "The Common Stability Mechanism behind most Self-Supervised Learning Approaches",
arXiv 2402.14957.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from adassl.collectives import all_gather
from adassl.objectives.objective import Objective, directions


def simple(
    edited: Float[Tensor, "batch dim"],
    target: Float[Tensor, "batch dim"],
    *,
    context: Float[Tensor, "batch dim"] | None = None,
    edited_target: Float[Tensor, "batch dim"] | None = None,
    centre_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """1/2 (E|edited - target|^2 + centre_weight |s|^2) of unit vectors, in float32.

    s is the mean of the unit embeddings of both views over the global batch. The paper writes
    L_Simple = 1/2 (L_align - lambda_L s), with its lambda_L and the power of s left to the reader.
    Read here as: the squared length, whose gradient shrinks with s as those in the paper do, and
    the sign by which s shrinks, with a positive weight. At a weight of 1 a full collapse costs
    1/2, as much as a mean alignment of 1 (a cosine of 1/2).

    The centre is that of the unedited embeddings, because it is f that must not collapse: an editor
    that shifts everything could keep the centre of what it edits at zero.

    Args:
        edited: t(f(x), r), any norm, as everything here.
        target: f(x+).
        context: f(x); None: `edited`, which is then not edited.
        edited_target: t(f(x+), r); None: forward direction only.
        centre_weight: weight of |s|^2; 0 leaves the alignment alone, which collapses.

    Raises:
        ValueError: shapes that do not fit.
    """
    context = edited if context is None else context
    sources, targets = zip(*directions(edited, target, context, edited_target), strict=True)
    source, aim, views = (
        normalize(torch.cat(rows).float(), dim=-1) for rows in (sources, targets, (context, target))
    )
    alignment = (source - aim).square().sum(dim=-1).mean()
    centre = all_gather(views).mean(dim=0)
    return (alignment + centre_weight * centre.square().sum()) / 2


class Simple(Objective):
    """Edited contexts against targets, and a price on the centre; see `simple`.

    Both sides have a gradient.

    Args:
        centre_weight: weight of the squared length of the centre.
    """

    def __init__(self, centre_weight: float = 1.0) -> None:
        super().__init__()
        self.centre_weight = centre_weight

    def forward(
        self,
        edited: Float[Tensor, "batch dim"],
        target: Float[Tensor, "batch dim"],
        *,
        context: Float[Tensor, "batch dim"] | None = None,
        edited_target: Float[Tensor, "batch dim"] | None = None,
        **_: Any,
    ) -> Float[Tensor, ""]:
        """`simple` of the pairs; see `Objective.forward`."""
        return simple(
            edited,
            target,
            context=context,
            edited_target=edited_target,
            centre_weight=self.centre_weight,
        )
