"""The triplet loss with every negative of the global batch, or with one that the pair brings.

Schroff et al., "FaceNet", arXiv 1503.03832, equation 2, on unit embeddings; the anchors are edited
as in AdaSSL (arXiv 2602.02381).
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from adassl.objectives.candidates import candidates_of, negative_weights
from adassl.objectives.objective import Objective, directions
from adassl.shapes import require_shape
from adassl.traits import TRAITS


def triplet(
    edited: Float[Tensor, "batch dim"],
    target: Float[Tensor, "batch dim"],
    *,
    context: Float[Tensor, "batch dim"] | None = None,
    edited_target: Float[Tensor, "batch dim"] | None = None,
    negative: Float[Tensor, "batch dim"] | None = None,
    group: Int[Tensor, " batch"] | None = None,
    margin: float = 0.2,
    same_video_negative_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """max(0, margin + |a - p|^2 - |a - n|^2) of unit vectors, the mean over this worker's anchors.

    The candidates are those of `adassl.info_nce`: the positive is the other view, the negatives
    both views of every other pair of the global batch, and each anchor takes the mean over all of
    them. Not the hardest alone: on unit vectors those pull an untrained encoder to a point (FaceNet
    3.2), and every negative is what pushes the embeddings from their centre, the mechanism of
    arXiv 2402.14957.

    Where each pair brings a negative x-, as a table of triplets does, n is f(x-) of the anchor's
    own pair alone, in both directions: x- is to be far from x and from x+. Then it is what differs
    between x+ and x- that r has to tell, not what differs between pairs.

    Args:
        edited: anchors whose positive is the target; any norm, as everything here.
        target: unedited embeddings of x+.
        context: unedited embeddings of x; None: `edited`, which is then not edited.
        edited_target: anchors whose positive is the context; None: forward direction only.
        negative: unedited embeddings of x-; None: the negatives are those of the batch.
        group: the video of each pair; None: each pair has its own. Without x- only.
        margin: by how much a negative must be further off, in squared distance (0 to 4).
        same_video_negative_weight: weight in the mean of a negative from the anchor's own video.
            An anchor left without any negative contributes a loss of 0.

    Raises:
        ValueError: shapes that do not fit.
    """
    with torch.autocast(edited.device.type, enabled=False):
        if negative is not None:
            return _of_triplets(edited, target, context, edited_target, negative, margin)
        weight, own = negative_weights(edited, group, same_video_negative_weight)
        losses = []
        for direction in candidates_of(edited, target, context, edited_target):
            cosine = direction.anchors @ direction.candidates.T
            # |a - b|^2 = 2 - 2 cos, so the ones cancel in the difference of two distances.
            excess = margin + 2 * (cosine - cosine.gather(1, own[:, None]))
            total = (weight * excess.clamp(min=0)).sum(dim=1)
            losses.append(total / weight.sum(dim=1).clamp(min=torch.finfo(total.dtype).tiny))
        return torch.cat(losses).mean()


def _of_triplets(
    edited: Tensor,
    target: Tensor,
    context: Tensor | None,
    edited_target: Tensor | None,
    negative: Tensor,
    margin: float,
) -> Tensor:
    remedy = "as edited; give one x- a pair"
    require_shape(negative, tuple(edited.shape), name="negative", remedy=remedy)
    away = normalize(negative.float(), dim=-1)
    losses = []
    for anchor, positive in directions(edited, target, context, edited_target):
        anchor, near = (normalize(each.float(), dim=-1) for each in (anchor, positive))
        cosines = (anchor * away).sum(dim=1) - (anchor * near).sum(dim=1)
        losses.append((margin + 2 * cosines).clamp(min=0))
    return torch.cat(losses).mean()


class Triplet(Objective):
    """Edited anchors against unedited views, of the global batch or x- alone; see `triplet`.

    Both sides have a gradient.

    Args:
        margin: by how much a negative must be further off, in squared distance (0 to 4).
        same_video_negative_weight: weight of negatives from the anchor's own video.
    """

    traits = TRAITS["triplet"]

    def __init__(self, margin: float = 0.2, *, same_video_negative_weight: float = 1.0) -> None:
        super().__init__()
        self.margin = margin
        self.same_video_negative_weight = same_video_negative_weight

    def forward(
        self,
        edited: Float[Tensor, "batch dim"],
        target: Float[Tensor, "batch dim"],
        *,
        context: Float[Tensor, "batch dim"] | None = None,
        edited_target: Float[Tensor, "batch dim"] | None = None,
        negative: Float[Tensor, "batch dim"] | None = None,
        group: Int[Tensor, " batch"] | None = None,
        **_: Any,
    ) -> Float[Tensor, ""]:
        """`triplet` of the pairs; see `Objective.forward`."""
        return triplet(
            edited,
            target,
            context=context,
            edited_target=edited_target,
            negative=negative,
            group=group,
            margin=self.margin,
            same_video_negative_weight=self.same_video_negative_weight,
        )
