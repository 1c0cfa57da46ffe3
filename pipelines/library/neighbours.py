"""Nearest neighbours by the cosine, exact for small libraries and by an inverted file for large.

The vectors are those of a library less their mean direction: what all clips have in common says
nothing of how alike two are, and without it the cosine of two unrelated clips is about 0.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from pipelines.library.encode import Vectors
from pipelines.library.parts import part_names
from pipelines.storage.folder import Folder
from pipelines.video.tiles import Integers

EXACT_MOST = 200_000
"""Clips that are compared one by one: 25 ms a query of 128 numbers on two busy cores."""
CENTRED_FROM = 100
"""Clips of which the mean direction is taken off; that of fewer is not the library's."""
LEAST_RECALL = 0.99
"""Of the ten nearest, measured on clips of the library whenever an inverted file is made."""
PROBES = (4, 8, 16, 32, 64, 128, 256)
"""Lists of which so many are looked into, the fewest that reach that recall."""
SAMPLE = 256
ROWS_AT_ONCE = 512
FOLDER = "neighbours"
"""Of a folder of embeddings, where inverted files are kept."""
Similarities = NDArray[np.float32]


class Space:
    """Where the clips of a library are compared.

    Args:
        vectors: [clips, dim] of the library; changed in place into those that are compared.
    """

    def __init__(self, vectors: Vectors) -> None:
        _make_unit(vectors)
        self.centre = np.zeros(vectors.shape[1], np.float32)
        if len(vectors) >= CENTRED_FROM:
            self.centre = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
            vectors -= self.centre
            _make_unit(vectors)
        self.vectors = vectors

    def place(self, vectors: Vectors) -> Vectors:
        """Other vectors of the same encoder, as they are compared with the library's."""
        placed = vectors.copy()
        _make_unit(placed)
        placed -= self.centre
        _make_unit(placed)
        return placed


@dataclass(frozen=True, kw_only=True)
class Built:
    """What is known of an inverted file.

    Attributes:
        parts: digest of the names of the parts that it was made of.
        probes: lists that are looked into.
        recall: of the ten nearest on clips of the library; 0 where none reaches `LEAST_RECALL`.
    """

    parts: str
    probes: int
    recall: float


class Neighbours:
    """The nearest among unit vectors.

    Args:
        vectors: [clips, dim], unit vectors.
        inverted: an inverted file of the same; None: every query is compared with every clip.
    """

    def __init__(self, vectors: Vectors, inverted: Any = None) -> None:
        self._vectors, self._inverted = vectors, inverted

    @property
    def is_exact(self) -> bool:
        """Whether every query is compared with every clip."""
        return self._inverted is None

    def search(
        self, queries: Vectors, k: int, rows: Integers | None = None
    ) -> tuple[Similarities, Integers]:
        """Cosines, the greatest first, and rows of the k nearest of each query, if so many are.

        Among some `rows` the search is exact, for the lists of an inverted file know of no filter.
        """
        if self._inverted is not None and rows is None:
            cosines, found = self._inverted.search(queries, k)
            return cosines, found
        among = self._vectors if rows is None else self._vectors[rows]
        k = min(k, len(among))
        cosines, found = faiss.knn(queries, among, k, metric=faiss.METRIC_INNER_PRODUCT)
        return cosines, found if rows is None else rows[found]

    def above(self, threshold: float) -> Iterator[tuple[Integers, Integers, Similarities]]:
        """Pairs of rows, the lower one first, whose cosine is above a threshold, some at a time."""
        for at in range(0, len(self._vectors), ROWS_AT_ONCE):
            some = self._vectors[at : at + ROWS_AT_ONCE]
            if self._inverted is not None:
                limits, cosines, right = self._inverted.range_search(some, threshold)
                left = at + np.repeat(np.arange(len(some)), np.diff(limits.astype(np.int64)))
                kept = right > left
                yield left[kept], right[kept], cosines[kept]
                continue
            similar = some @ self._vectors[at:].T
            left, right = np.nonzero(similar > threshold)
            kept = right > left
            left, right = left[kept], right[kept]
            yield at + left, at + right, similar[left, right]


def neighbours_of(vectors: Vectors, folder: Folder, what: str) -> Neighbours:
    """The neighbours of a library; the inverted file of a large one is made once and kept.

    It is made again when parts have come or gone. Where none reaches `LEAST_RECALL`, as of vectors
    without any structure, the search stays exact.

    Args:
        vectors: of the library's `Space`.
        folder: of the embeddings.
        what: "h" or "z".

    Raises:
        StorageError: if it cannot be kept.
    """
    if len(vectors) <= EXACT_MOST:
        return Neighbours(vectors)
    parts = hashlib.blake2b(json.dumps(part_names(folder)).encode(), digest_size=8)
    parts.update(f"{len(vectors)} {vectors[0].tobytes().hex()}".encode())
    said, name = f"{FOLDER}/{what}.json", f"{FOLDER}/{what}.faiss"
    known = folder.read_json(said)
    built = Built(**known) if known and known["parts"] == parts.hexdigest() else None
    if built is None:
        inverted = inverted_file(vectors)
        probes, recall = calibrated(inverted, vectors)
        built = Built(parts=parts.hexdigest(), probes=probes, recall=recall)
        if recall:
            with folder.writing(name) as file:
                faiss.write_index(inverted, str(file))
        folder.write_json(said, asdict(built))
    elif built.recall:
        with folder.reading(name) as file:
            inverted = faiss.read_index(str(file))
    if not built.recall:
        return Neighbours(vectors)
    inverted.nprobe = built.probes
    return Neighbours(vectors, inverted)


def inverted_file(vectors: Vectors) -> Any:
    """Vectors in lists around centres, each number in 16 bits."""
    num_lists = int(2 * np.sqrt(len(vectors)))
    kind = f"IVF{num_lists},SQfp16"
    inverted: Any = faiss.index_factory(vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    inverted.cp.max_points_per_centroid = 64  # a fourth of faiss's, in a fourth of the time
    inverted.train(vectors)
    inverted.add(vectors)
    return inverted


def calibrated(inverted: Any, vectors: Vectors, k: int = 10) -> tuple[int, float]:
    """How many lists to look into, and the recall of the k nearest; (0, 0.0) where none is enough.

    Of clips of the library, each without itself.
    """
    rng = np.random.default_rng(0)
    sample = np.sort(rng.choice(len(vectors), min(SAMPLE, len(vectors)), replace=False))
    queries = vectors[sample]
    _, exact = faiss.knn(queries, vectors, k + 1, metric=faiss.METRIC_INNER_PRODUCT)
    for probes in PROBES:
        if probes > inverted.nlist // 4:
            break
        inverted.nprobe = probes
        _, found = inverted.search(queries, k + 1)
        recall = recall_of(exact, found, sample)
        if recall >= LEAST_RECALL:
            return probes, recall
    return 0, 0.0


def recall_of(exact: Integers, found: Integers, sample: Integers) -> float:
    """Share of the nearest rows that were found, each query itself left out."""
    shares = []
    for true, got, row in zip(exact, found, sample, strict=True):
        wanted = set(true.tolist()) - {int(row)}
        shares.append(len(wanted & set(got.tolist())) / len(wanted))
    return float(np.mean(shares))


def _make_unit(vectors: Vectors) -> None:
    """Divide each by its length; the zero vector, which has no direction, stays."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    np.divide(vectors, np.maximum(lengths, 1e-12), out=vectors)
