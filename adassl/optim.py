"""AdamW with weight decay on weights only."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn


def parameter_groups(
    module: nn.Module,
    weight_decay: float,
    multipliers: Sequence[tuple[nn.Module, float]] = (),
) -> list[dict[str, Any]]:
    """Optimiser groups: decayed matrices and kernels, and the undecayed rest.

    Decayed is what has at least two dimensions. Biases, norms and 0-dimensional scales are not
    decayed. Parameters that need no gradient, such as those of BYOL's target, are in neither.

    Args:
        module: what is trained.
        weight_decay: decay of the decayed groups.
        multipliers: parts of the module and what their learning rate is multiplied with, two
            further groups for each; whoever sets "lr" of a group reads it as "lr_multiplier".

    Raises:
        ValueError: nothing in `module` is trainable, or parts overlap.
    """
    trainable = [p for p in module.parameters() if p.requires_grad]
    if not trainable:
        raise ValueError(f"{type(module).__name__} has no parameter that needs a gradient")
    groups, taken = [], set[nn.Parameter]()
    for part, multiplier in multipliers:
        own = [p for p in part.parameters() if p.requires_grad]
        if taken & set(own):
            raise ValueError(f"multipliers: {type(part).__name__} is part of another one's part")
        taken |= set(own)
        groups += [{**g, "lr_multiplier": multiplier} for g in _by_decay(own, weight_decay)]
    return _by_decay([p for p in trainable if p not in taken], weight_decay) + groups


def _by_decay(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set every group's rate: the learning rate times the group's multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("lr_multiplier", 1.0)


def build_adamw(
    module: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.999),
    multipliers: Sequence[tuple[nn.Module, float]] = (),
) -> torch.optim.AdamW:
    """AdamW over `parameter_groups`, fused when every parameter is on a CUDA device."""
    groups = parameter_groups(module, weight_decay, multipliers)
    on_cuda = all(p.is_cuda for group in groups for p in group["params"])
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas, fused=on_cuda)
    set_learning_rate(optimizer, lr)
    return optimizer
