"""Probes of many files on all nodes of a Ray cluster.

A task probes some files one after another, each in a process of its node that can be killed. A task
whose node is lost runs again elsewhere.
"""

from collections.abc import Generator, Iterator, Sequence
from typing import Any

import joblib
import ray

from pipelines.cluster import joined
from pipelines.config.run import ClusterConfig
from pipelines.video.killable import Moved
from pipelines.video.probe import Unusable
from pipelines.video.probing import FileToProbe, Probed, probe_here

BATCH_FILES = 64
BATCH_BYTES = 1 << 28
"""Most files, and bytes of files, of a task: few, since they are not kept before it ends."""
BATCHES_PER_CPU = 4
"""Of few files, a task takes fewer, so that no CPU waits long for the last of them."""
TASKS_PER_CPU = 2
"""Tasks under way, those included that wait for a CPU."""
MAX_RETRIES = 10
"""Of a task whose node is lost."""


def probe_on_cluster(
    files: Sequence[tuple[FileToProbe, int]], cluster: ClusterConfig, *, timeout_seconds: float
) -> Generator[Moved[FileToProbe] | Probed, None, None]:
    """Probe files, each with its size in bytes, and yield them as their tasks end.

    While no node has a CPU to give, as where an autoscaler has not begun, this machine probes.

    Raises:
        ConfigError: if there is no cluster at the address, or none that lets us in.
    """
    with joined(cluster):
        if not ray.cluster_resources().get("CPU", 0):  # an autoscaler may never bring one
            alone = [file for file, _ in files]
            workers = joblib.cpu_count()
            yield from probe_here(alone, num_workers=workers, timeout_seconds=timeout_seconds)
            return
        task = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(_probe_batch)
        batches = _batches(files, most_files=-(-len(files) // (BATCHES_PER_CPU * _num_cpus())))
        running: dict[Any, list[FileToProbe]] = {}
        rest = next(batches, None)
        while running or rest:
            while rest and len(running) < TASKS_PER_CPU * _num_cpus():
                running[task.remote(rest, timeout_seconds)] = rest
                rest = next(batches, None)
            ready, _ = ray.wait(list(running), timeout=1.0)
            for reference in ready:
                yield from _ended(reference, running.pop(reference))


def _num_cpus() -> int:
    """Of the nodes that are up now."""
    return max(1, int(ray.cluster_resources().get("CPU", 0)))


def _batches(
    files: Sequence[tuple[FileToProbe, int]], most_files: int
) -> Iterator[list[FileToProbe]]:
    batch: list[FileToProbe] = []
    num_bytes = 0
    for file, size in files:
        if batch and (len(batch) >= min(most_files, BATCH_FILES) or num_bytes + size > BATCH_BYTES):
            yield batch
            batch, num_bytes = [], 0
        batch.append(file)
        num_bytes += size
    if batch:
        yield batch


def _ended(reference: Any, files: list[FileToProbe]) -> Iterator[Probed]:
    """What a task found, or that it was lost; in words that let the next run try again."""
    try:
        yield from ray.get(reference)
    except ray.exceptions.RayError as error:
        reason = f"probe lost: {str(error).strip().splitlines()[0]}"
        for file in files:
            yield Probed(path=file.path, found=Unusable(reason=reason))


def _probe_batch(files: list[FileToProbe], timeout_seconds: float) -> list[Probed]:
    """Probe some files on the node that this runs on."""
    events = probe_here(files, num_workers=1, timeout_seconds=timeout_seconds)
    return [_as_seen_here(event) for event in events if isinstance(event, Probed)]


def _as_seen_here(probed: Probed) -> Probed:
    """A file that this node cannot read may be read from another: the next run tries again."""
    found = probed.found
    if not isinstance(found, Unusable) or not found.reason.startswith("unreadable: "):
        return probed
    node = ray.util.get_node_ip_address()
    return Probed(
        path=probed.path, found=Unusable(reason=f"probe failed on {node}: {found.reason}")
    )
