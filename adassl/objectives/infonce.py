"""InfoNCE as NT-Xent: edited anchors against unedited candidates of the global batch.

Chen et al., "A Simple Framework for Contrastive Learning", arXiv 2002.05709, with the anchors
edited as in AdaSSL (arXiv 2602.02381). Without an edit it is SimCLR's loss.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from adassl.objectives.candidates import Candidates, candidates_of, negative_weights
from adassl.objectives.objective import Objective
from adassl.traits import TRAITS


def info_nce(
    edited: Float[Tensor, "batch dim"],
    target: Float[Tensor, "batch dim"],
    *,
    context: Float[Tensor, "batch dim"] | None = None,
    edited_target: Float[Tensor, "batch dim"] | None = None,
    group: Int[Tensor, " batch"] | None = None,
    temperature: float = 0.1,
    same_video_negative_weight: float = 1.0,
    weights: Float[Tensor, "anchors dim"] | None = None,
) -> Float[Tensor, ""]:
    """NT-Xent in nats, the mean over this worker's anchors, in float32.

    The anchor t(f(x_i), r) meets the unedited views of the global batch (gathered over workers,
    with gradients): its positive f(x_i+), and as negatives both views of every other pair. Its own
    f(x_i) is left out. The anchor t(f(x_i+), r) mirrors it.

    Args:
        edited: anchors whose positive is the target; any norm, as everything here.
        target: unedited embeddings of x+.
        context: unedited embeddings of x; None: `edited`, which is then not edited.
        edited_target: anchors whose positive is the context; None: forward direction only.
        group: the video of each pair; None: each pair has its own.
        temperature: divides the cosine similarities.
        same_video_negative_weight: how often a negative from the anchor's own video counts in the
            softmax's sum; 1 = once, as any other; 0 = left out. An anchor left without any
            negative contributes a loss of 0.
        weights: positive weights of the dimensions, a row for each of `edited`, then for each of
            `edited_target`; None: all 1. See `adassl.objectives.aninfonce`.

    Raises:
        ValueError: shapes that do not fit.
    """
    # bfloat16 cosines have a spacing of 0.004 near 1: at temperature 0.05 that is 0.08 in a logit.
    with torch.autocast(edited.device.type, enabled=False):
        directions = candidates_of(edited, target, context, edited_target)
        weight, positive = negative_weights(edited, group, same_video_negative_weight)
        # Adding log w to a logit counts that candidate w times in the softmax's sum.
        log_weight = weight.scatter(1, positive[:, None], 1.0).log()
        parts: Sequence[Tensor | None] = [None] * len(directions)
        if weights is not None:
            parts = weights.split(len(edited))
        losses = []
        for direction, part in zip(directions, parts, strict=True):
            # No clamp of the logits (the authors clamp at 20): log-softmax subtracts the maximum
            # and cannot overflow, while below temperature 0.05 a clamp at 20 silently stops the
            # gradient of the candidates that matter most.
            similarity = _similarity(direction, part)
            losses.append(cross_entropy(similarity / temperature + log_weight, positive))
        return torch.stack(losses).mean()


def _similarity(
    direction: Candidates, weights: Float[Tensor, "batch dim"] | None
) -> Float[Tensor, "batch candidates"]:
    """Similarity of each anchor to the candidates, up to a constant for each anchor."""
    anchors, candidates = direction.anchors, direction.candidates
    if weights is None:
        return anchors @ candidates.T
    # The square multiplied out, so that no [batch, candidates, dim] is ever held. Its third part,
    # -1/2 sum_i w_i a_i^2, is the same for all candidates of an anchor: the softmax cancels it.
    weights = weights.float()
    return (weights * anchors) @ candidates.T - 0.5 * weights @ candidates.square().T


class InfoNCE(Objective):
    """Edited anchors against unedited candidates by cosine; see `info_nce`.

    `InfoNCE()(z, z_next, edited_target=z_next)` without an edit is SimCLR's loss. Both sides have
    a gradient.

    Args:
        temperature: divides the cosine similarities; 0.05 to 0.2 is usual.
        same_video_negative_weight: weight of negatives from the anchor's own video.
    """

    traits = TRAITS["infonce"]

    def __init__(
        self, temperature: float = 0.1, *, same_video_negative_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.temperature = temperature
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
        """`info_nce` of the pairs; see `Objective.forward`."""
        return info_nce(
            edited,
            target,
            context=context,
            edited_target=edited_target,
            group=group,
            temperature=self.temperature,
            same_video_negative_weight=self.same_video_negative_weight,
        )
