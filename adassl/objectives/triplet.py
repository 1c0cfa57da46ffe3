"""The triplet loss with every negative of the global batch.

Schroff et al., "FaceNet", arXiv 1503.03832, equation 2, on unit embeddings; the anchors are edited
as in AdaSSL (arXiv 2602.02381).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from adassl.config import MethodConfig
from adassl.objectives.candidates import directions_of, negative_weights
from adassl.objectives.objective import Comparison, Objective


def triplet(
    *,
    edited_context: Float[Tensor, "batch dim"],
    edited_target: Float[Tensor, "batch dim"] | None,
    context: Float[Tensor, "batch dim"],
    target: Float[Tensor, "batch dim"],
    group: Int[Tensor, " batch"],
    margin: float,
    same_video_negative_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """max(0, margin + |a - p|^2 - |a - n|^2) of unit vectors, the mean over this worker's anchors.

    The candidates are those of `adassl.objectives.infonce.info_nce`: the positive is the other
    view, the negatives both views of every other pair of the global batch, and each anchor takes
    the mean over all of them. Not the hardest alone: on unit vectors those pull an untrained
    encoder to a point (FaceNet 3.2), and every negative is what pushes the embeddings from their
    centre, which is the mechanism that arXiv 2402.14957 speaks of.

    Args:
        edited_context: anchors whose positive is the target; any norm, as everything here.
        edited_target: anchors whose positive is the context; None: forward direction only.
        context: unedited embeddings of x.
        target: unedited embeddings of x+.
        group: the video of each pair.
        margin: by how much a negative must be further off, in squared distance (0 to 4).
        same_video_negative_weight: weight in the mean of a negative from the anchor's own video.
            An anchor left without any negative contributes a loss of 0.
    """
    with torch.autocast(context.device.type, enabled=False):
        weight, own = negative_weights(group, same_video_negative_weight)
        losses = []
        for direction in directions_of(edited_context, edited_target, context, target):
            cosine = direction.anchors @ direction.candidates.T
            # |a - b|^2 = 2 - 2 cos, so the ones cancel in the difference of two distances.
            excess = margin + 2 * (cosine - cosine.gather(1, own[:, None]))
            total = (weight * excess.clamp(min=0)).sum(dim=1)
            losses.append(total / weight.sum(dim=1).clamp(min=torch.finfo(total.dtype).tiny))
        return torch.cat(losses).mean()


class Triplet(Objective):
    """Edited anchors against the unedited views of the global batch.

    All embeddings are the online encoder's, with gradients on both sides, as for infonce.
    """

    def __init__(self, config: MethodConfig) -> None:
        super().__init__()
        self.margin = config.triplet_margin
        self.same_video_negative_weight = config.same_video_negative_weight

    def forward(self, comparison: Comparison, *, step: int) -> Float[Tensor, ""]:
        """`triplet` of the pairs; the step plays no part."""
        return triplet(
            edited_context=comparison.edited_context,
            edited_target=comparison.edited_target,
            context=comparison.context,
            target=comparison.target,
            group=comparison.group,
            margin=self.margin,
            same_video_negative_weight=self.same_video_negative_weight,
        )
