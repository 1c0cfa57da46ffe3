"""What every objective has in common: plain tensors in, a loss out."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from adassl.shapes import require_shape
from adassl.traits import Traits


class Objective(nn.Module):
    """A self-supervised loss with the parameters and buffers that it needs for itself.

    A subclass overrides `forward`, and sets `traits` unless it compares with the online encoder's
    embeddings and has no predictor. `adassl.Method` hands over every argument by name; a subclass
    names those that it uses and takes the rest as `**_`. Buffers change in `forward` in training
    mode only, in place (DistributedDataParallel holds on to them) and alike on every worker.
    """

    traits = Traits()

    def forward(
        self,
        edited: Float[Tensor, "batch dim"],
        target: Float[Tensor, "batch dim"],
        *,
        context: Float[Tensor, "batch dim"] | None = None,
        edited_target: Float[Tensor, "batch dim"] | None = None,
        negative: Float[Tensor, "batch dim"] | None = None,
        group: Int[Tensor, " batch"] | None = None,
        local: Float[Tensor, "crops batch dim"] | None = None,
        step: int = 0,
        generator: torch.Generator | None = None,
        **_: Any,
    ) -> Float[Tensor, ""]:
        """The loss in float32, a mean over this worker's rows, for DDP to average.

        Embeddings have any norm. Row i of each belongs to pair i.

        Args:
            edited: t(f(x), r), after the predictor where there is one.
            target: f(x+), or the target network's embedding of x+: what `edited` should match.
            context: the embedding of x by the network that made `target`, not edited: what
                `edited_target` should match. With one direction: f(x). None: the same as `edited`,
                where an objective can work so.
            edited_target: t(f(x+), r) of the reverse direction; None: forward direction only.
            negative: f(x-), what `edited` and `edited_target` should stay away from, for
                objectives whose traits take triplets. None: the pairs bring none.
            group: the video of each pair; None: each pair has its own.
            local: the online encoder's embeddings of small crops of each x (multi-crop).
            step: optimiser steps done so far; schedules depend on it.
            generator: source of an objective's own noise, in the same state on every worker. None:
                torch's global generator.

        Raises:
            ValueError: shapes that do not fit; the message names them.
        """
        raise NotImplementedError

    def move_target(self, momentum: float) -> None:
        """Moves what the objective keeps as an average of its own parameters; most keep nothing.

        Args:
            momentum: share of the average that stays.
        """


def directions(
    edited: Float[Tensor, "batch dim"],
    target: Float[Tensor, "batch dim"],
    context: Float[Tensor, "batch dim"] | None,
    edited_target: Float[Tensor, "batch dim"] | None,
) -> list[tuple[Tensor, Tensor]]:
    """What is compared with what: forward, then, unless `edited_target` is None, in reverse.

    Raises:
        ValueError: shapes that differ, or a reverse direction without a context.
    """
    check_embeddings(edited, target, context, edited_target)
    found = [(edited, target)]
    if edited_target is not None:
        if context is None:
            raise ValueError(
                "edited_target without context: the reverse direction is compared with the "
                "embedding of x; pass it as context=, or leave edited_target out"
            )
        found.append((edited_target, context))
    return found


def check_embeddings(
    edited: Tensor, target: Tensor, context: Tensor | None, edited_target: Tensor | None
) -> None:
    """Refuse embeddings that are not all [batch, dim] of one shape.

    Raises:
        ValueError: names the first that differs.
    """
    remedy = "give one embedding a pair, all of one size"
    require_shape(edited, (None, edited.shape[-1]), name="edited", remedy=remedy)
    others = {"target": target, "context": context, "edited_target": edited_target}
    for name, tensor in others.items():
        if tensor is not None:
            require_shape(tensor, tuple(edited.shape), name=name, remedy=f"as edited; {remedy}")
