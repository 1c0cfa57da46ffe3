"""AdamW with weight decay on weights only."""

from typing import Any

import torch
from torch import nn


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two optimiser groups: decayed matrices and kernels, and the undecayed rest.

    Decayed is what has at least two dimensions. Biases, norms and 0-dimensional scales are not
    decayed. Parameters that need no gradient, such as those of BYOL's target, are in neither.

    Args:
        module: what is trained.
        weight_decay: decay of the first group.

    Raises:
        ValueError: nothing in `module` is trainable.
    """
    trainable = [p for p in module.parameters() if p.requires_grad]
    if not trainable:
        raise ValueError(f"{type(module).__name__} has no parameter that needs a gradient")
    return [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]


def build_adamw(
    module: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.999),
) -> torch.optim.AdamW:
    """AdamW over `parameter_groups`, fused when every parameter is on a CUDA device."""
    groups = parameter_groups(module, weight_decay)
    on_cuda = all(p.is_cuda for group in groups for p in group["params"])
    return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=on_cuda)
