"""How alike the two texts of a pair are: likeness of their embeddings against given scores."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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
    if SCORE not in table.table.schema.names:
        return {}
    scores = dict(zip(table.number.tolist(), table.table[SCORE].to_pylist(), strict=True))
    given = np.asarray([scores[number] for number in pairs.start.tolist()], np.float64)
    known = np.isfinite(given)
    if known.sum() < LEAST_PAIRS or np.ptp(given[known]) == 0:
        return {}
    metrics = {"spearman_z": _rank_correlation(pairs.context, pairs.target, given, known)}
    backbone = learner.method.encoder.backbone
    if learner.method.second_encoder is None and isinstance(backbone, Backbone):
        target = represent(learner, backbone, pairs.next_clips)
        metrics["spearman"] = _rank_correlation(pairs.representation, target, given, known)
    return metrics


def _rank_correlation(
    one: NDArray[np.float32],
    other: NDArray[np.float32],
    given: NDArray[np.float64],
    known: NDArray[np.bool_],
) -> float:
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosine = (one * other).sum(axis=1) / np.maximum(norms, 1e-12)
    ranks = pd.DataFrame({"cosine": cosine[known], "score": given[known]}).rank()
    return float(ranks["cosine"].corr(ranks["score"]))
