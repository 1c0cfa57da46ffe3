"""The exponential moving average that makes the target network of BYOL and DINO."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def update_ema(target: nn.Module, source: nn.Module, momentum: float) -> None:
    """In place: target = momentum * target + (1 - momentum) * source, for every parameter.

    Buffers stay the target's own. Its BatchNorm runs on the same batches in training mode, so its
    running statistics fit its own weights; those of the online network would not.

    Args:
        target: the average; a copy of `source` in structure.
        source: the network that is being trained.
        momentum: share of the target that stays, in [0, 1].

    Raises:
        TypeError: a parameter of the target has fewer than 32 bits: an update by a factor of 0.004
            or less is lost in bfloat16's rounding, and the target would stand still.
    """
    averages: list[Tensor] = list(target.parameters())
    for average in averages:
        if torch.finfo(average.dtype).bits < 32:
            raise TypeError(
                f"a target parameter is {average.dtype}: a moving average needs float32; keep the "
                "parameters in float32 and use autocast for speed"
            )
    sources: list[Tensor] = list(source.parameters())
    torch._foreach_lerp_(averages, sources, 1.0 - momentum)
