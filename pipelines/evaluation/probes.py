"""Probes: what can be read from frozen features, fitted on training pairs, tested on test pairs.

Scaling and fit see training pairs only. The strength of the regularisation is chosen on a
validation split where one is given, else by cross-validation that keeps the pairs of a video
together; the best score wins, of equal ones the first in the grid. One strength serves all columns
of a call: give columns of unlike difficulty apart. Only the MLP draws at random, from a seed: the
same call gives the same scores, bit for bit, on one machine. Fits use one thread: with more they
would wait for one another.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, r2_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    PredefinedSplit,
    StratifiedGroupKFold,
)
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

Array = NDArray[Any]
Kind = Literal["class", "value"]
Validation = tuple[Float[Array, "validation dim"], Shaped[Array, "validation ..."]]

_FOLDS = 4
_RIDGE_STRENGTHS = tuple(10.0**e for e in range(-2, 6))
_LOGISTIC_STRENGTHS = tuple(10.0**e for e in range(3, -3, -1))
"""1 / C, the strongest first."""
_LOGISTIC: dict[str, Any] = {"max_iter": 300, "tol": 1e-3}
_MLP_STRENGTHS, _MLP_LAYERS, _MLP_EPOCHS = (1.0, 10.0, 100.0), (128,), 60


@dataclass(frozen=True, kw_only=True)
class ProbeScore:
    """How well labels of test pairs were predicted.

    Attributes:
        probe: "linear", "knn" or "mlp".
        kind: "class" is scored by accuracy, "value" by R² (0: no better than the mean).
        columns: the score of each label column.
        strength: of the regularisation chosen (lambda of ridge, 1/C of logistic, alpha of
            scikit-learn's MLP); 0 for knn.
        minority_f1: of a linear probe of two classes, F1 of the one that is rarer in training:
            where one is rare, accuracy says little.
    """

    probe: Literal["linear", "knn", "mlp"]
    kind: Kind
    columns: tuple[float, ...]
    strength: float = 0.0
    minority_f1: float | None = None

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
    validation: Validation | None = None,
) -> ProbeScore:
    """Logistic regression for classes, ridge regression for values, on standardised features.

    Args:
        features_train: to fit on.
        labels_train: [train] classes of any type, or values [train] or [train, columns].
        features_test: to test on.
        labels_test: as `labels_train`.
        kind: what the labels are.
        groups: the video of each training pair, so that no fold is scored on a video it has seen;
            unused with `validation`.
        validation: features and labels to choose the strength on, instead of cross-validation.

    Raises:
        ValueError: on features and labels that do not belong together or are not finite.
    """
    data = _data(features_train, labels_train, features_test, labels_test, kind)
    predicted, strength = _fitted(data, kind, *linear_model(kind), validation, groups)
    _, known, _, truth = data
    return ProbeScore(
        probe="linear",
        kind=kind,
        columns=scores(kind, truth, predicted),
        strength=strength,
        minority_f1=_minority_f1(known, truth, predicted) if kind == "class" else None,
    )


def linear_model(kind: Kind) -> tuple[Any, str, dict[float, float]]:
    """A linear model, the name of its parameter, and a grid of it by strength."""
    if kind == "class":
        model = LogisticRegression(**_LOGISTIC)
        return model, "C", {strength: 1 / strength for strength in _LOGISTIC_STRENGTHS}
    return Ridge(solver="svd"), "alpha", {strength: strength for strength in _RIDGE_STRENGTHS}


def _minority_f1(known: Array, truth: Array, predicted: Array) -> float | None:
    """F1 of the rarer of two classes by the training labels; None where there are not two."""
    kinds, counts = np.unique(known, return_counts=True)
    if len(kinds) != 2:
        return None
    rare = kinds[counts.argmin()]
    return float(f1_score(truth == rare, predicted == rare, zero_division=0.0))


def value_probe(
    features_train: Float[Array, "train dim"],
    labels_train: Float[Array, "train columns"],
    features_test: Float[Array, "test dim"],
    labels_test: Float[Array, "test columns"],
    *,
    groups: Shaped[Array, " train"] | None = None,
) -> ProbeScore:
    """Ridge regressions of many values at once, each with a strength of its own.

    For each column the same as a `linear_probe` of that column alone, at the cost of one. The
    strength in the result is the median over the columns.

    Raises:
        ValueError: on features and labels that do not belong together or are not finite.
    """
    x, y, x_test, y_test = _data(
        features_train, labels_train, features_test, labels_test, kind="value"
    )
    columns = np.arange(y.shape[1])
    best = np.full(len(columns), _RIDGE_STRENGTHS.index(1.0))
    with threadpool_limits(limits=1):
        videos = np.arange(len(x)) if groups is None else np.asarray(groups)
        folds = _folds(x, y, "value", videos)
        if folds:
            judged = [
                [scores("value", y[b], p) for p in _ridge(x[a], y[a], x[b])] for a, b in folds
            ]
            best = np.mean(judged, axis=0).argmax(axis=0)
        predicted = _ridge(x, y, x_test)[best, :, columns].T
    strength = float(np.median(np.take(_RIDGE_STRENGTHS, best)))
    return ProbeScore(
        probe="linear",
        kind="value",
        columns=scores("value", y_test, predicted),
        strength=strength,
    )


def _ridge(x: Array, y: Array, x_test: Array) -> Array:
    """Predictions of ridge regressions on standardised features: [strengths, test, columns]."""
    scaler = StandardScaler().fit(x)
    left, singular, right = np.linalg.svd(scaler.transform(x), full_matrices=False)
    mean = y.mean(axis=0)
    along, rotated = left.T @ (y - mean), scaler.transform(x_test) @ right.T
    found = [
        rotated @ (along * (singular / (singular**2 + strength))[:, None]) + mean
        for strength in _RIDGE_STRENGTHS
    ]
    return np.stack(found)


def mlp_probe(
    features_train: Float[Array, "train dim"],
    labels_train: Shaped[Array, "train ..."],
    features_test: Float[Array, "test dim"],
    labels_test: Shaped[Array, "test ..."],
    *,
    kind: Kind,
    validation: Validation,
    seed: int = 0,
) -> ProbeScore:
    """A perceptron with one hidden layer of 128: what is there, but not on a straight line.

    Features and values are standardised by the training pairs; 60 epochs of Adam in batches of
    200, for each of three strengths of weight decay, from initial weights and in an order drawn
    by `seed`. The rest is as for `linear_probe`.

    Raises:
        ValueError: on features and labels that do not belong together or are not finite.
    """
    make, name = (MLPClassifier if kind == "class" else MLPRegressor), "alpha"
    model = make(hidden_layer_sizes=_MLP_LAYERS, max_iter=_MLP_EPOCHS, random_state=seed)
    if kind == "value":
        scaler, name = StandardScaler(), "regressor__alpha"
        model = TransformedTargetRegressor(model, transformer=scaler, check_inverse=False)
    grid = {strength: strength for strength in _MLP_STRENGTHS}
    data = _data(features_train, labels_train, features_test, labels_test, kind)
    predicted, strength = _fitted(data, kind, model, name, grid, validation, None)
    columns = scores(kind, data[3], predicted)
    return ProbeScore(probe="mlp", kind=kind, columns=columns, strength=strength)


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
    x, y, x_test, y_test = _data(features_train, labels_train, features_test, labels_test, kind)
    make = KNeighborsClassifier if kind == "class" else KNeighborsRegressor
    with threadpool_limits(limits=1):
        model = make(n_neighbors=min(num_neighbors, len(x)), metric="cosine").fit(x, y)
        columns = scores(kind, y_test, model.predict(x_test))
    return ProbeScore(probe="knn", kind=kind, columns=columns)


def _fitted(
    data: tuple[Array, Array, Array, Array],
    kind: Kind,
    model: Any,
    name: str,
    grid: dict[float, float],
    validation: Validation | None,
    groups: Array | None,
) -> tuple[Array, float]:
    """Answers to the test pairs by a model with the best strength of a grid, and the strength."""
    x, y, x_test, _ = data
    with threadpool_limits(limits=1):
        pipeline, strength = chosen(x, y, kind, model, name, grid, validation, groups)
        return pipeline.predict(x_test), strength


def chosen(
    x: Array,
    y: Array,
    kind: Kind,
    model: Any,
    name: str,
    grid: dict[float, float],
    validation: Validation | None,
    groups: Array | None,
) -> tuple[Pipeline, float]:
    """A model fitted with the strength that is the best of a grid, and that strength.

    `grid` holds for each strength the value of the model's parameter `name`.
    """
    pipeline = Pipeline([("scaler", StandardScaler()), ("model", model)])
    if validation is None:
        splits = _folds(x, y, kind, np.arange(len(x)) if groups is None else np.asarray(groups))
        x_all, y_all = x, y
    else:
        xchosen, ychosen = checked("validation", *validation, kind)
        in_training = np.repeat([-1, 0], [len(x), len(xchosen)])
        splits = list(PredefinedSplit(in_training).split())
        x_all, y_all = np.concatenate([x, xchosen]), np.concatenate([y, ychosen])
    strength = 1.0
    with warnings.catch_warnings():
        # A weak regularisation that has not converged loses the comparison, no more.
        warnings.simplefilter("ignore", ConvergenceWarning)
        if splits and isinstance(model, LogisticRegression):
            strength = _logistic_strength(x_all, y_all, splits)
        elif splits:
            scoring = "accuracy" if kind == "class" else "r2"
            if kind == "value" and min(len(judged) for _, judged in splits) < 2:
                scoring = "neg_mean_squared_error"  # one value has no R²
            values = {f"model__{name}": list(grid.values())}
            search = GridSearchCV(pipeline, values, scoring=scoring, cv=splits, refit=False)
            strength = list(grid)[search.fit(x_all, y_all).best_index_]
        pipeline.set_params(**{f"model__{name}": grid[strength]}).fit(x, y)
    return pipeline, strength


def _logistic_strength(x: Array, y: Array, splits: list[tuple[Array, Array]]) -> float:
    """The strength of a logistic regression that judges best.

    From the strongest on, each fit begins where the one before ended: a third of the time.
    """
    scalers = [StandardScaler().fit(x[a]) for a, _ in splits]
    sides = [
        (s.transform(x[a]), s.transform(x[b])) for s, (a, b) in zip(scalers, splits, strict=True)
    ]
    models = [LogisticRegression(**_LOGISTIC, warm_start=True) for _ in splits]
    best, strength = -1.0, 1.0
    for tried in _LOGISTIC_STRENGTHS:
        judged = [
            model.set_params(C=1 / tried).fit(known, y[a]).score(unknown, y[b])
            for model, (known, unknown), (a, b) in zip(models, sides, splits, strict=True)
        ]
        if np.mean(judged) > best:
            best, strength = float(np.mean(judged)), tried
    return strength


def _folds(x: Array, y: Array, kind: Kind, groups: Array) -> list[tuple[Array, Array]]:
    """Divisions of the training pairs by video; none where a single video leaves no choice."""
    num_folds = min(_FOLDS, len(np.unique(groups)))
    if kind == "class":  # few labels may leave one pair of each
        num_folds = min(num_folds, int(np.unique(y, return_counts=True)[1].max()))
    if num_folds < 2:
        return []
    splitter = (StratifiedGroupKFold if kind == "class" else GroupKFold)(num_folds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class rarer than the folds
        folds = list(splitter.split(x, y if kind == "class" else None, groups))
    # A class that only the scored videos show cannot be learnt, but two are needed to fit at all.
    return [fold for fold in folds if kind == "value" or len(np.unique(y[fold[0]])) > 1]


def _data(
    x_train: Array, y_train: Array, x_test: Array, y_test: Array, kind: Kind
) -> tuple[Array, Array, Array, Array]:
    return (*checked("training", x_train, y_train, kind), *checked("test", x_test, y_test, kind))


def checked(part: str, x: Array, y: Array, kind: Kind) -> tuple[Array, Array]:
    """Features in double precision and labels, if they belong together."""
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
    if len(x) < 2:
        raise ValueError(
            f"{len(x)} {part} pairs: a probe needs at least 2 of each; embed more pairs"
        )
    if kind == "value":
        return np.asarray(x, np.float64), np.asarray(y, np.float64)
    return np.asarray(x, np.float64), y.astype(str) if y.dtype == object else y


def scores(kind: Kind, truth: Array, predicted: Array) -> tuple[float, ...]:
    """Accuracy of classes, or R² of each column of values."""
    if kind == "class":
        return (float(np.mean(predicted == truth)),)
    return tuple(float(r) for r in r2_score(truth, predicted, multioutput="raw_values"))
