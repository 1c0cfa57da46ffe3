"""SwAV: each view predicts the other's soft assignment to prototypes, balanced over the batch.

Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments",
arXiv 2006.09882, equations 1 to 6 and algorithm 1; its small crops are scaled to the size of the
views. Left out: prototypes that stand still in the first epoch.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from adassl.collectives import all_gather, dealt_order, rank, world_size
from adassl.config import MethodConfig
from adassl.objectives.objective import Comparison, Objective
from adassl.objectives.prototypes import Prototypes, with_local


@torch.no_grad()
def sinkhorn(
    scores: Float[Tensor, "rows prototypes"], *, epsilon: float, iterations: int
) -> Float[Tensor, "rows prototypes"]:
    """Codes of this worker's rows: probabilities over prototypes, used alike by the global batch.

    Sinkhorn-Knopp on exp(scores / epsilon): in turn every prototype is given the same share of the
    global batch (sums over all workers), and every row the sum 1, the rows last. In logarithms, so
    that no epsilon overflows. Workers may bring different numbers of rows.

    Args:
        scores: cosines of embeddings with prototypes.
        epsilon: the smaller, the nearer the codes are to one prototype a row.
        iterations: how often; 3 in the paper.
    """
    log_codes = scores.float() / epsilon
    for _ in range(iterations):
        own = log_codes.logsumexp(dim=0, keepdim=True)
        log_codes = log_codes - all_gather(own).logsumexp(dim=0)
        log_codes = log_codes - log_codes.logsumexp(dim=1, keepdim=True)
    return log_codes.exp()


def swapped_prediction(
    scores: Float[Tensor, "rows prototypes"],
    codes: Float[Tensor, "rows prototypes"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Cross-entropy in nats of softmax(scores / temperature) under the codes, mean over rows.

    Args:
        scores: cosines of one view with the prototypes.
        codes: what the other view was assigned to; constants.
        temperature: divides the cosines.
    """
    return -(codes * (scores.float() / temperature).log_softmax(dim=-1)).sum(dim=-1).mean()


class SwAV(Objective):
    """Scores of each view against the codes of the other.

    And those of each small crop, where there are any, against both (equation 6).

    Both by the online encoder: the codes are constants, so the gradient goes through the scores
    alone, and through the prototypes there.

    The queue (`queue_size` > 0) holds unit embeddings of the latest pairs of the global batch, of
    each view by itself, the newest first. They take part in the balance of the codes and in
    nothing else, from the second step on; the paper's starts after some epochs. Rows of noughts
    are not yet filled. It is in the state dict, in the order in which the global batch was dealt
    out, so a resumed run has the same one, on any number of workers.
    """

    queue: Tensor | None

    def __init__(self, config: MethodConfig) -> None:
        super().__init__()
        self.temperature = config.temperature
        self.epsilon = config.sinkhorn_epsilon
        self.iterations = config.sinkhorn_iterations
        self.prototypes = Prototypes(config.embedding_dim, config.num_prototypes)
        shape = (2, config.queue_size, config.embedding_dim)
        self.register_buffer("queue", torch.zeros(shape) if config.queue_size else None)

    def forward(self, comparison: Comparison, *, step: int) -> Float[Tensor, ""]:
        """`swapped_prediction` of all rows; the step plays no part."""
        destinations = comparison.destination.detach().split(comparison.batch)
        # Of the forward direction the destination is x+, of the reverse one x.
        queues = (None, None) if self.queue is None else (self.queue[1], self.queue[0])
        codes = [self._codes(d, q) for d, q in zip(destinations, queues, strict=False)]
        scores, aims = with_local(self.prototypes, comparison, torch.cat(codes))
        loss = swapped_prediction(scores, aims, self.temperature)
        if self.training and self.queue is not None:
            self._remember(self.queue, comparison)
        return loss

    @torch.no_grad()
    def _codes(
        self, embedding: Float[Tensor, "batch dim"], queue: Float[Tensor, "queue dim"] | None
    ) -> Float[Tensor, "batch prototypes"]:
        rows = embedding.float()
        if queue is not None:
            # The queue is the same on all workers: each takes its share of the filled rows.
            share = queue[rank() :: world_size()]
            rows = torch.cat([rows, share[share.any(dim=-1)]])
        codes = sinkhorn(self.prototypes(rows), epsilon=self.epsilon, iterations=self.iterations)
        return codes[: len(embedding)]

    @torch.no_grad()
    def _remember(self, queue: Float[Tensor, "2 queue dim"], comparison: Comparison) -> None:
        views = torch.stack([comparison.context, comparison.target], dim=1).float()
        new = dealt_order(all_gather(normalize(views, dim=-1))).transpose(0, 1)
        queue.copy_(torch.cat([new, queue], dim=1)[:, : queue.shape[1]])
