"""AnInfoNCE and H-InfoNCE: InfoNCE with a positive weight for each dimension of the embedding.

    similarity(a, c) = -1/2 sum_i w_i (a_i - c_i)^2 / temperature,   a and c unit vectors

With w = 1 it is InfoNCE's cosine up to a constant. A small w_i says that dimension i of a target
may lie far from its context's. The loss itself is `adassl.objectives.infonce.info_nce`; here are
the weights it is given.

AnInfoNCE: Rusak et al., "InfoNCE: Identifying the Gap Between Theory and Practice",
arXiv 2407.00143. H-InfoNCE: a baseline of AdaSSL, arXiv 2602.02381.
"""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adassl.config import MethodConfig
from adassl.heads import build_mlp


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


Weights = SharedWeights | PredictedWeights


def build_weights(config: MethodConfig) -> Weights | None:
    """The weights that a config's objective names; None for those without."""
    match config.objective:
        case "aninfonce":
            return SharedWeights(config.embedding_dim)
        case "hinfonce":
            return PredictedWeights(config.embedding_dim, config.latent_hidden_dims)
        case _:
            return None
