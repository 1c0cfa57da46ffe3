"""Pairs on their way from the encoder to the loss."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from adassl.config import SurrogateForm
from adassl.encoder import Encoder
from adassl.views import Views


@dataclass(frozen=True, kw_only=True)
class EncodedPairs:
    """One worker's pairs, not normalised. Rows: x to x+, then, if used, the reverse, x+ to x.

    Attributes:
        source: the online encoder's embeddings, which are edited; of chains those of x_1, then, if
            the reverse is used, of x_k.
        destination: what the edited rows are compared with, of chains after the first edit.
        evidence: what the posterior of r reads of the destination.
        num_pairs: rows of one direction.
        later: of chains the destinations of all further edits, of which the posterior reads the
            same.
        negative: embeddings of x-; None: there are none.
        local: the online encoder's embeddings of each pair's small crops; None: there are none.
        group: the video of each pair; None: each has its own.
    """

    source: Float[Tensor, "rows dim"]
    destination: Float[Tensor, "rows dim"]
    evidence: Float[Tensor, "rows dim"]
    num_pairs: int
    later: tuple[Float[Tensor, "rows dim"], ...] = ()
    negative: Float[Tensor, "batch dim"] | None = None
    local: Float[Tensor, "crops batch dim"] | None = None
    group: Int[Tensor, " batch"] | None = None

    @property
    def num_directions(self) -> int:
        """2 with the reverse direction, else 1."""
        return len(self.source) // self.num_pairs

    @property
    def steps(self) -> list["Step"]:
        """One for each edit: one of a pair, k - 1 of a chain."""
        every = [(self.destination, self.evidence), *((each, each) for each in self.later)]
        return [Step(pairs=self, destination=d, evidence=e) for d, e in every]


@dataclass(frozen=True, kw_only=True)
class Step:
    """What the rows of one edit are compared with, not normalised.

    Attributes:
        pairs: that it is a step of.
        destination: what the edited rows are compared with.
        evidence: what the posterior of r reads of it.
    """

    pairs: EncodedPairs
    destination: Float[Tensor, "rows dim"]
    evidence: Float[Tensor, "rows dim"]

    # Cut where they are used, not before: gradients add up in the order in which operators ran, and
    # results so far were made with this one.

    @property
    def target(self) -> Float[Tensor, "batch dim"]:
        """What the edited context is compared with."""
        return self.destination[: self.pairs.num_pairs]

    @property
    def context(self) -> Float[Tensor, "batch dim"]:
        """The embedding of x that the edited target is compared with; with one direction f(x)."""
        # Of pairs with gradients the same tensor either way, but again in the order so far.
        pairs = self.pairs
        if pairs.num_directions == 1 or (not pairs.later and self.destination.requires_grad):
            return pairs.source[: pairs.num_pairs]
        return self.destination[pairs.num_pairs :]


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How a method encodes pairs; what its objective and latent ask for.

    Attributes:
        stop_gradient: without a target encoder, destination and evidence are constants too. The
            evidence because through it r would let back in the gradient that the stop keeps out.
        reads_evidence: whether a posterior reads the evidence; if not, no surrogate is encoded.
        surrogate_form: "target_only": with a surrogate the forward direction only, since x has none
            of its own and in reverse r could copy it; the evidence is a constant, by the target
            encoder where there is one. "both", as the authors have it: surrogates of both views,
            both directions, the evidence with a gradient and always by the online encoder.
        reverse: whether the reverse direction is used where the views allow it; False: the control
            for what a surrogate that drops it does.
        chunks: parts of the batch that are encoded one after another. Only their embeddings are
            kept, and in the backward pass each part is encoded once more: the gradient of the whole
            batch with the memory of a part (GradCache, arXiv 2101.06983). BatchNorm layers take
            their statistics from each part, and their running statistics move once a part: only
            without BatchNorm, or with it in evaluation mode, are the numbers those of one batch.
    """

    stop_gradient: bool = False
    reads_evidence: bool = True
    surrogate_form: SurrogateForm = "target_only"
    reverse: bool = True
    chunks: int = 1

    def check(self, views: Views) -> None:
        """Refuse views whose surrogates do not fit the form.

        Raises:
            ValueError: one is missing, or would be ignored.
        """
        both = self.surrogate_form == "both"
        if both and self.reads_evidence:
            for name in ("surrogate", "context_surrogate"):
                if getattr(views, name) is None:
                    raise ValueError(
                        f"surrogate_form='both' with views.{name}=None: it needs an extra view of "
                        "x+ (surrogate) and one of x (context_surrogate); hand in both, or choose "
                        "surrogate_form='target_only'"
                    )
        elif views.context_surrogate is not None and not both:
            raise ValueError(
                "views.context_surrogate is set with surrogate_form='target_only', which would "
                "ignore it; choose surrogate_form='both', or leave it out"
            )
        for name, what in (("further", "chains"), ("negative", "triplets")):
            given = getattr(views, name) is not None
            if given and (both or (name == "further" and views.surrogate is not None)):
                raise ValueError(
                    f"views.{name} is set beside surrogates: {what} have none; leave out one of "
                    "the two"
                )


def encode_pairs(
    encoder: Encoder,
    target_encoder: Encoder | None,
    views: Views,
    encoding: Encoding = Encoding(),  # frozen
    *,
    second_encoder: Encoder | None = None,
) -> EncodedPairs:
    """Embeddings of a batch of pairs, chains or triplets.

    Without a surrogate both directions; with one as `Encoding.surrogate_form` says.

    Args:
        encoder: the online encoder.
        target_encoder: makes the destination, a constant; None: the online encoder.
        views: the pairs.
        encoding: how.
        second_encoder: that of the target and its surrogate; None: the same as of the context.
            It takes no target network, no constant target and no surrogates of both views.
    """
    later: list[Tensor] = []
    negative = None
    if views.further is not None:
        source, (destination, *later) = _encode_chain(encoder, target_encoder, views, encoding)
        evidence = destination
    elif second_encoder is not None or views.negative is not None:
        source, destination, evidence, negative = _encode_by_two(
            encoder, second_encoder or encoder, views, encoding
        )
    elif encoding.surrogate_form == "both":
        source, destination, evidence = _encode_both(encoder, target_encoder, views, encoding)
    elif target_encoder is None:
        source, destination, evidence = _encode_online(encoder, views, encoding)
    else:
        source, destination, evidence = _encode_with_network(
            encoder, target_encoder, views, encoding
        )
    local = None
    if views.local is not None:
        # A batch of their own, as in the authors' code: BatchNorm then sees like with like.
        local = torch.stack(
            _embed(encoder, list(views.local), encoding.chunks).chunk(len(views.local))
        )
    return EncodedPairs(
        source=source,
        destination=destination,
        evidence=evidence,
        num_pairs=len(views),
        later=tuple(later),
        negative=negative,
        local=local,
        group=views.group,
    )


def _encode_chain(
    encoder: Encoder, target_encoder: Encoder | None, views: Views, encoding: Encoding
) -> tuple[Tensor, list[Tensor]]:
    """What is edited, and what it is compared with after each edit.

    x_1 is led to x_2, x_3 and so on to x_k, and in reverse x_k to x_(k-1) and so on to x_1.
    """
    moments = views.moments
    if target_encoder is None:
        found = _embed(encoder, moments, encoding.chunks).chunk(len(moments))
        ends = [found[0], found[-1]]
        if encoding.stop_gradient:
            found = tuple(each.detach() for each in found)
    else:
        ends = list(_embed(encoder, [moments[0], moments[-1]], encoding.chunks).chunk(2))
        with torch.no_grad():
            found = _embed(target_encoder, moments, encoding.chunks).chunk(len(moments))
    ways = [found, found[::-1]] if encoding.reverse else [found]
    steps = zip(*(way[1:] for way in ways), strict=True)
    return torch.cat(ends[: len(ways)]), [torch.cat(step) for step in steps]


def _encode_online(
    encoder: Encoder, views: Views, encoding: Encoding
) -> tuple[Tensor, Tensor, Tensor]:
    both = _embed(encoder, [views.context, views.target], encoding.chunks)
    context, target = both.chunk(2)
    if views.surrogate is None and encoding.reverse:
        reverse = torch.cat([target, context])
        reverse = reverse.detach() if encoding.stop_gradient else reverse
        return both, reverse, reverse
    target = target.detach() if encoding.stop_gradient else target
    if views.surrogate is None or not encoding.reads_evidence:
        return context, target, target
    # No gradient: x++ is evidence, not something to be fitted, and a third encoding then costs
    # less than either of the two. After them, not before: in torch of before 2026, autocast's
    # cache hands weights cast without a gradient to those who need one (pytorch issue 112583).
    with torch.no_grad():
        evidence = _embed(encoder, [views.surrogate], encoding.chunks)
    return context, target, evidence


def _encode_by_two(
    encoder: Encoder, second: Encoder, views: Views, encoding: Encoding
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """As pairs, with the targets, and x- in one batch with them, by an encoder of their own.

    Which may be that of the contexts: then all of it is one batch.
    """
    seen = [views.target] if views.negative is None else [views.target, views.negative]
    if second is encoder:
        every = _embed(encoder, [views.context, *seen], encoding.chunks)
        context, target, *negatives = every.chunk(1 + len(seen))
    else:
        context = _embed(encoder, [views.context], encoding.chunks)
        target, *negatives = _embed(second, seen, encoding.chunks).chunk(len(seen))
    negative = negatives[0] if negatives else None
    if views.surrogate is None and encoding.reverse:
        reverse = torch.cat([target, context])
        return torch.cat([context, target]), reverse, reverse, negative
    if views.surrogate is None or not encoding.reads_evidence:
        return context, target, target, negative
    with torch.no_grad():
        evidence = _embed(second, [views.surrogate], encoding.chunks)
    return context, target, evidence, negative


def _encode_with_network(
    encoder: Encoder, target_encoder: Encoder, views: Views, encoding: Encoding
) -> tuple[Tensor, Tensor, Tensor]:
    chunks = encoding.chunks
    if views.surrogate is None and encoding.reverse:
        source = _embed(encoder, [views.context, views.target], chunks)
        with torch.no_grad():
            reverse = _embed(target_encoder, [views.target, views.context], chunks)
        return source, reverse, reverse
    source = _embed(encoder, [views.context], chunks)
    with torch.no_grad():
        if views.surrogate is None or not encoding.reads_evidence:
            destination = _embed(target_encoder, [views.target], chunks)
            return source, destination, destination
        both = _embed(target_encoder, [views.target, views.surrogate], chunks)
    destination, evidence = both.chunk(2)
    return source, destination, evidence


def _encode_both(
    encoder: Encoder, target_encoder: Encoder | None, views: Views, encoding: Encoding
) -> tuple[Tensor, Tensor, Tensor]:
    seen = [views.context, views.target]
    if encoding.reads_evidence:
        assert views.surrogate is not None
        assert views.context_surrogate is not None
        seen += [views.surrogate, views.context_surrogate]
    context, target, *evidence = _embed(encoder, seen, encoding.chunks).chunk(len(seen))
    reverse = torch.cat([target, context])
    if target_encoder is not None:
        with torch.no_grad():
            reverse = _embed(target_encoder, [views.target, views.context], encoding.chunks)
    elif encoding.stop_gradient:
        reverse = reverse.detach()
    return torch.cat([context, target]), reverse, torch.cat(evidence) if evidence else reverse


def _embed(encoder: Encoder, views: list[Tensor], chunks: int) -> Tensor:
    """Embeddings [len(views) * batch, dim] of several views of the same pairs, view by view."""
    # One batch for all views. Encoded apart, BatchNorm would give each view its own affine
    # map: an editor of its own, which removes what differs between x and x+ on average, and
    # which evaluation, with one set of running statistics, does not have.
    if chunks == 1:
        embedding: Tensor = encoder(torch.cat(views)).embedding
        return embedding
    parts = []
    for pieces in zip(*(view.chunk(chunks) for view in views), strict=True):
        rows = checkpoint(
            lambda samples: encoder(samples).embedding,
            torch.cat(pieces),
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), still_statistics(encoder)),
        )
        parts.append(rows.chunk(len(views)))
    return torch.cat([torch.cat(view) for view in zip(*parts, strict=True)])


@contextmanager
def still_statistics(module: nn.Module) -> Iterator[None]:
    """BatchNorm layers normalise as ever, but their running statistics stay."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked = norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, momentum, tracked in before:
            norm.momentum, norm.num_batches_tracked = momentum, tracked
