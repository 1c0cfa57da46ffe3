"""The triplet loss with every negative of the global batch.

Schroff et al., "FaceNet", arXiv 1503.03832, equation 2, on unit embeddings; the anchors are edited
as in AdaSSL (arXiv 2602.02381).
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from adassl.objectives.candidates import candidates_of, negative_weights
from adassl.objectives.objective import Objective
from adassl.traits import TRAITS


def triplet(
    edited: Float[Tensor, "batch dim"],
    target: Float[Tensor, "batch dim"],
    *,
    context: Float[Tensor, "batch dim"] | None = None,
    edited_target: Float[Tensor, "batch dim"] | None = None,
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

    Args:
        edited: anchors whose positive is the target; any norm, as everything here.
        target: unedited embeddings of x+.
        context: unedited embeddings of x; None: `edited`, which is then not edited.
        edited_target: anchors whose positive is the context; None: forward direction only.
        group: the video of each pair; None: each pair has its own.
        margin: by how much a negative must be further off, in squared distance (0 to 4).
        same_video_negative_weight: weight in the mean of a negative from the anchor's own video.
            An anchor left without any negative contributes a loss of 0.

    Raises:
        ValueError: shapes that do not fit.
    """
    with torch.autocast(edited.device.type, enabled=False):
        weight, own = negative_weights(edited, group, same_video_negative_weight)
        losses = []
        for direction in candidates_of(edited, target, context, edited_target):
            cosine = direction.anchors @ direction.candidates.T
            # |a - b|^2 = 2 - 2 cos, so the ones cancel in the difference of two distances.
            excess = margin + 2 * (cosine - cosine.gather(1, own[:, None]))
            total = (weight * excess.clamp(min=0)).sum(dim=1)
            losses.append(total / weight.sum(dim=1).clamp(min=torch.finfo(total.dtype).tiny))
        return torch.cat(losses).mean()


class Triplet(Objective):
    """Edited anchors against the unedited views of the global batch; see `triplet`.

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
        group: Int[Tensor, " batch"] | None = None,
        **_: Any,
    ) -> Float[Tensor, ""]:
        """`triplet` of the pairs; see `Objective.forward`."""
        return triplet(
            edited,
            target,
            context=context,
            edited_target=edited_target,
            group=group,
            margin=self.margin,
            same_video_negative_weight=self.same_video_negative_weight,
        )
