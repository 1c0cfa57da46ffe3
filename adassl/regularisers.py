"""What is charged for r beside the plain mean of its penalty."""

import torch
from jaxtyping import Float
from torch import Tensor

from adassl.collectives import all_gather
from adassl.diagnostics import share_entropy


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


def use_entropy(active: Float[Tensor, "batch latent"]) -> Float[Tensor, ""]:
    """H(rho) in nats over the global batch: how evenly a sparse r spreads over its dimensions.

    rho_i is dimension i's share of the mean probability of being active. log(latent_dim) at most,
    0 where one dimension does all.

    Args:
        active: this worker's probabilities that a dimension is active, as many rows on every
            worker; the gradient goes back to all of them.
    """
    return share_entropy(all_gather(active.mean(dim=0, keepdim=True)).mean(dim=0))
