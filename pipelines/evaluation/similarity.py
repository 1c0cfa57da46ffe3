"""How alike the two texts of a pair are: likeness of their embeddings against given scores."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from adassl.backbones import Backbone
from pipelines.evaluation.embed import EmbeddedPairs, represent
from pipelines.pairs.table import SCORE, PairTable
from pipelines.training.learner import Learner

LEAST_PAIRS = 10


def similarity(learner: Learner, pairs: EmbeddedPairs, table: PairTable) -> dict[str, float]:
    """Spearman's rank correlation of cosines with the column `score`; nothing without one.

    `spearman` is of representations h, as sentence encoders are judged on the STS benchmark,
    `spearman_z` of embeddings z; with two encoders the latter alone, as h of both do not compare.
    """
    given = _given(pairs, table)
    if given is None:
        return {}
    metrics = {"spearman_z": _rank_correlation(cosines(pairs.context, pairs.target), given)}
    backbone = learner.method.encoder.backbone
    if learner.method.second_encoder is None and isinstance(backbone, Backbone):
        target = represent(learner, backbone, pairs.next_clips)
        metrics["spearman"] = _rank_correlation(cosines(pairs.representation, target), given)
    return metrics


def similarity_floors(
    learner: Learner,
    untrained: Backbone,
    pairs: EmbeddedPairs,
    table: PairTable,
    corpus: Iterable[str],
) -> dict[str, float]:
    """The same of what any training should be above: `spearman/untrained`, `spearman/tf_idf`.

    Args:
        learner: brings texts to the encoder.
        untrained: the encoder with fresh weights.
        pairs: of texts, with scores.
        table: that they are of.
        corpus: the texts by which TF-IDF weighs words.
    """
    given = _given(pairs, table)
    if given is None:
        return {}
    sides = (represent(learner, untrained, clips) for clips in (pairs.clips, pairs.next_clips))
    metrics = {"spearman/untrained": _rank_correlation(cosines(*sides), given)}
    rows = {number: row for row, number in enumerate(table.number.tolist())}
    places = [rows[number] for number in pairs.start.tolist()]
    weights = TfidfVectorizer().fit(corpus)
    one, other = (
        weights.transform([table.entry(view, row) for row in places])
        for view in ("context", "target")
    )  # of length 1
    likeness = np.asarray(one.multiply(other).sum(axis=1)).ravel()
    return metrics | {"spearman/tf_idf": _rank_correlation(likeness, given)}


def cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cosine of each row of one with the same row of the other."""
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    found: NDArray[np.float32] = (one * other).sum(axis=1) / np.maximum(norms, 1e-12)
    return found


def _given(pairs: EmbeddedPairs, table: PairTable) -> NDArray[np.float64] | None:
    """The score of each pair, NaN where it has none; None where there is too little to rank."""
    if SCORE not in table.table.schema.names:
        return None
    scores = dict(zip(table.number.tolist(), table.table[SCORE].to_pylist(), strict=True))
    given = np.asarray([scores[number] for number in pairs.start.tolist()], np.float64)
    known = np.isfinite(given)
    return given if known.sum() >= LEAST_PAIRS and np.ptp(given[known]) > 0 else None


def _rank_correlation(likeness: NDArray[Any], given: NDArray[np.float64]) -> float:
    known = np.isfinite(given)
    ranks = pd.DataFrame({"likeness": likeness[known], "score": given[known]}).rank()
    return float(ranks["likeness"].corr(ranks["score"]))
