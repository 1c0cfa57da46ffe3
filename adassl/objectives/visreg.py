"""VISReg: predict the target, and keep scale, shape and centre of the embeddings apart.

Wu, Balestriero and Levine, "VISReg: Variance-Invariance-Sketching Regularization for JEPA
training", arXiv 2606.02572. LeJEPA's prediction; the centre is the vector s of arXiv 2402.14957, of
embeddings that are not normalised.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from adassl.collectives import all_gather
from adassl.objectives.lejepa import prediction_loss
from adassl.objectives.objective import Objective
from adassl.objectives.projections import draw_projections

EPS = 1e-4
"""Added to a variance before its root, as in VICReg. The authors hold the root above 1e-6, where
the shape of a collapsed batch is that of its rounding errors."""


@dataclass(frozen=True, kw_only=True)
class Departure:
    """How far one view is from N(0, I); float32 scalars, each 0 for a perfect fit.

    Attributes:
        scale: (std - 1)^2, the mean over the dimensions.
        shape: squared distance of the projections from the quantiles of N(0, 1) once each dimension
            has been divided by its std: the sliced Wasserstein distance.
        centre: squared mean, the mean over the dimensions: |s|^2 / dim.
    """

    scale: Float[Tensor, ""]
    shape: Float[Tensor, ""]
    centre: Float[Tensor, ""]


def visreg(
    edited: Float[Tensor, "batch dim"],
    target: Float[Tensor, "batch dim"],
    projections: Float[Tensor, "dim projections"],
    *,
    context: Float[Tensor, "batch dim"] | None = None,
    edited_target: Float[Tensor, "batch dim"] | None = None,
    scale_weight: float = 1.0,
    shape_weight: float = 1.0,
    centre_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """`prediction_loss` + the weighted `departure` of the unedited views, in float32.

    The authors' lambda weighs prediction and departure by 1 - lambda and lambda: the weights here
    are lambda / (1 - lambda) times theirs. Of f(x) and f(x+), each by itself and their mean,
    because it is f that must not collapse, whatever an editor does after it.

    Args:
        edited: t(f(x), r).
        target: f(x+).
        projections: unit vectors in columns, other ones every step, the same on every worker.
        context: f(x); None: `edited`, which is then not edited.
        edited_target: t(f(x+), r); None: forward direction only.
        scale_weight: weight of the standard deviations.
        shape_weight: weight of the sketched shape.
        centre_weight: weight of the centre.

    Raises:
        ValueError: shapes that do not fit.
    """
    context = edited if context is None else context
    loss = prediction_loss(edited, target, context=context, edited_target=edited_target)
    for view in (context, target):
        found = departure(view, projections)
        total = scale_weight * found.scale + shape_weight * found.shape
        loss = loss + (total + centre_weight * found.centre) / 2
    return loss


def departure(
    view: Float[Tensor, "batch dim"], projections: Float[Tensor, "dim projections"]
) -> Departure:
    """How far one view of the global batch is from N(0, I); the same on all workers.

    Row i of n, in the order of a projection, is compared with the quantile i / (n + 1). Shape does
    not see scale: the std it divides by is a constant.

    Args:
        view: unedited embeddings of this worker's x, or of its x+, not normalised.
        projections: unit vectors in columns, the same on every worker.
    """
    with torch.autocast(view.device.type, enabled=False):
        rows = all_gather(view.float())
        mean = rows.mean(dim=0)
        rows = rows - mean
        std = (rows.square().mean(dim=0) + EPS).sqrt()
        projected = ((rows / std.detach()) @ projections).sort(dim=0).values
        count = len(rows)
        share = torch.arange(1, count + 1, device=rows.device) / (count + 1)
        quantiles = torch.special.ndtri(share)
        return Departure(
            scale=(std - 1).square().mean(),
            shape=(projected - quantiles[:, None]).square().mean(),
            centre=mean.square().mean(),
        )


class VISReg(Objective):
    """Edited contexts against targets; scale, shape and centre of both views; see `visreg`.

    Both sides have a gradient. Nothing is normalised to unit length.

    Args:
        scale_weight: weight of the standard deviations.
        shape_weight: weight of the sketched shape.
        centre_weight: weight of the centre.
        num_projections: random directions a step.
    """

    def __init__(
        self,
        scale_weight: float = 1.0,
        shape_weight: float = 1.0,
        centre_weight: float = 1.0,
        *,
        num_projections: int = 256,
    ) -> None:
        super().__init__()
        self.scale_weight = scale_weight
        self.shape_weight = shape_weight
        self.centre_weight = centre_weight
        self.num_projections = num_projections

    def forward(
        self,
        edited: Float[Tensor, "batch dim"],
        target: Float[Tensor, "batch dim"],
        *,
        context: Float[Tensor, "batch dim"] | None = None,
        edited_target: Float[Tensor, "batch dim"] | None = None,
        generator: torch.Generator | None = None,
        **_: Any,
    ) -> Float[Tensor, ""]:
        """`visreg` of the pairs; see `Objective.forward`."""
        return visreg(
            edited,
            target,
            draw_projections(
                edited.shape[-1],
                self.num_projections,
                generator=generator,
                device=edited.device,
            ),
            context=context,
            edited_target=edited_target,
            scale_weight=self.scale_weight,
            shape_weight=self.shape_weight,
            centre_weight=self.centre_weight,
        )
