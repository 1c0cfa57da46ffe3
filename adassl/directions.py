"""Which embeddings are edited, held against which, and what the posterior reads of those."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from adassl.encoder import Encoder
from adassl.views import Views


@dataclass(frozen=True, kw_only=True)
class Directions:
    """Embeddings by direction: the batch forward (x to x+), then, if both are used, in reverse.

    Attributes:
        source: what is edited.
        destination: what the edited source is held against.
        evidence: what the posterior reads of the destination.
    """

    source: Float[Tensor, "rows dim"]
    destination: Float[Tensor, "rows dim"]
    evidence: Float[Tensor, "rows dim"]

    def stopped(self) -> "Directions":
        """The same numbers behind a stop-gradient, but for the source's.

        The evidence too: it is the destination's own embedding, and through it r would let back in
        the gradient that the stop keeps out.
        """
        return Directions(
            source=self.source,
            destination=self.destination.detach(),
            evidence=self.evidence.detach(),
        )


def encode_online(encoder: Encoder, views: Views) -> Directions:
    """Embeddings for objectives without a target network; all by the online encoder."""
    # One batch for both views. Encoded apart, BatchNorm would give each view its own affine
    # map: an editor of its own, which removes what differs between x and x+ on average, and
    # which evaluation, with one set of running statistics, does not have.
    both = encoder(torch.cat([views.context, views.target])).embedding
    context, target = both.chunk(2)
    if views.surrogate is None:
        reverse = torch.cat([target, context])
        return Directions(source=both, destination=reverse, evidence=reverse)
    # No gradient: x++ is evidence, not something to be fitted, and a third encoding then costs
    # less than either of the two. After them, not before: in torch of before 2026, autocast's
    # cache hands weights cast without a gradient to those who need one (pytorch issue 112583).
    with torch.no_grad():
        evidence = encoder(views.surrogate).embedding
    return Directions(source=context, destination=target, evidence=evidence)


def encode_local(encoder: Encoder, views: Views) -> Float[Tensor, "crops batch dim"] | None:
    """Embeddings of the small crops; None where there are none."""
    if views.local is None:
        return None
    # A batch of their own, as in the authors' code: BatchNorm then sees like with like.
    rows: Tensor = encoder(views.local.flatten(0, 1)).embedding
    return rows.view(*views.local.shape[:2], -1)


def encode_with_network(encoder: Encoder, target_encoder: Encoder, views: Views) -> Directions:
    """Embeddings for byol and dino; destination and evidence by the target network, constants."""
    if views.surrogate is None:
        source = encoder(torch.cat([views.context, views.target])).embedding
        with torch.no_grad():
            reverse = target_encoder(torch.cat([views.target, views.context])).embedding
        return Directions(source=source, destination=reverse, evidence=reverse)
    source = encoder(views.context).embedding
    with torch.no_grad():
        both = target_encoder(torch.cat([views.target, views.surrogate])).embedding
    destination, evidence = both.chunk(2)
    return Directions(source=source, destination=destination, evidence=evidence)
