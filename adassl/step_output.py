"""What a method answers: the loss of a batch, and what it was made of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from adassl.latent_sample import LatentSample


@dataclass(frozen=True, kw_only=True)
class StepOutput:
    """One forward pass of `Method`. All but the loss is detached and of this worker's rows.

    Of chains, loss and terms are means over the steps; all else is of the first, x_1 to x_2.

    Attributes:
        loss: what to differentiate; a mean over this worker's rows, for DDP to average.
        terms: float32 scalars: "loss", "ssl", "beta", and "kl" (variational, nats, whether free or
            not) or "l0" (sparse, active dimensions), before beta; with an `active_rate` also "rate"
            (nats, of the global batch), before it.
        context: unit embeddings of x by the online encoder.
        target: unit embeddings of x+ that `prediction` is compared with: the target network's for
            byol and dino, else the online encoder's.
        edited: unit vectors of t(f(x), r), before the predictor where there is one.
        prediction: the unit vectors compared with the target: the predictor's output for
            t(f(x), r) where there is one (byol, simsiam), else `edited`.
        latent: r of the forward direction, None without one.
    """

    loss: Float[Tensor, ""]
    terms: dict[str, Tensor]
    context: Float[Tensor, "batch dim"]
    target: Float[Tensor, "batch dim"]
    edited: Float[Tensor, "batch dim"]
    prediction: Float[Tensor, "batch dim"]
    latent: LatentSample | None


def mean_of(steps: Sequence[StepOutput]) -> StepOutput:
    """The steps of a chain as one; of a pair the only one as it is."""
    if len(steps) == 1:
        return steps[0]
    loss = torch.stack([each.loss for each in steps]).mean()
    names = steps[0].terms
    terms = {name: torch.stack([each.terms[name] for each in steps]).mean() for name in names}
    return replace(steps[0], loss=loss, terms=terms)
