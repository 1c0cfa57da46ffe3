"""DINO: the student's distribution over prototypes follows a centred and sharpened teacher's.

Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", arXiv 2104.14294,
equations 1 to 4 and algorithm 1; its small crops are scaled to the size of the views. Left out: a
last layer that stands still in the first epoch.
"""

import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from adassl.collectives import all_reduce_mean
from adassl.ema import update_ema
from adassl.objectives.objective import Objective, directions
from adassl.objectives.prototypes import Prototypes, with_local
from adassl.schedules import linear_warmup
from adassl.traits import TRAITS


def dino(
    student: Float[Tensor, "rows prototypes"],
    teacher: Float[Tensor, "rows prototypes"],
    *,
    centre: Float[Tensor, " prototypes"],
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.07,
) -> Float[Tensor, ""]:
    """Cross-entropy in nats of the student under the teacher, the mean over rows, in float32.

    The teacher is softmax((teacher - centre) / teacher_temperature), a constant here: no gradient
    reaches it.

    Args:
        student: the student's scores of one view.
        teacher: the teacher's scores of the other.
        centre: what is taken off the teacher's scores, so that no prototype wins always.
        student_temperature: divides the student's scores.
        teacher_temperature: divides the teacher's, smaller than the student's: sharpening, so that
            the distribution does not become uniform.
    """
    aim = ((teacher.detach().float() - centre) / teacher_temperature).softmax(dim=-1)
    return -(aim * (student.float() / student_temperature).log_softmax(dim=-1)).sum(dim=-1).mean()


class DINO(Objective):
    """Student scores of each view by the online encoder against teacher scores of the other.

    And those of each small crop, where there are any, against both (equation 3).

    The teacher is the target network and a copy of the prototypes, both an EMA. The centre is an
    EMA too, of the mean teacher score over the global batch; a step uses the centre that the step
    before left.

    Args:
        embedding_dim: size of an embedding.
        num_prototypes: directions that embeddings are sorted by; the authors have 65536 on
            ImageNet.
        temperature: divides the student's scores.
        teacher_temperature: divides the teacher's once warmed up.
        teacher_temperature_start: the same at step 0.
        teacher_temperature_warmup_steps: optimiser steps on the linear way between the two.
        centre_momentum: momentum of the centre.
        centring: False: no centre (ablation).
    """

    traits = TRAITS["dino"]
    centre: Tensor

    def __init__(
        self,
        embedding_dim: int,
        num_prototypes: int = 3_000,
        *,
        temperature: float = 0.1,
        teacher_temperature: float = 0.07,
        teacher_temperature_start: float = 0.04,
        teacher_temperature_warmup_steps: int = 1_000,
        centre_momentum: float = 0.9,
        centring: bool = True,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.teacher_temperature = teacher_temperature
        self.teacher_temperature_start = teacher_temperature_start
        self.teacher_temperature_warmup_steps = teacher_temperature_warmup_steps
        self.centring = centring
        self.centre_momentum = centre_momentum
        self.prototypes = Prototypes(embedding_dim, num_prototypes)
        self.teacher_prototypes = copy.deepcopy(self.prototypes).requires_grad_(False)
        self.register_buffer("centre", torch.zeros(num_prototypes))

    def forward(
        self,
        edited: Float[Tensor, "batch dim"],
        target: Float[Tensor, "batch dim"],
        *,
        context: Float[Tensor, "batch dim"] | None = None,
        edited_target: Float[Tensor, "batch dim"] | None = None,
        local: Float[Tensor, "crops batch dim"] | None = None,
        step: int = 0,
        **_: Any,
    ) -> Float[Tensor, ""]:
        """`dino` of all views and small crops; nothing is edited. See `Objective.forward`."""
        sources, targets = zip(*directions(edited, target, context, edited_target), strict=True)
        teacher = self.teacher_prototypes(torch.cat(targets))
        student, aims = with_local(self.prototypes, torch.cat(sources), local, teacher)
        loss = dino(
            student,
            aims,
            centre=self.centre,
            student_temperature=self.temperature,
            teacher_temperature=linear_warmup(
                step,
                self.teacher_temperature_start,
                self.teacher_temperature,
                self.teacher_temperature_warmup_steps,
            ),
        )
        if self.training and self.centring:
            mean = all_reduce_mean(teacher.mean(dim=0))
            self.centre.lerp_(mean, 1 - self.centre_momentum)
        return loss

    def move_target(self, momentum: float) -> None:
        """Moves the teacher's prototypes, as `Method.after_step` moves its encoder."""
        update_ema(self.teacher_prototypes, self.prototypes, momentum)
