"""DCI: does each code dimension hold one factor, and does one dimension hold each factor?

Eastwood and Williams, "A framework for the quantitative evaluation of disentangled
representations" (ICLR 2018). From the importance R_ij of code dimension i to a model that
predicts factor j:

    disentanglement  1 − H(row i) to the base of the number of factors, rows weighted by their sum
    completeness     1 − H(column j) to the base of the number of codes, columns likewise

Their third score, informativeness, is what the probes measure.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LassoCV, Ridge
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class ImportanceScore:
    """Scores of a matrix of importances, 0 (all alike) to 1 (one to one).

    Attributes:
        disentanglement: the mean of `codes`, weighted by the importance of each.
        completeness: the mean of `factors`, weighted likewise.
        codes: of each code dimension, 1 where it holds a single factor; 0 where it holds none.
        factors: of each factor, 1 where a single code dimension holds it; 0 where none does.
    """

    disentanglement: float
    completeness: float
    codes: tuple[float, ...]
    factors: tuple[float, ...]


def linear_importance(
    codes: Float[Array, "pairs codes"], factors: Float[Array, "pairs factors"]
) -> Float[Array, "codes factors"]:
    """Importance by a ridge regression: the size of its weights, codes and factors standardised.

    Right where factors are linear in the codes, which the probes show.
    """
    scaled = StandardScaler().fit_transform(codes), StandardScaler().fit_transform(factors)
    weights: Float[Array, "codes factors"] = np.abs(Ridge().fit(*scaled).coef_.T)
    return weights


def lasso_importance(
    codes: Float[Array, "pairs codes"], factors: Float[Array, "pairs factors"]
) -> Float[Array, "codes factors"]:
    """Importance by a lasso for each factor, its strength cross-validated: the papers' measure.

    Eastwood and Williams, and AdaSSL. A sparse fit uses few of many correlated codes, so it rewards
    a rotation of a code that has more dimensions than factors: see `linear_importance` beside it.
    """
    scaled = StandardScaler().fit_transform(codes), StandardScaler().fit_transform(factors)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        # A weak penalty that has not converged loses the cross-validation, no more.
        warnings.simplefilter("ignore", ConvergenceWarning)
        weights = [np.abs(LassoCV(cv=5).fit(scaled[0], factor).coef_) for factor in scaled[1].T]
    return np.stack(weights, axis=1)


def dci_metrics(
    codes: Float[Array, "pairs codes"], factors: Float[Array, "pairs factors"]
) -> dict[str, float]:
    """`dci` and `dci_completeness` by the lasso of the papers, `dci_ridge` and so on by the ridge.

    Factors that do not vary are left out, as are codes. Nothing where fewer than two are left.
    """
    codes, factors = (values[:, values.std(axis=0) > 0] for values in (codes, factors))
    if min(codes.shape[1], factors.shape[1]) < 2:
        return {}
    metrics = {}
    for name, measure in (("dci", lasso_importance), ("dci_ridge", linear_importance)):
        score = dci_of_importance(measure(codes, factors))
        metrics[name] = score.disentanglement
        metrics[f"{name}_completeness"] = score.completeness
    return metrics


def dci_of_importance(importance: Float[Array, "codes factors"]) -> ImportanceScore:
    """Disentanglement and completeness of the importance of each code dimension to each factor.

    Both are 0 where nothing is of importance, as of a code that is constant.

    Raises:
        ValueError: on fewer than two codes or factors, or importances below 0 or not finite.
    """
    if importance.ndim != 2 or min(importance.shape) < 2:
        raise ValueError(
            f"importance of shape {importance.shape}: with fewer than two code dimensions or "
            "factors there is nothing to entangle; give [codes, factors]"
        )
    if not (np.isfinite(importance).all() and (importance >= 0).all()):
        raise ValueError(
            f"importance from {importance.min()} to {importance.max()}: each must be finite and "
            "at least 0; did you mean the absolute weights?"
        )
    codes, factors = _concentration(importance), _concentration(importance.T)
    return ImportanceScore(
        disentanglement=_weighted(codes, importance.sum(axis=1)),
        completeness=_weighted(factors, importance.sum(axis=0)),
        codes=tuple(codes.tolist()),
        factors=tuple(factors.tolist()),
    )


def _concentration(rows: Float[Array, "rows columns"]) -> Float[Array, " rows"]:
    """1 − entropy of each row, to the base of its length; 0 for a row of zeros."""
    sums = rows.sum(axis=1, keepdims=True)
    alike = np.full_like(rows, 1 / rows.shape[1], dtype=np.float64)
    shares = np.divide(rows, sums, out=alike, where=sums > 0)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    scores: Array = 1 + (shares * logs).sum(axis=1) / np.log(rows.shape[1])
    return np.clip(scores, 0.0, 1.0)


def _weighted(scores: Float[Array, " rows"], weights: Float[Array, " rows"]) -> float:
    return float(scores @ weights / weights.sum()) if weights.any() else 0.0
