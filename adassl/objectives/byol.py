"""BYOL's regression onto the target network's embedding.

Grill et al., "Bootstrap your own latent", arXiv 2006.07733, equation 2.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from adassl.objectives.objective import Objective, directions
from adassl.traits import TRAITS


def byol(
    edited: Float[Tensor, "batch dim"],
    target: Float[Tensor, "batch dim"],
    *,
    context: Float[Tensor, "batch dim"] | None = None,
    edited_target: Float[Tensor, "batch dim"] | None = None,
) -> Float[Tensor, ""]:
    """2 - 2 cos(edited, target), the mean over the rows, in float32; between 0 and 4.

    The target is a constant here: no gradient reaches it.

    Args:
        edited: predictor(t(f(x), r)), any norm.
        target: the target network's embedding of x+, any norm.
        context: the target network's embedding of x; needed with `edited_target`.
        edited_target: predictor(t(f(x+), r)); None: forward direction only.

    Raises:
        ValueError: shapes that do not fit.
    """
    predictions, targets = zip(*directions(edited, target, context, edited_target), strict=True)
    prediction = normalize(torch.cat(predictions).float(), dim=-1)
    constant = normalize(torch.cat(targets).detach().float(), dim=-1)
    return 2 - 2 * (prediction * constant).sum(dim=-1).mean()


class BYOL(Objective):
    """The online network's prediction against the target network's embedding; see `byol`.

    Without an EMA (`ema_momentum=0`, `ema_schedule="constant"`) the target network is the online
    encoder of the same step behind a stop-gradient, and this is SimSiam with twice its gradient.
    """

    traits = TRAITS["byol"]

    def forward(
        self,
        edited: Float[Tensor, "batch dim"],
        target: Float[Tensor, "batch dim"],
        *,
        context: Float[Tensor, "batch dim"] | None = None,
        edited_target: Float[Tensor, "batch dim"] | None = None,
        **_: Any,
    ) -> Float[Tensor, ""]:
        """`byol` of the pairs; see `Objective.forward`."""
        return byol(edited, target, context=context, edited_target=edited_target)
