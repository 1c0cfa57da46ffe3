"""AnInfoNCE and H-InfoNCE: InfoNCE with a positive weight for each dimension of the embedding.

    similarity(a, c) = -1/2 sum_i w_i (a_i - c_i)^2 / temperature,   a and c unit vectors

With w = 1 it is InfoNCE's cosine up to a constant. A small w_i says that dimension i of a target
may lie far from its context's.

AnInfoNCE: Rusak et al., "InfoNCE: Identifying the Gap Between Theory and Practice",
arXiv 2407.00143. H-InfoNCE: a baseline of AdaSSL, arXiv 2602.02381.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from adassl.heads import build_mlp
from adassl.objectives.infonce import info_nce
from adassl.objectives.objective import Objective
from adassl.shapes import require_shape
from adassl.traits import TRAITS


def an_info_nce(
    edited: Float[Tensor, "batch dim"],
    target: Float[Tensor, "batch dim"],
    weights: Float[Tensor, "anchors dim"],
    *,
    context: Float[Tensor, "batch dim"] | None = None,
    edited_target: Float[Tensor, "batch dim"] | None = None,
    group: Int[Tensor, " batch"] | None = None,
    temperature: float = 0.1,
    same_video_negative_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """`adassl.info_nce` by the weighted distance of unit vectors; also that of H-InfoNCE.

    Args:
        edited: as in `info_nce`, and so every other argument.
        target: see there.
        weights: positive weights of the dimensions, a row for each of `edited`, then for each of
            `edited_target`.
        context: see there.
        edited_target: see there.
        group: see there.
        temperature: divides the similarities.
        same_video_negative_weight: see there.

    Raises:
        ValueError: shapes that do not fit.
    """
    anchors = len(edited) * (1 if edited_target is None else 2)
    remedy = "give a row of weights for each anchor, forward ones first"
    require_shape(weights, (anchors, edited.shape[-1]), name="weights", remedy=remedy)
    return info_nce(
        edited,
        target,
        context=context,
        edited_target=edited_target,
        group=group,
        temperature=temperature,
        same_video_negative_weight=same_video_negative_weight,
        weights=weights,
    )


class SharedWeights(nn.Module):
    """AnInfoNCE: w = exp(log_weight), learnt, the same for every pair; it starts as InfoNCE.

    Args:
        embedding_dim: size of an embedding.
    """

    def __init__(self, embedding_dim: int) -> None:
        super().__init__()
        self.log_weight = nn.Parameter(torch.zeros(embedding_dim))

    def forward(self, source: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim"]:
        """The weights, repeated for every row; of `source` only the shape counts."""
        return self.log_weight.float().exp().expand(len(source), -1)


class PredictedWeights(nn.Module):
    """H-InfoNCE: w = exp(MLP(f(x))), other weights for every anchor; it starts as InfoNCE.

    Args:
        embedding_dim: size of an embedding.
        hidden_dims: hidden layer sizes of the MLP.
    """

    def __init__(self, embedding_dim: int, hidden_dims: Sequence[int]) -> None:
        super().__init__()
        self.mlp = build_mlp(embedding_dim, hidden_dims, embedding_dim)
        nn.init.zeros_(cast(Tensor, self.mlp[-1].weight))
        nn.init.zeros_(cast(Tensor, self.mlp[-1].bias))

    def forward(self, source: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim"]:
        """The weights of each anchor, from its embedding before the edit and not normalised."""
        # float32 before exp: under autocast the MLP answers in bfloat16.
        weights: Tensor = self.mlp(source).float().exp()
        return weights


class _WeightedInfoNCE(Objective):
    def __init__(
        self,
        weights: SharedWeights | PredictedWeights,
        temperature: float,
        same_video_negative_weight: float,
    ) -> None:
        super().__init__()
        self.weights = weights
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
        """`an_info_nce`, weighted by each anchor's unedited embedding; see `Objective.forward`."""
        source = edited if context is None else context
        if edited_target is not None:
            source = torch.cat([source, target])
        return an_info_nce(
            edited,
            target,
            self.weights(source),
            context=context,
            edited_target=edited_target,
            group=group,
            temperature=self.temperature,
            same_video_negative_weight=self.same_video_negative_weight,
        )


class AnInfoNCE(_WeightedInfoNCE):
    """InfoNCE with one learnt weight for each dimension, the same for every pair.

    Args:
        embedding_dim: size of an embedding.
        temperature: divides the similarities.
        same_video_negative_weight: weight of negatives from the anchor's own video.
    """

    traits = TRAITS["aninfonce"]

    def __init__(
        self,
        embedding_dim: int,
        temperature: float = 0.1,
        *,
        same_video_negative_weight: float = 1.0,
    ) -> None:
        super().__init__(SharedWeights(embedding_dim), temperature, same_video_negative_weight)


class HInfoNCE(_WeightedInfoNCE):
    """InfoNCE with weights of the dimensions that an MLP predicts from each context.

    Args:
        embedding_dim: size of an embedding.
        hidden_dims: hidden layer sizes of the MLP.
        temperature: divides the similarities.
        same_video_negative_weight: weight of negatives from the anchor's own video.
    """

    traits = TRAITS["hinfonce"]

    def __init__(
        self,
        embedding_dim: int,
        hidden_dims: Sequence[int] = (128,),
        temperature: float = 0.1,
        *,
        same_video_negative_weight: float = 1.0,
    ) -> None:
        weights = PredictedWeights(embedding_dim, hidden_dims)
        super().__init__(weights, temperature, same_video_negative_weight)
