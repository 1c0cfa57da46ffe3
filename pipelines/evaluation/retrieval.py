"""What embeddings retrieve: all views of the same thing, and the partners that r leaves open.

A picture has five captions; given one, which are the other four? A method without r has one answer,
a ranking of all captions by their cosine with the edited context. With r it has as many as are
sampled, and k samples of r may find what one of them, asked for its k nearest, does not.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy.typing import NDArray

Array = NDArray[Any]
_AT_ONCE = 256


def mean_average_precision(
    features: Float[Array, "items dim"], labels: Shaped[Array, " items"]
) -> dict[str, float]:
    """`map` of retrieving, by cosine, all other items of an item's label, and `map_chance`.

    Nothing is fitted, so the labels may be of things never trained on. The mean over the items
    whose label others share; chance is the share of right ones among the others.
    """
    unit = _unit(features)
    _, numbers = np.unique(labels.astype(str), return_inverse=True)
    scores, chances = [], []
    for item, number in enumerate(numbers):
        right = np.delete(numbers == number, item)
        if right.any():
            order = np.argsort(-np.delete(unit @ unit[item], item), kind="stable")
            places = np.flatnonzero(right[order])
            scores.append(np.mean(np.arange(1, len(places) + 1) / (places + 1)))
            chances.append(right.mean())
    if not scores:
        return {}
    return {"map": float(np.mean(scores)), "map_chance": float(np.mean(chances))}


@dataclass(frozen=True, kw_only=True)
class PartnersFound:
    """Which items stand for the partners of each query: numbers of the bank [queries, k].

    Attributes:
        found: the k that are retrieved, the nearest first.
        recall: share of the partners that are among them, the mean over the queries.
        chance: the same of k items drawn at random.
    """

    found: Int[Array, "queries k"]
    recall: float
    chance: float


def find_partners(
    k: int,
    futures: Float[Array, "samples queries dim"],
    bank: Float[Array, "items dim"],
    own: Int[Array, " queries"],
    labels: Shaped[Array, " items"],
) -> PartnersFound:
    """The k items that are nearest to any of a query's futures, the query itself left out.

    With one future that is its k nearest; with k of them each can bring one. An item counts by its
    cosine with the future that it is nearest to, so k different ones are found in either case.

    Args:
        k: how many are retrieved.
        futures: of length 1.
        bank: of length 1.
        own: the item of the bank that each query is.
        labels: of the items; partners share it.

    Raises:
        ValueError: on a k that the bank does not have.
    """
    if not 1 <= k < len(bank):
        raise ValueError(f"k={k}: must be from 1 to {len(bank) - 1}, the other items of the bank")
    _, numbers = np.unique(labels.astype(str), return_inverse=True)
    sizes = np.bincount(numbers)[numbers[own]] - 1
    parts = []
    for at in range(0, len(own), _AT_ONCE):
        rows = slice(at, at + _AT_ONCE)
        likeness = np.max([future[rows] @ bank.T for future in futures], axis=0)
        likeness[np.arange(len(likeness)), own[rows]] = -np.inf
        nearest = np.argpartition(-likeness, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(likeness, nearest, axis=1), axis=1, kind="stable")
        parts.append(np.take_along_axis(nearest, order, axis=1))
    found = np.concatenate(parts)
    asked = sizes > 0
    hits = (numbers[found] == numbers[own][:, None]).sum(axis=1)
    return PartnersFound(
        found=found,
        recall=float(np.mean(hits[asked] / sizes[asked])) if asked.any() else 0.0,
        chance=k / (len(bank) - 1),
    )


def _unit(features: Float[Array, "items dim"]) -> Float[Array, "items dim"]:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit: Array = features / np.maximum(lengths, 1e-12)
    return unit
