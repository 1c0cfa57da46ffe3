"""The paired t-test of two scores over the same seeds or pairs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

Array = NDArray[Any]

SIGNIFICANT = 0.05
"""Two-sided p below which a test decides."""
_SAME = 1e-12
"""Differences of paired scores, relative to their size, that are rounding."""


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

    def __str__(self) -> str:
        """As the evidence of a verdict."""
        return f"difference {self.difference:+z.3f} over {self.n} seeds, {self.p_text}"

    @property
    def p_text(self) -> str:
        """`p = 0.013`."""
        return "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}"

    def is_positive(self, num_tests: int = 1) -> bool:
        """Whether a is significantly above b, at a level shared by so many tests (Bonferroni)."""
        return self.difference > 0 and self.p < SIGNIFICANT / num_tests


def paired_test(a: Float[Array, " n"], b: Float[Array, " n"]) -> PairedTest:
    """Student's paired t-test of two scores of the same things, such as the same seeds.

    Raises:
        ValueError: on fewer than two pairs, scores that are not finite, or unequal lengths.
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
