"""The size of r found while it trains: dimensions that carry nothing are switched off.

Neither paper of the method says how large r should be. Here it starts larger than any change needs.
Between a quarter and three quarters of the training, its dimensions are tried in turn: those whose
loss, all of them at 0, the objective does not feel are switched off for good, and the others learn
on. What it feels is measured against what all of r is worth, so one tolerance serves every
objective:

    worth = L_ssl(r = 0) - L_ssl(r),   cost(off) = (L_ssl(r without off) - L_ssl(r)) / worth

The KL alone would not do: it leaves unused dimensions at 0 nats where it presses on all of r, but
with free bits, or a small beta, r says the same thing several times over, and each dimension has
its share of the nats though the others could say it alone.
"""

import torch
from torch import Tensor

from adassl.collectives import all_reduce_mean
from adassl.latents import Latent, SparseLatent
from adassl.method import Method
from adassl.pairs import EncodedPairs
from adassl.variational import PosteriorLatent
from adassl.views import Views

FROM, UNTIL = 0.25, 0.75
"""Shares of the training between which dimensions are switched off."""
ROUNDS = 25
TOLERANCE = 0.02
"""Of what r is worth, which a round may cost."""


def is_round(step: int, total_steps: int) -> bool:
    """Whether dimensions are tried after this step."""
    every = max(1, round((UNTIL - FROM) * total_steps / ROUNDS))
    first, last = FROM * total_steps, UNTIL * total_steps
    return first <= step <= last and (step - round(first)) % every == 0


def num_kept(latent: Latent | None) -> int:
    """Dimensions of r that are used; 0 without r."""
    if not isinstance(latent, PosteriorLatent | SparseLatent):
        return 0
    return latent.latent_dim if latent.kept is None else int(latent.kept.sum())


@torch.no_grad()
def switch_off_idle(method: Method, views: Views, *, step: int) -> None:
    """Switch off the dimensions of r that the loss of a batch does not need; one at least stays.

    Every worker decides alike, by the loss of the global batch. Nothing happens without r, or where
    its size is fixed.
    """
    latent = method.latent
    if not isinstance(latent, PosteriorLatent | SparseLatent) or latent.kept is None:
        return
    kept_of = latent.kept
    was_training = method.training
    method.eval()
    pairs = method.encode_views(views)
    before = kept_of.clone()

    def loss(kept: Tensor) -> float:
        kept_of.copy_(kept)
        return float(all_reduce_mean(ssl_of(method, pairs, step=step)))

    full, none = loss(before), loss(torch.zeros_like(before))
    allowed = full + TOLERANCE * (none - full)
    kept = before.clone()
    if none > full:
        costs = {i: loss(without(before, i)) for i in before.nonzero().flatten().tolist()}
        for dimension in sorted(costs, key=costs.__getitem__)[: len(costs) - 1]:
            fewer = without(kept, dimension)
            if loss(fewer) > allowed:
                break
            kept = fewer
    kept_of.copy_(kept)
    method.train(was_training)


def without(kept: Tensor, dimension: int) -> Tensor:
    """The same without one dimension."""
    fewer = kept.clone()
    fewer[dimension] = 0
    return fewer


def ssl_of(method: Method, pairs: EncodedPairs, *, step: int) -> Tensor:
    """The loss without the regulariser at the most likely r."""
    assert method.latent is not None
    edited, losses = pairs.source, []
    for each in pairs.steps:
        zeros = torch.zeros(len(edited), method.latent.latent_dim, device=edited.device)
        edited = method.editor(edited, method.latent(edited, each.evidence, zeros).value)
        noise = torch.Generator().manual_seed(step)
        losses.append(method.compare(each, edited, step=step, generator=noise)[0])
    return torch.stack(losses).mean()
