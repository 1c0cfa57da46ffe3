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


def with_local(
    prototypes: Prototypes,
    source: Float[Tensor, "rows dim"],
    local: Float[Tensor, "crops batch dim"] | None,
    aims: Float[Tensor, "rows prototypes"],
) -> tuple[Float[Tensor, "more prototypes"], Float[Tensor, "more prototypes"]]:
    """Scores of the source and what each aims at, then those of the small crops, if there are any.

    Every small crop aims at what each view of its pair is aimed at, so that a mean over the rows is
    one over all pairs of a crop and another's aim.

    Args:
        prototypes: gives the scores.
        source: embeddings of each direction's views, forward ones first.
        local: embeddings of small crops; None: there are none.
        aims: of each row of the source, what its scores are to become.
    """
    scores = prototypes(source)
    if local is None:
        return scores, aims
    crops, batch = local.shape[:2]
    views = aims.unflatten(0, (-1, batch))
    small = prototypes(local.flatten(0, 1))
    return (
        torch.cat([scores, small.repeat(len(views), 1)]),
        torch.cat([aims, views.repeat_interleave(crops, dim=0).flatten(0, 1)]),
    )
