"""What contrastive objectives hold each anchor against: both views of the global batch."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from adassl.collectives import all_gather, rank


@dataclass(frozen=True, kw_only=True)
class Direction:
    """Anchors of one direction and what they meet.

    Attributes:
        anchors: this worker's edited embeddings, of length 1.
        candidates: unedited embeddings of the global batch, of length 1: the view of the positives,
            then the anchors' own.
    """

    anchors: Float[Tensor, "batch dim"]
    candidates: Float[Tensor, "candidates dim"]


def directions_of(
    edited_context: Float[Tensor, "batch dim"],
    edited_target: Float[Tensor, "batch dim"] | None,
    context: Float[Tensor, "batch dim"],
    target: Float[Tensor, "batch dim"],
) -> list[Direction]:
    """The forward direction and, unless `edited_target` is None, its mirror; float32, any norm."""
    # One gather for both views: [global_batch, 2, dim].
    views = torch.stack([context.float(), target.float()], dim=1)
    contexts, targets = all_gather(normalize(views, dim=-1)).unbind(dim=1)
    found = [(edited_context, targets, contexts)]
    if edited_target is not None:
        found.append((edited_target, contexts, targets))
    return [
        Direction(anchors=normalize(a.float(), dim=-1), candidates=torch.cat([positives, others]))
        for a, positives, others in found
    ]


def negative_weights(
    group: Int[Tensor, " batch"], same_video_weight: float
) -> tuple[Float[Tensor, "batch candidates"], Int[Tensor, " batch"]]:
    """How much each candidate counts as a negative, and the place of each anchor's positive.

    0 for both views of the anchor's own pair, `same_video_weight` for others of its video, else 1.

    Args:
        group: the video of each of this worker's pairs.
        same_video_weight: at least 0.
    """
    groups = all_gather(group)
    rows = torch.arange(len(group), device=group.device)
    positive = rank() * len(group) + rows
    same_video = group[:, None] == groups[None, :]
    weight = torch.ones(same_video.shape, device=group.device)
    weight = weight.masked_fill(same_video, same_video_weight)
    weight[rows, positive] = 0.0
    return weight.repeat(1, 2), positive
