"""Chains of moments x_1, ..., x_k: the editor applied again and again, each time with a new r.

    e_1  = f(x_1),   r_j ~ q(r_j | e_(j-1), f(x_j)),   e_j = t(e_(j-1), r_j),   j = 2 ... k
    KL_j = KL(q(r_j | e_(j-1), f(x_j)) || p(r_j | e_(j-1)))
    L    = mean over j of  L_ssl(e_j, f(x_j)) + beta * KL_j

`Method` trains on them where `Views.further` holds x_3 to x_k; with k = 2 it is AdaSSL
(arXiv 2602.02381). In reverse x_k is led to x_(k-1), ..., x_1 by the same editor and latent.

**What the loss bounds.** Let z_j = f(x_j), and L_j be InfoNCE among N candidates that are drawn
from p(z_j) independently. Two bounds follow, both from the paper's step for pairs,
I(a; z) = I(a, r; z) - I(r; z | a).

*A step, given all before it.* With a = e_(j-1): log N - L_j is at most I(e_(j-1), r_j; z_j), since
e_j is a function of the two. And I(r_j; z_j | e_(j-1)) is at most the mean of KL_j, since p reads
nothing but e_(j-1). As e_(j-1) is a function of z_1, ..., z_(j-1) and noise,

    log N - L_j - KL_j  <=  I(e_(j-1); z_j)  <=  I(x_1, ..., x_(j-1); x_j).                      (1)

Summed over j the right side is the total correlation of the chain: at beta = 1, k - 1 times -L is
at most that, up to log N.

*What x_1 alone tells of x_j.* With a = z_1 and r = (r_2, ..., r_j): e_j is a function of z_1 and r.
I(r; z_j | z_1) is at most I(r; z_2, ..., z_j | z_1), at most the mean KL of the product of the
q(r_i | e_(i-1), z_i) to the product of the p(r_i | e_(i-1)), which is the sum of the KL_i, as
e_(i-1) follows from z_1 and r_2, ..., r_(i-1):

    log N - L_j - (KL_2 + ... + KL_j)  <=  I(x_1; x_j).                                          (2)

**Why the prior reads e_(j-1) and not f(x_(j-1)).** For (1) either would do. For (2), and so for
forecasts from x_1, it must be e_(j-1): a product of p(r_i | f(x_(i-1))) is no distribution of r
given x_1, r_i would carry for nothing what x_(i-1) tells, and to sample it x_(i-1) must be known.
The posterior could read f(x_(j-1)) too. It reads e_(j-1) as for pairs: r_j has to say what the
edited embedding lacks, and what it lacks is charged at the step at which it is said.

As for pairs, this is of contrastive objectives, and of a variational r; with others chains are
empirical.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from adassl.forecaster import Forecaster
from adassl.method import Method


@torch.no_grad()
def chain_futures(
    method: Method,
    context_embedding: Float[Tensor, "batch dim"],
    num_samples: int,
    num_steps: int,
    generator: torch.Generator | None = None,
    *,
    rescaled: bool = False,
    forecaster: Forecaster | None = None,
) -> Float[Tensor, "steps batch samples dim"]:
    """What may come next, after that, and so on: unit vectors, to compare with `encode_target`.

    r_2 ~ p(r | e_1), e_2 = t(e_1, r_2), r_3 ~ p(r | e_2), ..., independent for each sample. Call it
    in evaluation mode.

    Args:
        method: trained on chains or on pairs.
        context_embedding: z as `Method.encode` gives it.
        num_samples: futures of each context; a method without r has one.
        num_steps: edits one after another.
        generator: source of the noise; None: torch's global generator.
        rescaled: False: an edited embedding is edited again as it is, as in training on chains.
            True: each future gets the mean length of the contexts first. The loss sees directions
            alone, so a method trained on pairs has nothing to keep the length of what it edited.
        forecaster: draws r and places futures by what training pairs show, instead of the prior
            that was learnt; its futures are directions, so they are rescaled in any case.

    Raises:
        NotImplementedError: the latent has no prior (see `Method.has_futures`).
    """
    length = context_embedding.norm(dim=-1).mean()
    samples = 1 if method.latent is None else num_samples
    embedding = context_embedding.repeat_interleave(samples, dim=0)
    steps = []
    for _ in range(num_steps):
        if forecaster is None:
            embedding, unit = _next(method, embedding, generator)
        else:
            unit = forecaster.futures(embedding, 1, generator)[0]
        steps.append(unit.unflatten(0, (len(context_embedding), samples)))
        if rescaled or forecaster is not None:
            embedding = unit * length
    return torch.stack(steps)


def _next(
    method: Method, embedding: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """The edited embeddings, and the directions that the predictor makes of them."""
    latent = None
    if method.latent is not None:
        latent = method.latent.sample_prior(embedding, 1, generator)[0]
    edited = method.edit(embedding, latent)
    return edited, normalize(method.predictor(edited).float(), dim=-1)
