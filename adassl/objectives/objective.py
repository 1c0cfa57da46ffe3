"""What an objective is given, and what it answers."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One worker's pairs, encoded and edited; rows forward (x to x+), then, if used, in reverse.

    Nothing is normalised. Whose embedding the destination is, and whether it has a gradient, says
    `adassl.traits`.

    Attributes:
        prediction: what is held against the destination: the edited source, after the predictor
            where there is one.
        source: the online encoder's embedding before the edit.
        destination: what the prediction should come to.
        weights: positive weights of the dimensions for each row (`adassl.objectives.aninfonce`);
            None: all 1.
        local: the online encoder's embeddings of each pair's small crops; None: there are none.
        group: the video of each pair.
    """

    prediction: Float[Tensor, "rows dim"]
    source: Float[Tensor, "rows dim"]
    destination: Float[Tensor, "rows dim"]
    weights: Float[Tensor, "rows dim"] | None = None
    local: Float[Tensor, "crops batch dim"] | None = None
    group: Int[Tensor, " batch"]

    @property
    def batch(self) -> int:
        """Pairs on this worker."""
        return len(self.group)

    @property
    def context(self) -> Float[Tensor, "batch dim"]:
        """Unedited embeddings of x."""
        return self.source[: self.batch]

    @property
    def target(self) -> Float[Tensor, "batch dim"]:
        """Embeddings of x+ that the forward direction is held against."""
        return self.destination[: self.batch]

    @property
    def edited_context(self) -> Float[Tensor, "batch dim"]:
        """Predictions from x."""
        return self.prediction[: self.batch]

    @property
    def edited_target(self) -> Float[Tensor, "batch dim"] | None:
        """Predictions from x+; None where only the forward direction is used."""
        return self.prediction[self.batch :] if len(self.prediction) > self.batch else None


class Objective(nn.Module):
    """A self-supervised loss with the parameters and buffers that it needs for itself.

    A subclass overrides `forward`. Buffers change in `forward` in training mode only, in place
    (DistributedDataParallel holds on to them) and alike on every worker.
    """

    def forward(self, comparison: Comparison, *, step: int) -> Float[Tensor, ""]:
        """The loss in float32, a mean over this worker's rows, for DDP to average.

        Args:
            comparison: this worker's pairs.
            step: optimiser steps done so far; schedules depend on it.
        """
        raise NotImplementedError

    def move_target(self, momentum: float) -> None:
        """Moves what the objective keeps as an average of its own parameters; most keep nothing.

        Args:
            momentum: share of the average that stays.
        """
