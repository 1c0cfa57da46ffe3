"""SwAV: each view predicts the other's soft assignment to prototypes, balanced over the batch.

Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments",
arXiv 2006.09882, equations 1 to 6 and algorithm 1; its small crops are scaled to the size of the
views. Left out: prototypes that stand still in the first epoch.
"""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from adassl.collectives import all_gather, dealt_order, rank, world_size
from adassl.objectives.objective import Objective, directions
from adassl.objectives.prototypes import Prototypes, with_local
from adassl.traits import TRAITS


@torch.no_grad()
def sinkhorn(
    scores: Float[Tensor, "rows prototypes"],
    *,
    epsilon: float,
    iterations: int,
    counted: Bool[Tensor, " rows"] | None = None,
) -> Float[Tensor, "rows prototypes"]:
    """Codes of this worker's rows: probabilities over prototypes, used alike by the global batch.

    Sinkhorn-Knopp on exp(scores / epsilon): in turn every prototype is given the same share of the
    global batch (sums over all workers), and every row the sum 1, the rows last. In logarithms, so
    that no epsilon overflows. Workers may bring different numbers of rows.

    Args:
        scores: cosines of embeddings with prototypes.
        epsilon: the smaller, the nearer the codes are to one prototype a row.
        iterations: how often; 3 in the paper.
        counted: the rows that take part in the balance; None: all.
    """
    log_codes = scores.float() / epsilon
    for _ in range(iterations):
        own = log_codes
        if counted is not None:  # not selected: the host would wait for their number
            own = own.masked_fill(~counted[:, None], -math.inf)
        own = own.logsumexp(dim=0, keepdim=True)
        log_codes = log_codes - all_gather(own).logsumexp(dim=0)
        log_codes = log_codes - log_codes.logsumexp(dim=1, keepdim=True)
    return log_codes.exp()


def swav(
    scores: Float[Tensor, "rows prototypes"],
    codes: Float[Tensor, "rows prototypes"],
    *,
    temperature: float = 0.1,
) -> Float[Tensor, ""]:
    """Cross-entropy in nats of softmax(scores / temperature) under the codes, mean over rows.

    Args:
        scores: cosines of one view with the prototypes.
        codes: what the other view was assigned to; constants.
        temperature: divides the cosines.
    """
    return -(codes * (scores.float() / temperature).log_softmax(dim=-1)).sum(dim=-1).mean()


class SwAV(Objective):
    """Scores of each view against the codes of the other; see `sinkhorn` and `swav`.

    And those of each small crop, where there are any, against both (equation 6).

    Both by the online encoder: the codes are constants, so the gradient goes through the scores
    alone, and through the prototypes there.

    The queue (`queue_size` > 0) holds unit embeddings of the latest pairs of the global batch, of
    each view by itself, the newest first. They take part in the balance of the codes and in
    nothing else, from the second step on; the paper's starts after some epochs. Rows of zeros
    are not yet filled. It is in the state dict, in the order in which the global batch was dealt
    out, so a resumed run has the same one, on any number of workers.

    Args:
        embedding_dim: size of an embedding.
        num_prototypes: directions that embeddings are sorted by.
        temperature: divides the cosines of the scores.
        epsilon: smoothness of the codes; the smaller, the nearer to one prototype.
        iterations: rounds of balancing the codes.
        queue_size: latest pairs of the global batch that help balance the codes; 0: none.
    """

    traits = TRAITS["swav"]
    queue: Tensor | None

    def __init__(
        self,
        embedding_dim: int,
        num_prototypes: int = 3_000,
        *,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        queue_size: int = 0,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.epsilon = epsilon
        self.iterations = iterations
        self.prototypes = Prototypes(embedding_dim, num_prototypes)
        shape = (2, queue_size, embedding_dim)
        self.register_buffer("queue", torch.zeros(shape) if queue_size else None)

    def forward(
        self,
        edited: Float[Tensor, "batch dim"],
        target: Float[Tensor, "batch dim"],
        *,
        context: Float[Tensor, "batch dim"] | None = None,
        edited_target: Float[Tensor, "batch dim"] | None = None,
        local: Float[Tensor, "crops batch dim"] | None = None,
        **_: Any,
    ) -> Float[Tensor, ""]:
        """`swav` of all views and small crops; nothing is edited. See `Objective.forward`."""
        context = edited if context is None else context
        compared = directions(edited, target, context, edited_target)
        # Of the forward direction the target is x+, of the reverse one x.
        queues = (None, None) if self.queue is None else (self.queue[1], self.queue[0])
        codes = [
            self._codes(aim.detach(), queue)
            for (_, aim), queue in zip(compared, queues, strict=False)
        ]
        source = torch.cat([source for source, _ in compared])
        scores, aims = with_local(self.prototypes, source, local, torch.cat(codes))
        loss = swav(scores, aims, temperature=self.temperature)
        if self.training and self.queue is not None:
            self._remember(self.queue, context, target)
        return loss

    @torch.no_grad()
    def _codes(
        self, embedding: Float[Tensor, "batch dim"], queue: Float[Tensor, "queue dim"] | None
    ) -> Float[Tensor, "batch prototypes"]:
        rows, counted = embedding.float(), None
        if queue is not None:
            # The queue is the same on all workers: each takes its share of the filled rows.
            share = queue[rank() :: world_size()]
            own = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
            rows, counted = torch.cat([rows, share]), torch.cat([own, share.any(dim=-1)])
        codes = sinkhorn(
            self.prototypes(rows),
            epsilon=self.epsilon,
            iterations=self.iterations,
            counted=counted,
        )
        return codes[: len(embedding)]

    @torch.no_grad()
    def _remember(
        self, queue: Float[Tensor, "2 queue dim"], context: Tensor, target: Tensor
    ) -> None:
        views = torch.stack([context, target], dim=1).float()
        new = dealt_order(all_gather(normalize(views, dim=-1))).transpose(0, 1)
        queue.copy_(torch.cat([new, queue], dim=1)[:, : queue.shape[1]])
