"""What is charged for r beside the plain mean of its penalty."""

import torch
from jaxtyping import Float
from torch import Tensor

from adassl.collectives import all_gather

RARE = 1e-6
"""Keeps logarithms finite."""


def free_bits(kl: Float[Tensor, ""], free_nats: float) -> Float[Tensor, ""]:
    """max(kl, free_nats): a KL below `free_nats` costs nothing more and gets a gradient of zero.

    Kingma et al., "Improving Variational Inference with Inverse Autoregressive Flow",
    arXiv 1606.04934, with all of r as one group.

    Args:
        kl: mean KL(q || p) of a batch in nats. Each worker brings the mean of its own pairs, so
            near the limit some workers pay and others do not.
        free_nats: 0 = no limit.
    """
    return torch.clamp(kl, min=free_nats) if free_nats > 0 else kl


def rate_divergence(active: Float[Tensor, "batch latent"], rate: float) -> Float[Tensor, ""]:
    """What a sparse r is charged for, in nats, where each dimension should be used at a rate.

    The sum over its dimensions of KL(q_i || rate) between Bernoulli distributions, with q_i the
    mean probability of being active over the global batch: as for the hidden units of a sparse
    autoencoder (Ng, "Sparse autoencoder", CS294A, 2011). The L0 of the paper only ever presses
    down; under distillation, whose loss gains little from one dimension more, most stay off. This
    presses up too. Dimensions that are switched off (`adassl.latent_size`) do not count.

    Args:
        active: this worker's probabilities that a dimension is active, as many rows on every
            worker; the gradient goes back to all of them.
        rate: share of the pairs in which each dimension should be active, in (0, 1).
    """
    mean = all_gather(active.mean(dim=0, keepdim=True)).mean(dim=0)
    used = mean.clamp(RARE, 1 - RARE)
    nats = used * (used / rate).log() + (1 - used) * ((1 - used) / (1 - rate)).log()
    return (nats * (mean > 0)).sum()
