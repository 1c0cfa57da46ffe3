"""Pairs on their way from the encoder to the loss."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from adassl.encoder import Encoder
from adassl.views import Views


@dataclass(frozen=True, kw_only=True)
class EncodedPairs:
    """One worker's pairs, not normalised. Rows: x to x+, then, if used, the reverse, x+ to x.

    Attributes:
        source: the online encoder's embeddings, which are edited.
        destination: what the edited rows are compared with.
        evidence: what the posterior of r reads of the destination.
        num_pairs: rows of one direction.
        local: the online encoder's embeddings of each pair's small crops; None: there are none.
        group: the video of each pair; None: each has its own.
    """

    source: Float[Tensor, "rows dim"]
    destination: Float[Tensor, "rows dim"]
    evidence: Float[Tensor, "rows dim"]
    num_pairs: int
    local: Float[Tensor, "crops batch dim"] | None = None
    group: Int[Tensor, " batch"] | None = None

    @property
    def num_directions(self) -> int:
        """2 with the reverse direction, else 1."""
        return len(self.source) // self.num_pairs

    @property
    def target(self) -> Float[Tensor, "batch dim"]:
        """What the edited context is compared with."""
        return self.destination[: self.num_pairs]

    @property
    def context(self) -> Float[Tensor, "batch dim"]:
        """The embedding of x that the edited target is compared with; with one direction f(x)."""
        # With gradients the same tensor either way, but the plain slice adds gradients in an order
        # that results so far were made with.
        if self.num_directions == 1 or self.destination.requires_grad:
            return self.source[: self.num_pairs]
        return self.destination[self.num_pairs :]


def encode_pairs(
    encoder: Encoder, target_encoder: Encoder | None, views: Views, *, stop_gradient: bool
) -> EncodedPairs:
    """Embeddings of a batch of pairs.

    Without a surrogate both directions; with one the forward direction only: x has no surrogate of
    its own, so in reverse r could copy it.

    Args:
        encoder: the online encoder.
        target_encoder: makes destination and evidence, as constants; None: the online encoder.
        views: the pairs.
        stop_gradient: without a target encoder, destination and evidence are constants too. The
            evidence because through it r would let back in the gradient that the stop keeps out.
    """
    if target_encoder is None:
        source, destination, evidence = _encode_online(encoder, views)
        if stop_gradient:
            destination, evidence = destination.detach(), evidence.detach()
    else:
        source, destination, evidence = _encode_with_network(encoder, target_encoder, views)
    local = None
    if views.local is not None:
        # A batch of their own, as in the authors' code: BatchNorm then sees like with like.
        rows: Tensor = encoder(views.local.flatten(0, 1)).embedding
        local = rows.unflatten(0, views.local.shape[:2])
    return EncodedPairs(
        source=source,
        destination=destination,
        evidence=evidence,
        num_pairs=len(views),
        local=local,
        group=views.group,
    )


def _encode_online(encoder: Encoder, views: Views) -> tuple[Tensor, Tensor, Tensor]:
    # One batch for both views. Encoded apart, BatchNorm would give each view its own affine
    # map: an editor of its own, which removes what differs between x and x+ on average, and
    # which evaluation, with one set of running statistics, does not have.
    both = encoder(torch.cat([views.context, views.target])).embedding
    context, target = both.chunk(2)
    if views.surrogate is None:
        reverse = torch.cat([target, context])
        return both, reverse, reverse
    # No gradient: x++ is evidence, not something to be fitted, and a third encoding then costs
    # less than either of the two. After them, not before: in torch of before 2026, autocast's
    # cache hands weights cast without a gradient to those who need one (pytorch issue 112583).
    with torch.no_grad():
        evidence = encoder(views.surrogate).embedding
    return context, target, evidence


def _encode_with_network(
    encoder: Encoder, target_encoder: Encoder, views: Views
) -> tuple[Tensor, Tensor, Tensor]:
    if views.surrogate is None:
        source = encoder(torch.cat([views.context, views.target])).embedding
        with torch.no_grad():
            reverse = target_encoder(torch.cat([views.target, views.context])).embedding
        return source, reverse, reverse
    source = encoder(views.context).embedding
    with torch.no_grad():
        destination, evidence = target_encoder(
            torch.cat([views.target, views.surrogate])
        ).embedding.chunk(2)
    return source, destination, evidence
