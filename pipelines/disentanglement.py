"""DCI: does each dimension of a code say one thing, and is each thing said in one dimension?

Eastwood and Williams, "A framework for the quantitative evaluation of disentangled
representations" (ICLR 2018). From the importance R_ij of code dimension i to a model that tells
factor j:

    disentanglement  1 − H(row i) to the base of the number of factors, rows weighted by their sum
    completeness     1 − H(column j) to the base of the number of codes, columns likewise
    informativeness  how well the model tells each factor of pairs it has not seen

The paper gives informativeness as an error; here it is R² or accuracy, so that more is better in
all three. It averages completeness over the factors, which is the same where, as with trees, the
importances of each factor sum to 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Num
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

Array = NDArray[Any]
Kind = Literal["class", "value"]


@dataclass(frozen=True, kw_only=True)
class ImportanceScore:
    """What a matrix of importances says, 0 (all alike) to 1 (one to one).

    Attributes:
        disentanglement: the mean of `codes`, weighted by the importance of each.
        completeness: the mean of `factors`, weighted likewise.
        codes: of each code dimension, 1 where it says a single factor; 0 where it says nothing.
        factors: of each factor, 1 where a single code dimension says it; 0 where none does.
    """

    disentanglement: float
    completeness: float
    codes: tuple[float, ...]
    factors: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class DCI(ImportanceScore):
    """The three scores of a code.

    Attributes:
        informativeness: of each factor, R² of a value or accuracy of a class, on test pairs.
    """

    informativeness: tuple[float, ...]


def linear_importance(
    codes: Float[Array, "pairs codes"], factors: Float[Array, "pairs factors"]
) -> Float[Array, "codes factors"]:
    """Importance by a ridge regression: the size of its weights, codes and factors standardised.

    Quick, and right where factors are linear in the codes; `dci` asks trees instead.
    """
    scaled = StandardScaler().fit_transform(codes), StandardScaler().fit_transform(factors)
    weights: Float[Array, "codes factors"] = np.abs(Ridge().fit(*scaled).coef_.T)
    return weights


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


def dci(
    codes_train: Float[Array, "train codes"],
    factors_train: Num[Array, "train factors"],
    codes_test: Float[Array, "test codes"],
    factors_test: Num[Array, "test factors"],
    seed: int,
    *,
    kinds: Sequence[Kind] | None = None,
) -> DCI:
    """DCI by gradient-boosted trees, one model a factor.

    Trees find factors that lie on no straight line, need no scaling and choose no strength; their
    importance is the share of the error that splits on a dimension took away. scikit-learn's
    defaults (100 trees of depth 3), each on a random half of the pairs, which is twice as fast.
    With 2,000 pairs of 64 dimensions a value takes some 1.3 s of one core, and a class as much
    for each of its classes: give few dimensions, or few factors.

    Args:
        codes_train: to fit on, such as representations.
        factors_train: ground truth, a column each.
        codes_test: to judge on.
        factors_test: as `factors_train`.
        seed: of the halves, and of the order in which dimensions are tried.
        kinds: what each factor is; without it all are values.

    Raises:
        ValueError: on shapes that do not belong together, and as `dci_of_importance`.
    """
    num_codes, num_factors = codes_train.shape[1], factors_train.shape[1]
    kinds = ("value",) * num_factors if kinds is None else kinds
    shapes = [a.shape for a in (codes_train, factors_train, codes_test, factors_test)]
    expected = [(len(x), n) for x in (codes_train, codes_test) for n in (num_codes, num_factors)]
    if shapes != expected or len(kinds) != num_factors:
        raise ValueError(
            f"codes and factors of shapes {shapes} and {len(kinds)} kinds: they must be "
            f"{expected} and {num_factors}; is a label missing from one of them?"
        )
    models = [
        _trees(kind, seed).fit(codes_train, column)
        for kind, column in zip(kinds, factors_train.T, strict=True)
    ]
    found = dci_of_importance(np.stack([m.feature_importances_ for m in models], axis=1))
    told = tuple(
        float(m.score(codes_test, column)) for m, column in zip(models, factors_test.T, strict=True)
    )
    return DCI(**vars(found), informativeness=told)


def _trees(kind: Kind, seed: int) -> Any:
    make = GradientBoostingClassifier if kind == "class" else GradientBoostingRegressor
    return make(subsample=0.5, random_state=seed)


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
