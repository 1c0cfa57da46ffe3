"""InfoNCE as NT-Xent: edited anchors against unedited candidates of the global batch.

Chen et al., "A Simple Framework for Contrastive Learning", arXiv 2002.05709, with the anchors
edited as in AdaSSL (arXiv 2602.02381). Without an edit it is SimCLR's loss.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from adassl.config import MethodConfig
from adassl.objectives.candidates import Direction, directions_of, negative_weights
from adassl.objectives.objective import Comparison, Objective


def info_nce(
    *,
    edited_context: Float[Tensor, "batch dim"],
    edited_target: Float[Tensor, "batch dim"] | None,
    context: Float[Tensor, "batch dim"],
    target: Float[Tensor, "batch dim"],
    group: Int[Tensor, " batch"],
    temperature: float,
    same_video_negative_weight: float = 1.0,
    weights: Float[Tensor, "anchors dim"] | None = None,
) -> Float[Tensor, ""]:
    """NT-Xent in nats, the mean over this worker's anchors, in float32.

    The anchor t(f(x_i), r) meets the unedited views of the global batch (gathered over workers,
    with gradients): its positive f(x_i+), and as negatives both views of every other pair. Its own
    f(x_i) is left out. The anchor t(f(x_i+), r) mirrors it.

    Args:
        edited_context: anchors whose positive is the target; any norm, as everything here.
        edited_target: anchors whose positive is the context; None: forward direction only.
        context: unedited embeddings of x.
        target: unedited embeddings of x+.
        group: the video of each pair.
        temperature: divides the cosine similarities.
        same_video_negative_weight: how often a negative from the anchor's own video counts in the
            softmax's sum; 1 = once, as any other; 0 = left out. An anchor left without any
            negative contributes a loss of 0.
        weights: positive weights of the dimensions, a row for each of `edited_context`, then for
            each of `edited_target`: the similarity is then -1/2 sum_i w_i (a_i - c_i)^2 of unit
            vectors (`adassl.objectives.aninfonce`). None: the cosine, which w = 1 comes to.
    """
    # bfloat16 cosines have a spacing of 0.004 near 1: at temperature 0.05 that is 0.08 in a logit.
    with torch.autocast(context.device.type, enabled=False):
        directions = directions_of(edited_context, edited_target, context, target)
        weight, positive = negative_weights(group, same_video_negative_weight)
        # Adding log w to a logit counts that candidate w times in the softmax's sum.
        log_weight = weight.scatter(1, positive[:, None], 1.0).log()
        parts: Sequence[Tensor | None] = [None] * len(directions)
        if weights is not None:
            parts = weights.split(len(context))
        losses = []
        for direction, part in zip(directions, parts, strict=True):
            # No clamp of the logits (the authors clamp at 20): log-softmax subtracts the maximum
            # and cannot overflow, while below temperature 0.05 a clamp at 20 silently stops the
            # gradient of the candidates that matter most.
            similarity = _similarity(direction, part)
            losses.append(cross_entropy(similarity / temperature + log_weight, positive))
        return torch.stack(losses).mean()


def _similarity(
    direction: Direction, weights: Float[Tensor, "batch dim"] | None
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
    """InfoNCE, and with weights of the dimensions AnInfoNCE and H-InfoNCE.

    All embeddings are the online encoder's, with gradients on both sides.
    """

    def __init__(self, config: MethodConfig) -> None:
        super().__init__()
        self.temperature = config.temperature
        self.same_video_negative_weight = config.same_video_negative_weight

    def forward(self, comparison: Comparison, *, step: int) -> Float[Tensor, ""]:
        """`info_nce` of the pairs; the step plays no part."""
        return info_nce(
            edited_context=comparison.edited_context,
            edited_target=comparison.edited_target,
            context=comparison.context,
            target=comparison.target,
            group=comparison.group,
            temperature=self.temperature,
            same_video_negative_weight=self.same_video_negative_weight,
            weights=comparison.weights,
        )
