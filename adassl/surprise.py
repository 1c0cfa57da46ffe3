"""Surprise: how much less likely what came was than what the model expected to come.

The sampled futures of a clip make a density over unit embeddings, a mixture of von Mises-Fisher
distributions around them of concentration 1/τ: p(z | x) = C · mean over k of exp(future_k · z / τ).
The surprise of x+ is -log p(z+ | x) less what it is on average for a future of x itself, under the
others:

    surprise = -log p(z+ | x) - mean over k of -log p_without_k(future_k | x)

The second term is an estimate of the entropy of what may follow x. Without it every moment of much
motion alarms, since more may follow it; with it a future of x scores 0, on average, whatever x is.
C cancels, and so does whatever tells this video from others: no bank of other clips is needed.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def surprise_nats(
    futures: Float[Tensor, "samples batch dim"],
    targets: Float[Tensor, "batch dim"],
    *,
    temperature: float,
) -> Float[Tensor, " batch"]:
    """How surprising each x+ is after its x, in nats.

    About 0 for what was expected, more for what was not. A single future, as a method without r
    has it, expects itself: the surprise is then (1 - future · z+) / τ.

    Args:
        futures: unit embeddings of what may follow each x, as `Method.futures` samples them.
        targets: unit embeddings of what did, as `Method.encode_target` gives them.
        temperature: τ, such as `adassl.next_clip.next_clip_temperature` finds for ordinary pairs.

    Raises:
        ValueError: there is no future, or τ is not positive.
    """
    if not len(futures) or not 0 < temperature < math.inf:
        raise ValueError(
            f"{len(futures)} futures at a temperature of {temperature}: give at least one future, "
            "and a positive temperature"
        )
    own = futures.double().transpose(0, 1)  # batch, samples, dim
    came = torch.einsum("bkd,bd->bk", own, targets.double()) / temperature
    return (_expected(own, temperature) - _log_mean_exp(came)).float()


def _expected(own: Float[Tensor, "batch samples dim"], temperature: float) -> Float[Tensor, " b"]:
    """The mean log-density of each future under the others, up to log C."""
    num_samples = own.shape[1]
    alike = own @ own.transpose(1, 2) / temperature
    if num_samples == 1:
        return alike.flatten()
    itself = torch.eye(num_samples, dtype=torch.bool, device=own.device)
    others = torch.logsumexp(alike.masked_fill(itself, -torch.inf), dim=-1)
    return others.mean(dim=-1) - math.log(num_samples - 1)


def _log_mean_exp(values: Float[Tensor, "batch samples"]) -> Float[Tensor, " batch"]:
    return torch.logsumexp(values, dim=-1) - math.log(values.shape[-1])
