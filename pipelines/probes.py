"""Probes: what can be read off frozen features, fitted on training pairs, judged on test pairs.

Only training pairs choose anything: the scaling, the strength of the regularisation (by
cross-validation that keeps the pairs of a video together) and the fit.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.preprocessing import StandardScaler

Array = NDArray[Any]
Kind = Literal["class", "value"]

_FOLDS = 4
_RIDGE_STRENGTHS = tuple(10.0**e for e in range(-2, 6))
_LOGISTIC_STRENGTHS = tuple(10.0**e for e in range(3, -3, -1))
"""1 / C, strongest first, so that each fit starts near the next."""


@dataclass(frozen=True, kw_only=True)
class ProbeScore:
    """How well labels of test pairs were told.

    Attributes:
        probe: "linear" or "knn".
        kind: "class" is scored by accuracy, "value" by R² (0: no better than the mean).
        columns: the score of each label column.
        strength: of the regularisation chosen (lambda of ridge, 1/C of logistic); 0 for knn.
    """

    probe: Literal["linear", "knn"]
    kind: Kind
    columns: tuple[float, ...]
    strength: float = 0.0

    @property
    def score(self) -> float:
        """The mean over the columns."""
        return float(np.mean(self.columns))

    def metrics(self, *names: str) -> dict[str, float]:
        """Flat, one name a column: `digit/linear_accuracy`, `velocity_x/linear_r2`."""
        measure = "accuracy" if self.kind == "class" else "r2"
        return {
            f"{name}/{self.probe}_{measure}": score
            for name, score in zip(names, self.columns, strict=True)
        }


def linear_probe(
    features_train: Float[Array, "train dim"],
    labels_train: Shaped[Array, "train ..."],
    features_test: Float[Array, "test dim"],
    labels_test: Shaped[Array, "test ..."],
    *,
    kind: Kind,
    groups: Shaped[Array, " train"] | None = None,
) -> ProbeScore:
    """Logistic regression for classes, ridge regression for values, on standardised features.

    Args:
        features_train: to fit on.
        labels_train: [train] classes of any type, or values [train] or [train, columns].
        features_test: to judge on.
        labels_test: as `labels_train`.
        kind: what the labels are.
        groups: the video of each training pair, so that no fold is judged on a video it has seen.

    Raises:
        ValueError: on features and labels that do not belong together or are not finite.
    """
    data = _Split.of(features_train, labels_train, features_test, labels_test, kind)
    groups = np.arange(len(data.x_train)) if groups is None else np.asarray(groups)
    folds = _folds(data, kind, groups)
    strengths = _LOGISTIC_STRENGTHS if kind == "class" else _RIDGE_STRENGTHS
    scaler = StandardScaler().fit(data.x_train)
    with warnings.catch_warnings():
        # A weak regularisation that has not converged loses the comparison, no more.
        warnings.simplefilter("ignore", ConvergenceWarning)
        strength = _best_strength(data, kind, folds, strengths)
        model = _linear(kind, strength).fit(scaler.transform(data.x_train), data.y_train)
    columns = _scores(kind, data.y_test, model.predict(scaler.transform(data.x_test)))
    return ProbeScore(probe="linear", kind=kind, columns=columns, strength=strength)


def knn_probe(
    features_train: Float[Array, "train dim"],
    labels_train: Shaped[Array, "train ..."],
    features_test: Float[Array, "test dim"],
    labels_test: Shaped[Array, "test ..."],
    *,
    kind: Kind,
    num_neighbors: int = 20,
) -> ProbeScore:
    """The vote, or the mean, of the training pairs that are nearest by cosine.

    Raises:
        ValueError: on features and labels that do not belong together or are not finite.
    """
    data = _Split.of(features_train, labels_train, features_test, labels_test, kind)
    make = KNeighborsClassifier if kind == "class" else KNeighborsRegressor
    model = make(n_neighbors=min(num_neighbors, len(data.x_train)), metric="cosine")
    model.fit(data.x_train, data.y_train)
    columns = _scores(kind, data.y_test, model.predict(data.x_test))
    return ProbeScore(probe="knn", kind=kind, columns=columns)


@dataclass(frozen=True)
class _Split:
    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array

    @classmethod
    def of(
        cls, x_train: Array, y_train: Array, x_test: Array, y_test: Array, kind: Kind
    ) -> "_Split":
        for part, x, y in (("training", x_train, y_train), ("test", x_test, y_test)):
            if len(x) != len(y):
                raise ValueError(
                    f"{len(x)} {part} features and {len(y)} labels: there must be one label for "
                    "each row; were the pairs without a label left out of both?"
                )
            if not np.isfinite(x).all():
                raise ValueError(
                    f"{int((~np.isfinite(x)).any(axis=1).sum())} of {len(x)} {part} features are "
                    "not finite: the encoder diverged; use an earlier checkpoint"
                )
        if min(len(x_train), len(x_test)) < 2:
            raise ValueError(
                f"{len(x_train)} training and {len(x_test)} test pairs: a probe needs at least 2 "
                "of each; embed more pairs"
            )
        return cls(
            np.asarray(x_train, np.float64),
            _labels(y_train, kind),
            np.asarray(x_test, np.float64),
            _labels(y_test, kind),
        )


def _labels(labels: Array, kind: Kind) -> Array:
    if kind == "value":
        return np.asarray(labels, np.float64)
    return labels.astype(str) if labels.dtype == object else labels


def _folds(data: _Split, kind: Kind, groups: Array) -> list[tuple[Array, Array]]:
    """Divisions of the training pairs by video; none where a single video leaves no choice."""
    num_folds = min(_FOLDS, len(np.unique(groups)))
    if num_folds < 2:
        return []
    make = StratifiedGroupKFold if kind == "class" else GroupKFold
    splitter = make(num_folds)
    strata = data.y_train if kind == "class" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class rarer than the folds
        folds = list(splitter.split(data.x_train, strata, groups))
    # A class that only the judged videos show cannot be learnt, but two are needed to fit at all.
    return [f for f in folds if kind == "value" or len(np.unique(data.y_train[f[0]])) > 1]


def _best_strength(
    data: _Split,
    kind: Kind,
    folds: list[tuple[Array, Array]],
    strengths: tuple[float, ...],
) -> float:
    if not folds:
        return 1.0
    scores = np.zeros((len(folds), len(strengths)))
    for row, (fitted, judged) in zip(scores, folds, strict=True):
        scaler = StandardScaler().fit(data.x_train[fitted])
        x_fitted, x_judged = (scaler.transform(data.x_train[part]) for part in (fitted, judged))
        model = _linear(kind, strengths[0])
        for column, strength in enumerate(strengths):
            _set_strength(model, strength)
            model.fit(x_fitted, data.y_train[fitted])
            predicted = model.predict(x_judged)
            row[column] = np.mean(_scores(kind, data.y_train[judged], predicted))
    return strengths[int(scores.mean(axis=0).argmax())]


def _linear(kind: Kind, strength: float) -> Any:
    model = (
        LogisticRegression(max_iter=300, tol=1e-3, warm_start=True) if kind == "class" else Ridge()
    )
    _set_strength(model, strength)
    return model


def _set_strength(model: Any, strength: float) -> None:
    if isinstance(model, Ridge):
        model.set_params(alpha=strength)
    else:
        model.set_params(C=1 / strength)


def _scores(kind: Kind, truth: Array, predicted: Array) -> tuple[float, ...]:
    if kind == "class":
        return (float(np.mean(predicted == truth)),)
    return tuple(float(r) for r in r2_score(truth, predicted, multioutput="raw_values"))
