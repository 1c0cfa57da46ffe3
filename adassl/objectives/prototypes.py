"""Learnt directions on the sphere that swav and dino sort embeddings by."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize


class Prototypes(nn.Module):
    """The cosine of each embedding with each prototype, in float32.

    Both are brought to unit length here, so that no step has to do it to the weights: swav's
    normalised prototypes, and dino's last layer, which is weight-normalised with a fixed length
    of 1.

    Args:
        embedding_dim: size of an embedding.
        num_prototypes: how many.
    """

    def __init__(self, embedding_dim: int, num_prototypes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_prototypes, embedding_dim))
        nn.init.normal_(self.weight)  # uniform over directions

    def forward(self, embedding: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows prototypes"]:
        """Cosines; embeddings of any norm."""
        with torch.autocast(embedding.device.type, enabled=False):
            unit = normalize(embedding.float(), dim=-1)
            return unit @ normalize(self.weight.float(), dim=-1).T
