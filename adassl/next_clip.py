"""Next-clip log-likelihood: how well sampled futures predict the next clip, without labels.

A metric to tune by: the loss cannot be compared between settings of β, and falls to zero where r
copies x+. Here r is drawn without seeing x+: from the prior p(r | x), or, for a sparse r, which has
none, from the r of other pairs.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from adassl.collectives import all_gather, dealt_order, rank, world_size
from adassl.method import Method
from adassl.step_output import StepOutput

NUM_FUTURES = 16
_TEMPERATURES = tuple(0.02 * 2 ** (i / 2) for i in range(12))


def next_clip_nats(
    futures: Float[Tensor, "samples pairs dim"],
    targets: Float[Tensor, "pairs dim"],
    group: Int[Tensor, " pairs"] | None = None,
) -> float:
    """Log-probability of the true next clip among all of them, in nats above chance.

    The futures of a pair make a mixture: p(j) = mean over k of softmax_j(future_k · target_j / τ),
    with the τ, of twelve from 0.02 to 0.9, at which these pairs score best, so that settings with
    other temperatures compare. A log score: at best log(pairs), 0 for guessing, and less for
    futures that are sure of something else.

    Args:
        futures: unit embeddings of what may follow each clip.
        targets: of what did.
        group: which video each pair comes from: the next clip is then looked for among those of
            its own video alone. Pairs that are alone in theirs do not count; NaN if all are.
    """
    return _best(futures, targets, group)[0]


def next_clip_temperature(
    futures: Float[Tensor, "samples pairs dim"],
    targets: Float[Tensor, "pairs dim"],
    group: Int[Tensor, " pairs"] | None = None,
) -> float:
    """The temperature at which futures tell the next clip from the others best.

    That of `next_clip_nats`, whose arguments these are. NaN where all pairs are alone in their
    group.
    """
    return _best(futures, targets, group)[1]


def _best(
    futures: Float[Tensor, "samples pairs dim"],
    targets: Float[Tensor, "pairs dim"],
    group: Int[Tensor, " pairs"] | None,
) -> tuple[float, float]:
    """The score at the best of the temperatures, and which that is."""
    num_samples = len(futures)
    same = torch.ones(len(targets), len(targets), dtype=torch.bool, device=targets.device)
    if group is not None:
        same = group[:, None] == group
    candidates = same.sum(dim=1)
    counts = candidates > 1 if group is not None else candidates > 0
    if not counts.any():
        return math.nan, math.nan
    scores = []
    for temperature in _TEMPERATURES:
        own = [
            torch.log_softmax(
                (future @ targets.T / temperature).masked_fill(~same, -torch.inf), dim=-1
            ).diagonal()
            for future in futures.float()
        ]
        scores.append(float(torch.logsumexp(torch.stack(own), dim=0)[counts].mean()))
    chance = float(candidates[counts].double().log().mean())
    score, temperature = max(zip(scores, _TEMPERATURES, strict=True))
    return score - math.log(num_samples) + chance, temperature


@torch.no_grad()
def sample_futures(
    method: Method,
    context_embedding: Float[Tensor, "batch dim"],
    output: StepOutput,
    generator: torch.Generator,
) -> Float[Tensor, "pairs samples dim"]:
    """Unit embeddings of what may follow each clip, drawn without seeing what did.

    Where r has no prior, a clip gets the r of other pairs of the global batch, never its own, which
    has seen the next clip; in a global batch of a single pair r is 0.

    Args:
        method: in evaluation mode.
        context_embedding: z of this worker's pairs as `Method.encode` gives it; the pairs are dealt
            out to the workers one at a time.
        output: of the method for these pairs.
        generator: source of all randomness, in the same state on every worker; the r of other pairs
            are then the same on any number of workers.
    """
    if method.has_futures:
        return method.futures_of(context_embedding, NUM_FUTURES, generator).transpose(0, 1)
    assert output.latent is not None, "only a latent can be without a prior"
    latent = dealt_order(all_gather(output.latent.value))
    if len(latent) == 1:
        latent = torch.zeros_like(latent)
    edited = [
        method.predictor(method.edit(context_embedding, latent[other[rank() :: world_size()]]))
        for other in (
            other_pairs(len(latent), generator).to(latent.device) for _ in range(NUM_FUTURES)
        )
    ]
    return normalize(torch.stack(edited, dim=1).float(), dim=-1)


def other_pairs(num_pairs: int, generator: torch.Generator) -> Int[Tensor, " pairs"]:
    """For each pair the number of another one: a random cycle through all, so without fixed points.

    Args:
        num_pairs: at least 2, or the only pair gets itself.
        generator: source of all randomness.
    """
    order = torch.randperm(num_pairs, generator=generator, device=generator.device)
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    return other
