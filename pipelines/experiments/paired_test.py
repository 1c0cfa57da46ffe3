"""The paired t-test of two arms over the same seeds or pairs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

Array = NDArray[Any]

_SAME = 1e-12
"""Differences of paired scores, against their size, that are rounding."""


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """Whether a differs from b, pair by pair.

    Attributes:
        difference: the mean of a − b.
        sd: the standard deviation of a − b over the pairs (n − 1 degrees of freedom).
        p: two-sided, of no difference; where all pairs differ by the same, 1 for 0, else 0.
        n: the number of pairs.
    """

    difference: float
    sd: float
    p: float
    n: int


def paired_test(a: Float[Array, " n"], b: Float[Array, " n"]) -> PairedTest:
    """Student's paired t-test of two scores of the same things, such as the same seeds.

    Raises:
        ValueError: on fewer than two pairs, scores that are not finite, or unlike lengths.
    """
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise ValueError(
            f"scores of shapes {a.shape} and {b.shape}: a paired test needs two of one length, "
            "of at least 2; run more seeds"
        )
    differences = a - b
    if not np.isfinite(differences).all():
        raise ValueError(
            f"{int((~np.isfinite(differences)).sum())} of {len(a)} pairs are not finite: leave "
            "them out of both, and say so"
        )
    difference, sd = float(differences.mean()), float(differences.std(ddof=1))
    rounding = _SAME * max(np.abs(a).max(), np.abs(b).max())
    if sd <= rounding:
        p = float(abs(difference) <= rounding)
        return PairedTest(difference=difference, sd=sd, p=p, n=len(a))
    p = float(stats.ttest_rel(a, b).pvalue)
    return PairedTest(difference=difference, sd=sd, p=p, n=len(a))
