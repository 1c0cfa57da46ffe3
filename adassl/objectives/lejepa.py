"""LeJEPA: predict the target, and keep the embeddings an isotropic Gaussian (SIGReg).

Balestriero and LeCun, "LeJEPA: Provable and Scalable Self-Supervised Learning Without the
Heuristics", arXiv 2511.08544. No negatives, predictor, EMA or stop-gradient. What is left out: its
small crops.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from adassl.collectives import all_gather, world_size
from adassl.objectives.objective import Objective, directions
from adassl.objectives.projections import draw_projections

LAST_FREQUENCY = 3.0
"""Where the integral over frequencies stops; the Gaussian weight there is 0.01."""
NUM_FREQUENCIES = 17
"""Of the trapezoid rule between 0 and the last, both counted; as in the authors' code."""


def lejepa(
    edited: Float[Tensor, "batch dim"],
    target: Float[Tensor, "batch dim"],
    projections: Float[Tensor, "dim projections"],
    *,
    context: Float[Tensor, "batch dim"] | None = None,
    edited_target: Float[Tensor, "batch dim"] | None = None,
    sigreg_weight: float = 0.05,
) -> Float[Tensor, ""]:
    """`prediction_loss` + sigreg_weight * `sigreg` of both unedited views, in float32.

    The authors' lambda weighs the two by 1 - lambda and lambda: sigreg_weight is
    lambda / (1 - lambda). SIGReg is taken of f(x) and f(x+), each by itself, because it is f that
    must not collapse, whatever an editor does after it.

    Args:
        edited: t(f(x), r).
        target: f(x+).
        projections: unit vectors in columns, other ones every step, the same on every worker.
        context: f(x); None: `edited`, which is then not edited.
        edited_target: t(f(x+), r); None: forward direction only.
        sigreg_weight: weight of SIGReg; 0 leaves the prediction alone, which collapses.

    Raises:
        ValueError: shapes that do not fit.
    """
    context = edited if context is None else context
    loss = prediction_loss(edited, target, context=context, edited_target=edited_target)
    return loss + sigreg_weight * sigreg(torch.stack([context, target]), projections)


def prediction_loss(
    edited: Float[Tensor, "batch dim"],
    target: Float[Tensor, "batch dim"],
    *,
    context: Float[Tensor, "batch dim"] | None = None,
    edited_target: Float[Tensor, "batch dim"] | None = None,
) -> Float[Tensor, ""]:
    """A quarter of the squared difference, the mean over rows and dimensions, in float32.

    The authors compare each view with the mean of all: with two, each is half of their difference
    from it.

    Raises:
        ValueError: shapes that do not fit.
    """
    sources, targets = zip(*directions(edited, target, context, edited_target), strict=True)
    return (torch.cat(sources).float() - torch.cat(targets).float()).square().mean() / 4


def sigreg(
    views: Float[Tensor, "views batch dim"], projections: Float[Tensor, "dim projections"]
) -> Float[Tensor, ""]:
    """Epps and Pulley's statistic against N(0, 1), the mean over views and projections, in float32.

        N integral |phi_N(t) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt

    N is the number of pairs of the global batch and phi_N the characteristic function of their
    projections, averaged over workers with gradients; the same on all of them. It does not fall
    with N: for Gaussian embeddings its mean is about 1. The integral is the trapezoid rule over
    +-3.

    Args:
        views: unedited embeddings of this worker's pairs, not normalised.
        projections: unit vectors in columns, the same on every worker.
    """
    with torch.autocast(views.device.type, enabled=False):
        t = torch.linspace(0, LAST_FREQUENCY, NUM_FREQUENCIES, device=views.device)
        gaussian = (-t.square() / 2).exp()
        # Both sides of 0 are alike: the rule over one, twice, its ends once.
        share = torch.full_like(t, 2.0)
        share[0] = share[-1] = 1.0
        weight = share * gaussian * (LAST_FREQUENCY / (NUM_FREQUENCIES - 1))
        angle = (views.float() @ projections)[..., None] * t
        own = torch.stack([angle.cos(), angle.sin()]).mean(dim=2)
        real, imaginary = all_gather(own[None]).mean(dim=0)
        distance = (real - gaussian).square() + imaginary.square()
        pairs = views.shape[1] * world_size()
        statistic: Tensor = pairs * (distance * weight).sum(dim=-1).mean()
        return statistic


class LeJEPA(Objective):
    """Edited contexts against targets, and SIGReg of both views; see `lejepa`.

    Both sides have a gradient. Nothing is normalised to unit length.

    Args:
        sigreg_weight: weight of SIGReg; the authors' lambda / (1 - lambda).
        num_projections: random directions a step.
    """

    def __init__(self, sigreg_weight: float = 0.05, num_projections: int = 256) -> None:
        super().__init__()
        self.sigreg_weight = sigreg_weight
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
        """`lejepa` of the pairs; see `Objective.forward`."""
        return lejepa(
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
            sigreg_weight=self.sigreg_weight,
        )
