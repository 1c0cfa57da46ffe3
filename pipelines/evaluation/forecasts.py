"""Scores of sampled forecasts against the outcomes: pure numpy, no model.

A forecast is k samples. The energy score and the CRPS are proper (Gneiting and Raftery, "Strictly
proper scoring rules, prediction, and estimation", JASA 2007): on average none scores better than
one that samples from the true distribution of the outcomes. Both are losses, in the unit of the
outcomes. With few samples their usual estimate favours forecasts that spread too little; the one
here, over the pairs of distinct samples, is fair (Ferro, "Fair scores for ensemble forecasts",
QJRMS 2014).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

Array = NDArray[Any]

_SAME = 1e-12
"""Differences of cosines that are rounding."""


@dataclass(frozen=True, kw_only=True)
class Recall:
    """How often the truth is among the first k that are retrieved.

    Attributes:
        one: by a single sampled future, averaged over the samples.
        best: by any of the sampled futures.
        chance_one: `one` of k random picks.
        chance_best: `best` of as many random picks as all futures retrieve, all distinct: no
            guesses do better.
    """

    one: float
    best: float
    chance_one: float
    chance_best: float


def energy_score(
    samples: Float[Array, "n k d"], outcomes: Float[Array, "n d"]
) -> Float[Array, " n"]:
    """E‖X − y‖ − ½ E‖X − X′‖ of each forecast (Gneiting and Raftery 2007, section 4.3; negated).

    The second mean is over the k(k − 1) pairs of distinct samples. A single sample is a point
    forecast, whose score is its distance from the outcome.
    """
    if samples.ndim != 3 or samples.shape[::2] != outcomes.shape:
        raise _mismatch(samples, outcomes, "[n, k, d] and [n, d]")
    num_samples = samples.shape[1]
    error: Array = np.linalg.norm(samples - outcomes[:, None], axis=-1).mean(axis=1)
    if num_samples == 1:
        return error
    # One sample against the later ones at a time: all pairs at once would not fit in memory.
    spread = np.zeros_like(error)
    for i in range(num_samples - 1):
        spread += np.linalg.norm(samples[:, i + 1 :] - samples[:, i : i + 1], axis=-1).sum(axis=1)
    score: Array = error - spread / (num_samples * (num_samples - 1))
    return score


def crps(samples: Float[Array, "n k"], outcomes: Float[Array, " n"]) -> Float[Array, " n"]:
    """E|X − y| − ½ E|X − X′| of each forecast (Gneiting and Raftery 2007, section 4.2; negated).

    The energy score in one dimension, by sorting: in order, sample i of k (from 1) is the larger
    of i − 1 pairs and the smaller of k − i, so that it counts 2i − k − 1 times.
    """
    _check_samples(samples, outcomes)
    num_samples = samples.shape[1]
    error: Array = np.abs(samples - outcomes[:, None]).mean(axis=1)
    if num_samples == 1:
        return error
    counts = 2 * np.arange(1, num_samples + 1) - num_samples - 1
    spread: Array = np.sort(samples, axis=1) @ counts
    score: Array = error - spread / (num_samples * (num_samples - 1))
    return score


def rank_histogram(
    samples: Float[Array, "n k"], outcomes: Float[Array, " n"], rng: np.random.Generator
) -> Int[Array, " k+1"]:
    """How many outcomes lie above 0, 1, ..., k of their samples; ties are broken at random.

    Flat for samples of the true distribution; heaped at both ends for samples too close
    together, in the middle for samples too far apart.
    """
    _check_samples(samples, outcomes)
    below = (samples < outcomes[:, None]).sum(axis=1)
    ties = (samples == outcomes[:, None]).sum(axis=1)
    return np.bincount(below + rng.integers(0, ties + 1), minlength=samples.shape[1] + 1)


def uniformity_p(counts: Int[Array, " bins"]) -> float:
    """Chance of counts no flatter than these if all bins were equally likely (chi-square test).

    The test is of large counts: have 5 or more a bin on average.
    """
    return float(stats.chisquare(counts).pvalue)


def recall_at(
    k: int,
    queries: Float[Array, "q s dim"],
    bank: Float[Array, "b dim"],
    truth: Int[Array, " q"],
) -> Recall:
    """How often the s futures sampled for each query retrieve its truth by cosine.

    The truth is found where fewer than k others of the bank are as near or nearer: a collapsed
    representation, to which all are alike, finds nothing.

    Args:
        k: how many of the bank each future retrieves.
        queries: of length 1, the sampled futures.
        bank: of length 1, what they retrieve from.
        truth: the row of the bank that is right for each query.

    Raises:
        ValueError: on a k that the bank does not have, a truth outside it, or other lengths.
    """
    if not 1 <= k <= len(bank):
        raise ValueError(f"k={k}: must be from 1 to {len(bank)}, the size of the bank")
    if len(truth) != len(queries) or not ((truth >= 0) & (truth < len(bank))).all():
        raise ValueError(
            f"{len(queries)} queries and {len(truth)} truths: each query needs one row of the "
            f"bank, 0 to {len(bank) - 1}"
        )
    for name, vectors in (("queries", queries), ("bank", bank)):
        lengths = np.linalg.norm(vectors, axis=-1)
        if not np.allclose(lengths, 1, atol=1e-3):
            raise ValueError(
                f"{name} of lengths {lengths.min():.3g} to {lengths.max():.3g}: cosines need "
                "length 1; normalise them"
            )
    bank, every = bank.astype(np.float64), np.arange(len(queries))
    hits = []
    for future in queries.swapaxes(0, 1).astype(np.float64):
        cosines = future @ bank.T
        own = cosines[every, truth][:, None]
        hits.append((cosines >= own - _SAME).sum(axis=1) <= k)  # the truth itself is one of them
    return Recall(
        one=float(np.mean(hits)),
        best=float(np.any(hits, axis=0).mean()),
        chance_one=k / len(bank),
        chance_best=min(1.0, len(hits) * k / len(bank)),
    )


def _check_samples(samples: Array, outcomes: Array) -> None:
    if samples.ndim != 2 or outcomes.shape != samples.shape[:1]:
        raise _mismatch(samples, outcomes, "[n, k] and [n]")


def _mismatch(samples: Array, outcomes: Array, expected: str) -> ValueError:
    return ValueError(
        f"samples of shape {samples.shape} and outcomes of shape {outcomes.shape}: "
        f"they must be {expected}"
    )
