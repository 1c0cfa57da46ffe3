"""MMCR: the means of each pair's two embeddings should span as much as they can.

Yerxa et al., "Learning Efficient Coding of Natural Images with Maximum Manifold Capacity
Representations", arXiv 2303.03307, with lambda = 0 as they train; its bound and the share of it
that is reached: Schaeffer et al., arXiv 2406.09366.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from adassl.collectives import all_gather
from adassl.objectives.objective import Objective, directions


def mmcr(
    edited: Float[Tensor, "batch dim"],
    target: Float[Tensor, "batch dim"],
    *,
    context: Float[Tensor, "batch dim"] | None = None,
    edited_target: Float[Tensor, "batch dim"] | None = None,
    nuclear: bool = True,
) -> Float[Tensor, ""]:
    """1 - |C|_* / sqrt(N min(N, dim)), in float32; between 0 and 1 and the same on all workers.

    The rows of C are the means of unit vectors, edited and target, of the N pairs of the global
    batch: the sample means s_x of arXiv 2402.14957. The nuclear norm |C|_*, the sum of the
    singular values, is greatest where every s_x has length 1 and they use all directions alike.
    The authors have -|C|_*: the same up to a constant and a factor, which here leaves beta its
    meaning at any batch size. The mean over the directions.

    No term looks at f alone, but an f that has collapsed is not best for any editor: a target that
    is always the same adds one direction to C, and halves the edited ones.

    On a GPU the singular values make the host wait for the device.

    Args:
        edited: t(f(x), r), any norm, as everything here.
        target: f(x+).
        context: f(x); needed with `edited_target`.
        edited_target: t(f(x+), r); None: forward direction only.
        nuclear: False: 1 - |C|_F / sqrt(N), the same by the squares of the singular values, which
            sees how long the s_x are and not how they spread: the ablation that collapses.

    Raises:
        ValueError: shapes that do not fit.
    """
    with torch.autocast(edited.device.type, enabled=False):
        losses = []
        for pair in directions(edited, target, context, edited_target):
            own = torch.stack([normalize(view.float(), dim=-1) for view in pair]).mean(dim=0)
            centroids = all_gather(own)
            count, dim = centroids.shape
            if nuclear:
                # A decomposition raises where it meets a NaN: the loss is to be one, as any other.
                values = torch.linalg.svdvals(centroids.nan_to_num())
                length = values.sum() / (count * min(count, dim)) ** 0.5 + 0 * centroids.sum()
            else:
                length = centroids.norm() / count**0.5
            losses.append(1 - length)
        return torch.stack(losses).mean()


class MMCR(Objective):
    """The span of the means of edited contexts and targets; see `mmcr`.

    Both sides have a gradient.

    Args:
        nuclear: False: by the Frobenius norm, the ablation that collapses.
    """

    def __init__(self, *, nuclear: bool = True) -> None:
        super().__init__()
        self.nuclear = nuclear

    def forward(
        self,
        edited: Float[Tensor, "batch dim"],
        target: Float[Tensor, "batch dim"],
        *,
        context: Float[Tensor, "batch dim"] | None = None,
        edited_target: Float[Tensor, "batch dim"] | None = None,
        **_: Any,
    ) -> Float[Tensor, ""]:
        """`mmcr` of the pairs; see `Objective.forward`."""
        return mmcr(
            edited, target, context=context, edited_target=edited_target, nuclear=self.nuclear
        )
