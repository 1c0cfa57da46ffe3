"""What contrastive objectives compare each anchor with: both views of the global batch."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from adassl.collectives import all_gather, rank
from adassl.objectives.objective import check_embeddings
from adassl.shapes import require_shape


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Anchors of one direction and what they are compared with.

    Attributes:
        anchors: this worker's edited embeddings, of length 1.
        candidates: unedited embeddings of the global batch, of length 1: the view of the positives,
            then the anchors' own.
    """

    anchors: Float[Tensor, "batch dim"]
    candidates: Float[Tensor, "candidates dim"]


def candidates_of(
    edited: Float[Tensor, "batch dim"],
    target: Float[Tensor, "batch dim"],
    context: Float[Tensor, "batch dim"] | None,
    edited_target: Float[Tensor, "batch dim"] | None,
) -> list[Candidates]:
    """The forward direction and, unless `edited_target` is None, the reverse; float32, any norm."""
    check_embeddings(edited, target, context, edited_target)
    context = edited if context is None else context
    # One gather for both views: [global_batch, 2, dim].
    views = torch.stack([context.float(), target.float()], dim=1)
    contexts, targets = all_gather(normalize(views, dim=-1)).unbind(dim=1)
    found = [(edited, targets, contexts)]
    if edited_target is not None:
        found.append((edited_target, contexts, targets))
    return [
        Candidates(anchors=normalize(a.float(), dim=-1), candidates=torch.cat([positives, others]))
        for a, positives, others in found
    ]


def negative_weights(
    anchors: Float[Tensor, "batch dim"],
    group: Int[Tensor, " batch"] | None,
    same_video_weight: float,
) -> tuple[Float[Tensor, "batch candidates"], Int[Tensor, " batch"]]:
    """How much each candidate counts as a negative, and the place of each anchor's positive.

    0 for both views of the anchor's own pair, `same_video_weight` for others of its video, else 1.

    Args:
        anchors: of the forward direction; only their number and device count.
        group: the video of each of this worker's pairs; None: each has its own.
        same_video_weight: at least 0.
    """
    rows = torch.arange(len(anchors), device=anchors.device)
    positive = rank() * len(anchors) + rows
    if group is None:
        group = positive
    remedy = "give one video number a pair, or group=None"
    require_shape(group, (len(anchors),), name="group", remedy=remedy)
    groups = all_gather(group)
    same_video = group[:, None] == groups[None, :]
    weight = torch.ones(same_video.shape, device=anchors.device)
    weight = weight.masked_fill(same_video, same_video_weight)
    weight[rows, positive] = 0.0
    return weight.repeat(1, 2), positive
