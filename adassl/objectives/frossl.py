"""FroSSL: alignment of unit embeddings, and a small Frobenius norm of their covariance.

Skean et al., "FroSSL: Frobenius Norm Minimization for Efficient Multiview Self-Supervised
Learning", arXiv 2310.02903; as in the authors' code for several views, with rows of length 1 and
no mean taken off.

Of W-MSE (arXiv 2007.06346) and FroSSL this one is here: it is a mean over pairs of the global
batch, exact on any number of workers. W-MSE whitens random parts of the batch by a Cholesky factor,
needs more pairs than dimensions in each, and depends on which pairs share a part.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from adassl.collectives import all_gather
from adassl.objectives.objective import Objective, directions


def frossl(
    edited: Float[Tensor, "batch dim"],
    target: Float[Tensor, "batch dim"],
    *,
    context: Float[Tensor, "batch dim"] | None = None,
    edited_target: Float[Tensor, "batch dim"] | None = None,
    frobenius_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """1/2 E|edited - target|^2 + frobenius_weight * the sum of `log_frobenius` of both views.

    All of unit vectors and in float32. The authors put their weight on the alignment: that is
    1 / frobenius_weight here, and at 1 the loss is theirs. The norms are those of the unedited
    embeddings, because it is f that must not collapse, whatever an editor does after it.

    Args:
        edited: t(f(x), r), any norm, as everything here.
        target: f(x+).
        context: f(x); None: `edited`, which is then not edited.
        edited_target: t(f(x+), r); None: forward direction only.
        frobenius_weight: weight of the norms; 0 leaves the alignment alone, which collapses: that
            of `adassl.simple` without its centre.

    Raises:
        ValueError: shapes that do not fit.
    """
    context = edited if context is None else context
    sources, targets = zip(*directions(edited, target, context, edited_target), strict=True)
    source, aim = (normalize(torch.cat(rows).float(), dim=-1) for rows in (sources, targets))
    norms = log_frobenius(context) + log_frobenius(target)
    return (source - aim).square().sum(dim=-1).mean() / 2 + frobenius_weight * norms


def log_frobenius(view: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """The log of |E z z^T|_F^2 of unit embeddings over the global batch, in float32.

    The same on all workers. That is the log of the mean squared cosine of two rows, each with
    itself too: 0 where all are parallel, -log(dim) at best, where every dimension has the same
    share and none goes with another. It is not smaller than twice the log of |s|^2, s the centre,
    so it holds the centre small: at best |s| is dim^-1/2 or less.

    Args:
        view: unedited embeddings of this worker's x, or of its x+, any norm.
    """
    with torch.autocast(view.device.type, enabled=False):
        rows = all_gather(normalize(view.float(), dim=-1))
        covariance = rows.T @ rows / len(rows)
        return covariance.square().sum().log()


class FroSSL(Objective):
    """Edited contexts against targets; the Frobenius norm of both views; see `frossl`.

    Both sides have a gradient.

    Args:
        frobenius_weight: weight of the norms.
    """

    def __init__(self, frobenius_weight: float = 1.0) -> None:
        super().__init__()
        self.frobenius_weight = frobenius_weight

    def forward(
        self,
        edited: Float[Tensor, "batch dim"],
        target: Float[Tensor, "batch dim"],
        *,
        context: Float[Tensor, "batch dim"] | None = None,
        edited_target: Float[Tensor, "batch dim"] | None = None,
        **_: Any,
    ) -> Float[Tensor, ""]:
        """`frossl` of the pairs; see `Objective.forward`."""
        return frossl(
            edited,
            target,
            context=context,
            edited_target=edited_target,
            frobenius_weight=self.frobenius_weight,
        )
