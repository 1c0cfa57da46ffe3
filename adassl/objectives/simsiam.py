"""SimSiam's negative cosine: predictor and stop-gradient alone, no negatives and no EMA.

Chen and He, "Exploring Simple Siamese Representation Learning", arXiv 2011.10566, equations 1 to 4.
Theirs has a BatchNorm on the projector's output too; it works nearly as well without (table 3),
and `adassl.heads` says why it is left out here.
"""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from adassl.objectives.objective import Objective, directions
from adassl.traits import TRAITS


def simsiam(
    edited: Float[Tensor, "batch dim"],
    target: Float[Tensor, "batch dim"],
    *,
    context: Float[Tensor, "batch dim"] | None = None,
    edited_target: Float[Tensor, "batch dim"] | None = None,
    stop_gradient: bool = True,
) -> Float[Tensor, ""]:
    """-cos(edited, target), the mean over the rows, in float32; between -1 and 1.

    The mean over the rows of both directions is the paper's half of each direction's loss.

    Args:
        edited: predictor(t(f(x), r)), any norm.
        target: f(x+), any norm.
        context: f(x); needed with `edited_target`.
        edited_target: predictor(t(f(x+), r)); None: forward direction only.
        stop_gradient: False: the target has a gradient too, the ablation that collapses.

    Raises:
        ValueError: shapes that do not fit.
    """
    predictions, targets = zip(*directions(edited, target, context, edited_target), strict=True)
    aim = torch.cat(targets)
    aim = aim.detach() if stop_gradient else aim
    return -cosine_similarity(torch.cat(predictions).float(), aim.float(), dim=-1).mean()


class SimSiam(Objective):
    """Predictions against the online encoder's own embeddings; see `simsiam`.

    In a `Method` the posterior of r reads the target behind the stop-gradient too, as byol's does.

    Args:
        stop_gradient: False: the target has a gradient too, the ablation that collapses.
    """

    def __init__(self, *, stop_gradient: bool = True) -> None:
        super().__init__()
        self.stop_gradient = stop_gradient
        traits = TRAITS["simsiam"]
        self.traits = traits if stop_gradient else replace(traits, target="online")

    def forward(
        self,
        edited: Float[Tensor, "batch dim"],
        target: Float[Tensor, "batch dim"],
        *,
        context: Float[Tensor, "batch dim"] | None = None,
        edited_target: Float[Tensor, "batch dim"] | None = None,
        **_: Any,
    ) -> Float[Tensor, ""]:
        """`simsiam` of the pairs; see `Objective.forward`."""
        return simsiam(
            edited,
            target,
            context=context,
            edited_target=edited_target,
            stop_gradient=self.stop_gradient,
        )
