"""Probes: what can be read off frozen features, fitted on training pairs, judged on test pairs.

Scaling and fit see training pairs only. The strength of the regularisation is chosen on a
validation split where one is given, else by cross-validation that keeps the pairs of a video
together. One strength serves all columns of a call: give columns of unlike difficulty apart.
Nothing here draws at random but the MLP, which takes a seed: the same again is the same, bit for
bit, on one machine. Fits keep to one thread: more would wait for one another.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

Array = NDArray[Any]
Kind = Literal["class", "value"]
Validation = tuple[Float[Array, "validation dim"], Shaped[Array, "validation ..."]]

_FOLDS = 4
_RIDGE_STRENGTHS = tuple(10.0**e for e in range(-2, 6))
_LOGISTIC_STRENGTHS = tuple(10.0**e for e in range(3, -3, -1))
"""1 / C, strongest first, so that each fit starts near the next."""
_MLP_STRENGTHS, _MLP_LAYERS, _MLP_EPOCHS = (1.0, 10.0, 100.0), (128,), 60


@dataclass(frozen=True, kw_only=True)
class ProbeScore:
    """How well labels of test pairs were told.

    Attributes:
        probe: "linear", "knn" or "mlp".
        kind: "class" is scored by accuracy, "value" by R² (0: no better than the mean).
        columns: the score of each label column.
        strength: of the regularisation chosen (lambda of ridge, 1/C of logistic, alpha of
            scikit-learn's MLP); 0 for knn.
    """

    probe: Literal["linear", "knn", "mlp"]
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
    validation: Validation | None = None,
) -> ProbeScore:
    """Logistic regression for classes, ridge regression for values, on standardised features.

    Args:
        features_train: to fit on.
        labels_train: [train] classes of any type, or values [train] or [train, columns].
        features_test: to judge on.
        labels_test: as `labels_train`.
        kind: what the labels are.
        groups: the video of each training pair, so that no fold is judged on a video it has seen;
            not looked at with `validation`.
        validation: features and labels to choose the strength on, instead of cross-validation.

    Raises:
        ValueError: on features and labels that do not belong together or are not finite.
    """
    data = _Split.of(features_train, labels_train, features_test, labels_test, kind)
    if validation is None:
        groups = np.arange(len(data.x_train)) if groups is None else np.asarray(groups)
        judges = [data.fold(*rows) for rows in _folds(data, kind, groups)]
    else:
        judges = [data.judged_on(*validation, kind=kind)]
    strengths = _LOGISTIC_STRENGTHS if kind == "class" else _RIDGE_STRENGTHS
    with threadpool_limits(limits=1), warnings.catch_warnings():
        # A weak regularisation that has not converged loses the comparison, no more.
        warnings.simplefilter("ignore", ConvergenceWarning)
        strength = _best_strength(judges, kind, strengths)
        scaled = data.standardised()
        model = _linear(kind, strength).fit(scaled.x_train, scaled.y_train)
    columns = _scores(kind, scaled.y_test, model.predict(scaled.x_test))
    return ProbeScore(probe="linear", kind=kind, columns=columns, strength=strength)


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
    data = _Split.of(features_train, labels_train, features_test, labels_test, kind)
    judge = data.judged_on(*validation, kind=kind)
    models = [_mlp(kind, strength, seed) for strength in _MLP_STRENGTHS]
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the epochs are set on purpose
        for model in models:
            model.fit(data.x_train, data.y_train)
    scores = [np.mean(_scores(kind, judge.y_test, m.predict(judge.x_test))) for m in models]
    best = int(np.argmax(scores))
    columns = _scores(kind, data.y_test, models[best].predict(data.x_test))
    return ProbeScore(probe="mlp", kind=kind, columns=columns, strength=_MLP_STRENGTHS[best])


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
    with threadpool_limits(limits=1):
        model.fit(data.x_train, data.y_train)
        columns = _scores(kind, data.y_test, model.predict(data.x_test))
    return ProbeScore(probe="knn", kind=kind, columns=columns)


@dataclass(frozen=True)
class _Split:
    """Pairs to fit on and pairs to judge on."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array

    @classmethod
    def of(
        cls, x_train: Array, y_train: Array, x_test: Array, y_test: Array, kind: Kind
    ) -> "_Split":
        for part, x, y in (("training", x_train, y_train), ("test", x_test, y_test)):
            _check(part, x, y)
        return cls(
            np.asarray(x_train, np.float64),
            _labels(y_train, kind),
            np.asarray(x_test, np.float64),
            _labels(y_test, kind),
        )

    def judged_on(self, x: Array, y: Array, *, kind: Kind) -> "_Split":
        """The same training pairs, judged on the validation split instead."""
        _check("validation", x, y)
        return replace(self, x_test=np.asarray(x, np.float64), y_test=_labels(y, kind))

    def fold(self, fitted: Array, judged: Array) -> "_Split":
        """Some training pairs judged on others."""
        return _Split(
            self.x_train[fitted], self.y_train[fitted], self.x_train[judged], self.y_train[judged]
        )

    def standardised(self) -> "_Split":
        """Features of mean 0 and variance 1 over the training pairs."""
        scaler = StandardScaler().fit(self.x_train)
        x_train, x_test = scaler.transform(self.x_train), scaler.transform(self.x_test)
        return replace(self, x_train=x_train, x_test=x_test)


def _check(part: str, x: Array, y: Array) -> None:
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


def _best_strength(judges: Sequence[_Split], kind: Kind, strengths: tuple[float, ...]) -> float:
    """The strength that scores best on average over the divisions; 1 where there are none."""
    if not judges:
        return 1.0
    score = _logistic_scores if kind == "class" else _ridge_scores
    scores = np.array([score(judge.standardised(), strengths) for judge in judges])
    return strengths[int(scores.mean(axis=0).argmax())]


def _logistic_scores(split: _Split, strengths: tuple[float, ...]) -> list[float]:
    model = _linear("class", strengths[0])
    scores: list[float] = []
    for strength in strengths:
        model.set_params(C=1 / strength).fit(split.x_train, split.y_train)  # a warm start
        scores += _scores("class", split.y_test, model.predict(split.x_test))
    return scores


def _ridge_scores(split: _Split, strengths: tuple[float, ...]) -> list[float]:
    """Ridge regression on centred features for all strengths λ by one decomposition X = U S Vᵀ.

    The weights are V diag(s / (s² + λ)) Uᵀ (y − ȳ), whatever λ.
    """
    targets = split.y_train.reshape(len(split.y_train), -1)
    mean = targets.mean(axis=0)
    left, values, right = np.linalg.svd(split.x_train, full_matrices=False)
    parts, judged = left.T @ (targets - mean), split.x_test @ right.T
    scores = []
    for strength in strengths:
        shrunk = (values / (values**2 + strength))[:, None] * parts
        predicted = (judged @ shrunk + mean).reshape(split.y_test.shape)
        scores.append(float(np.mean(_scores("value", split.y_test, predicted))))
    return scores


def _linear(kind: Kind, strength: float) -> Any:
    if kind == "class":
        return LogisticRegression(C=1 / strength, max_iter=300, tol=1e-3, warm_start=True)
    return Ridge(alpha=strength)


def _mlp(kind: Kind, strength: float, seed: int) -> Any:
    make = MLPClassifier if kind == "class" else MLPRegressor
    model = make(
        hidden_layer_sizes=_MLP_LAYERS, alpha=strength, max_iter=_MLP_EPOCHS, random_state=seed
    )
    if kind == "value":
        model = TransformedTargetRegressor(model, transformer=StandardScaler(), check_inverse=False)
    return make_pipeline(StandardScaler(), model)


def _scores(kind: Kind, truth: Array, predicted: Array) -> tuple[float, ...]:
    if kind == "class":
        return (float(np.mean(predicted == truth)),)
    return tuple(float(r) for r in r2_score(truth, predicted, multioutput="raw_values"))
