"""The Ray cluster: join one or start our own, and refuse at once what it cannot hold."""

import logging
import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from pipelines.config import ClusterConfig, ConfigError

STREAM_CPUS = 0.1
"""CPU share kept for the light read task of each worker's stream."""


class ClusterTooSmallError(ConfigError):
    """The cluster cannot hold what the run asks for; waiting would not help."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """The processes of one run, each as what it takes of a node."""

    num_workers: int
    cpus_per_worker: float
    gpus_per_worker: int
    num_decoders: int

    def bundles(self) -> list[dict[str, float]]:
        """What must fit on some node each, the hardest to place first."""
        worker = {"CPU": self.cpus_per_worker, "GPU": float(self.gpus_per_worker)}
        workers = [worker] * self.num_workers
        decoders = [{"CPU": 1.0, "GPU": 0.0}] * self.num_decoders
        streams = [{"CPU": STREAM_CPUS, "GPU": 0.0}] * self.num_workers
        return sorted(workers + decoders + streams, key=lambda b: (-b["GPU"], -b["CPU"]))

    @property
    def cpus(self) -> float:
        """CPUs over all processes."""
        return sum(bundle["CPU"] for bundle in self.bundles())

    def __str__(self) -> str:
        gpu = f" and {self.gpus_per_worker} GPU" if self.gpus_per_worker else ""
        return (
            f"{self.num_workers} workers of {self.cpus_per_worker:g} CPUs{gpu}, "
            f"{self.num_decoders} decoders of 1 CPU and {STREAM_CPUS:g} CPU a worker for its stream"
        )


def demand_of(config: ClusterConfig, *, use_gpu: bool) -> Demand:
    """What a run with these settings takes."""
    return Demand(
        num_workers=config.num_workers,
        cpus_per_worker=config.cpus_per_worker,
        gpus_per_worker=int(use_gpu),
        num_decoders=config.num_workers * config.decoders_per_worker,
    )


@contextmanager
def connected(config: ClusterConfig) -> Iterator[Demand]:
    """Join the cluster at `address`, or start a Ray of our own that fits the run, and check it.

    A Ray of our own declares as many logical CPUs as the run has processes, on loopback; one that
    others run is taken as it is. A Ray that is up already in this process is used and left up.

    Raises:
        ClusterTooSmallError: naming what is missing.
        ConfigError: if no cluster answers at the address.
    """
    started = not ray.is_initialized()
    if started:
        _start(config)
    try:
        use_gpu = config.use_gpu
        if use_gpu is None:
            use_gpu = ray.cluster_resources().get("GPU", 0) >= config.num_workers
        demand = demand_of(config, use_gpu=use_gpu)
        check_fits(demand, node_resources())
        check_free(demand)
        yield demand
    finally:
        if started:
            ray.shutdown()


def _start(config: ClusterConfig) -> None:
    quiet_ray()
    quiet = ray.LoggingConfig(log_level="ERROR")  # for every process of the job
    address = config.address or os.environ.get("RAY_ADDRESS")
    if address:
        try:
            ray.init(address=address, logging_config=quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"no Ray cluster answers at {address} ({error}); start one with "
                "`ray start --head`, or unset RAY_ADDRESS and cluster.address to run here alone"
            ) from None
        return
    wanted = math.ceil(demand_of(config, use_gpu=False).cpus)
    cpus = max(os.cpu_count() or 1, wanted)
    ray.init(num_cpus=cpus, include_dashboard=False, logging_config=quiet)


def quiet_ray() -> None:
    """In this process, hear of our own warnings and only of Ray's errors."""
    for name in ("ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("", "pipelines"):  # some of Ray Train's loggers stand apart, under the root
        logging.getLogger(name).setLevel(logging.WARNING)


def node_resources() -> list[dict[str, float]]:
    """CPUs and GPUs of each living node."""
    return [
        {kind: float(node["Resources"].get(kind, 0.0)) for kind in ("CPU", "GPU")}
        for node in ray.nodes()
        if node["Alive"]
    ]


def check_fits(demand: Demand, nodes: list[dict[str, float]]) -> None:
    """Place the processes on the nodes, first fit.

    Raises:
        ClusterTooSmallError: naming what finds no place and what would help.
    """
    spare = [dict(node) for node in nodes]
    missing: Counter[str] = Counter()
    for bundle in demand.bundles():
        for node in spare:
            if all(node[kind] >= amount - 1e-9 for kind, amount in bundle.items()):
                for kind, amount in bundle.items():
                    node[kind] -= amount
                break
        else:
            missing[_words(bundle)] += 1
    if missing:
        places = ", ".join(f"{n} × ({what})" for what, n in missing.items())
        have = "; ".join(_words(node) for node in nodes) or "no node"
        raise ClusterTooSmallError(
            f"the run needs {demand}. The cluster has {have}. No place for {places}: add nodes, or "
            "lower cluster.num_workers, cluster.cpus_per_worker or cluster.decoders_per_worker"
        )


def check_free(demand: Demand, *, patience_seconds: float = 10.0) -> None:
    """See that others leave enough; a run that has just ended gets a moment to let go.

    Raises:
        ClusterTooSmallError: saying how much is in use.
    """
    gpus = demand.num_workers * demand.gpus_per_worker
    deadline = time.monotonic() + patience_seconds
    while True:
        free = ray.available_resources()
        if free.get("CPU", 0.0) >= demand.cpus - 1e-9 and free.get("GPU", 0.0) >= gpus:
            return
        if time.monotonic() > deadline:
            raise ClusterTooSmallError(
                f"the run needs {demand}; the cluster would hold it, but others use it: "
                f"{_words({k: free.get(k, 0.0) for k in ('CPU', 'GPU')})} are free. "
                "Wait for them, or ask for less"
            )
        time.sleep(0.5)


def _words(resources: Mapping[str, float]) -> str:
    kept = {k: v for k, v in resources.items() if v or k == "CPU"}
    return ", ".join(f"{amount:g} {kind}" for kind, amount in kept.items())
