"""Schedules: pure functions of the step, so that a resumed run needs no counter of its own."""

import math


def beta_warmup(step: int, beta: float, warmup_steps: int) -> float:
    """Weight of the regulariser: linear from 0 to `beta` at `warmup_steps`, then constant.

    Args:
        step: optimiser steps done so far.
        beta: final weight.
        warmup_steps: length of the rise in steps; 0 for none.
    """
    if step >= warmup_steps:
        return beta
    return beta * step / warmup_steps


def cosine_with_warmup(
    step: int, base_lr: float, warmup_steps: int, total_steps: int, final_lr: float = 0.0
) -> float:
    """Learning rate of a step: linear rise to `base_lr`, then half a cosine down to `final_lr`.

    The rise counts from one, so that the first step already learns; the first step at `base_lr` is
    number `warmup_steps - 1`. From `total_steps` on the rate stays at `final_lr`.

    Args:
        step: optimiser steps done so far.
        base_lr: the highest rate.
        warmup_steps: length of the rise in steps; 0 for none.
        total_steps: length of the run in steps.
        final_lr: the rate at the end.
    """
    if step < warmup_steps:
        return base_lr * (step + 1) / warmup_steps
    if step >= total_steps:
        return final_lr
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return final_lr + (base_lr - final_lr) * (1 + math.cos(math.pi * progress)) / 2


def ema_momentum(step: int, start: float, total_steps: int) -> float:
    """Momentum of BYOL's target: from `start` at step 0 to 1 at `total_steps` along half a cosine.

    Grill et al., "Bootstrap your own latent", arXiv 2006.07733, 3.3.
    """
    progress = min(step / total_steps, 1.0)
    return 1 - (1 - start) * (1 + math.cos(math.pi * progress)) / 2


def linear_warmup(step: int, start: float, final: float, warmup_steps: int) -> float:
    """Linear from `start` at step 0 to `final` at `warmup_steps`, then constant.

    Args:
        step: optimiser steps done so far.
        start: value at step 0.
        final: value from `warmup_steps` on.
        warmup_steps: length of the way in steps; 0 for none.
    """
    if step >= warmup_steps:
        return final
    return start + (final - start) * step / warmup_steps
