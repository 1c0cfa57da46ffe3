"""Neighbours among made vectors: recall, queries a second, time and memory of the inverted file.

`python -m tests.benchmarks.search`. The vectors are like those of clips: each video stays near a
scene of its own and wanders slowly, in 24 of the dimensions, with noise in all. Vectors without any
structure are the worst case, for which every inverted file must look into nearly all of its lists.
"""

import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import faiss
import numpy as np
import psutil
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pipelines.library.neighbours import Neighbours, Space, calibrated, inverted_file, recall_of

CLIPS_OF_A_VIDEO = 50
INNER_DIM = 24
NUM_QUERIES = 1000
K = 10


def made_vectors(num_clips: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    """Vectors [clips, dim] of videos, one after another."""
    rng = np.random.default_rng(seed)
    num_videos = -(-num_clips // CLIPS_OF_A_VIDEO)
    inner = min(INNER_DIM, dim)
    axes = rng.normal(size=(inner, dim)).astype(np.float32)
    scenes = rng.normal(size=(num_videos, 1, inner)).astype(np.float32)
    steps = rng.normal(scale=0.1, size=(num_videos, CLIPS_OF_A_VIDEO, inner)).astype(np.float32)
    places = (scenes + steps.cumsum(axis=1)).reshape(-1, inner)[:num_clips]
    vectors: NDArray[np.float32] = places @ axes
    vectors += rng.normal(scale=0.3, size=vectors.shape).astype(np.float32)
    return vectors


def bench_search(num_clips: int, dim: int, *, rounds: int = 3) -> dict[str, float]:
    """The metrics of a library of so many clips."""
    vectors = Space(made_vectors(num_clips, dim)).vectors
    before = _resident_mib()
    began = time.perf_counter()
    inverted = inverted_file(vectors)
    seconds = time.perf_counter() - began
    probes, recall = calibrated(inverted, vectors)
    calibrating = time.perf_counter() - began - seconds
    held = _resident_mib() - before
    if not recall:
        return {"search_build_seconds": seconds, "search_recall": 0.0}
    inverted.nprobe = probes
    rows = np.random.default_rng(1).choice(num_clips, NUM_QUERIES, replace=False)
    noise = np.random.default_rng(2).normal(scale=0.01, size=(NUM_QUERIES, dim))
    queries = (vectors[rows] + noise).astype(np.float32)
    exact, approximate = Neighbours(vectors), Neighbours(vectors, inverted)
    few = queries[:100]
    _, true = exact.search(queries, K + 1)
    _, got = approximate.search(queries, K + 1)
    rate = median(_rate(approximate, queries) for _ in range(rounds))
    one, one_exact = (median(_rate(n, few[:1]) for _ in range(9)) for n in (approximate, exact))
    with TemporaryDirectory() as folder:
        began = time.perf_counter()
        name = Path(folder) / "z.faiss"
        faiss.write_index(inverted, str(name))
        size = name.stat().st_size / 2**20
        faiss.read_index(str(name))
        keeping = time.perf_counter() - began
    return {
        "search_recall": recall_of(true, got, rows),
        "search_probes": float(probes),
        "search_queries_per_second": rate,
        "search_milliseconds_one_query": 1000 / one,
        "search_queries_per_second_exact": median(_rate(exact, few) for _ in range(rounds)),
        "search_milliseconds_one_query_exact": 1000 / one_exact,
        "search_build_seconds": seconds,
        "search_calibrate_seconds": calibrating,
        "search_write_and_read_seconds": keeping,
        "search_file_mib": size,
        "search_memory_mib": held,
        "search_vectors_mib": vectors.nbytes / 2**20,
    }


def _rate(among: Neighbours, queries: NDArray[np.float32]) -> float:
    began = time.perf_counter()
    among.search(queries, K)
    return len(queries) / (time.perf_counter() - began)


def _resident_mib() -> float:
    return float(psutil.Process().memory_info().rss) / 2**20


def main(
    clips: Annotated[
        list[int] | None, typer.Option(help="Sizes of libraries. Repeatable.", min=1000)
    ] = None,
    dim: Annotated[int, typer.Option(help="Numbers of a vector.")] = 128,
    rounds: Annotated[int, typer.Option(help="Times each speed is measured.")] = 3,
) -> None:
    """Print a table."""
    sizes = clips or [100_000, 1_000_000]
    found = [bench_search(size, dim, rounds=rounds) for size in sizes]
    table = Table("metric", *(f"{size:,} clips" for size in sizes), title=f"{dim} numbers a clip")
    for name in max(found, key=len):
        table.add_row(name, *(f"{each[name]:.4g}" if name in each else "–" for each in found))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
