"""Collectives that are the identity in one process, and right under autograd in many.

The convention: each worker takes its loss as the mean over its own anchors, DistributedDataParallel
averages gradients over workers. With the gather below that average *is* the gradient of the loss of
the one global batch.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor


def world_size() -> int:
    """Number of workers; 1 where no process group is up."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This worker's number; 0 where no process group is up."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.rows = tensor.shape[0]
        parts = [torch.empty_like(tensor) for _ in range(world_size())]
        dist.all_gather(parts, tensor)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # A row is a candidate in every worker's loss, so its gradient is the sum over workers. An
        # all-reduce and a slice rather than a reduce-scatter, which gloo lacks; embeddings are
        # small, and one path for every backend is one path to test.
        (gradient,) = gradients
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        first = rank() * ctx.rows
        return total[first : first + ctx.rows]


def all_gather(tensor: Shaped[Tensor, "rows ..."]) -> Shaped[Tensor, "global_rows ..."]:
    """Rows of all workers in the order of their ranks, with gradients back to the owners.

    Every worker must bring the same number of rows.
    """
    if world_size() == 1:
        return tensor
    gathered: Tensor = _Gather.apply(tensor.contiguous())  # type: ignore[no-untyped-call]
    return gathered


def dealt_order(gathered: Shaped[Tensor, "global_rows ..."]) -> Shaped[Tensor, "global_rows ..."]:
    """Gathered rows in the order of a global batch that was dealt out one row at a time.

    Worker k of n holds its rows k, k + n, k + 2n and so on. The order is then the same for any
    number of workers.
    """
    by_worker: Tensor = gathered.reshape(world_size(), -1, *gathered.shape[1:])
    return by_worker.transpose(0, 1).flatten(0, 1)


@torch.no_grad()
def all_reduce_mean(tensor: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Mean over workers, for metrics: no gradient, the argument is left alone.

    Stack the metrics into one tensor first: one call then serves them all.
    """
    if world_size() == 1:
        return tensor.detach()
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total / world_size()
