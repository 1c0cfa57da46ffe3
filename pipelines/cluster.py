"""The Ray cluster: join one or start our own, and refuse what it cannot hold.

At once, or, where an autoscaler brings nodes, after a wait for them.
"""

import logging
import math
import os
import shlex
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import AuthenticationError
from ray.util import placement_group, remove_placement_group

from pipelines.config.run import ClusterConfig, ConfigError
from pipelines.numbers import plural
from pipelines.worker_setup import worker_setup

DRIVER = "driver"
"""A resource that the head of a cluster may have, so that drivers of trials take no CPUs."""
DRIVER_CPUS = 0.01
"""What the driver of a trial takes where no node has that resource: it only waits."""
KNOCK_SECONDS = 10.0
"""Longest wait for a cluster's head to take a connection."""
SECONDS_BETWEEN_NEWS = 30.0
"""Time between two lines about a wait for nodes."""
SECONDS_HELD = 5.0
"""Time that room for a run is held once it is there. A node that stood idle while others were still
on their way may be about to be ended: an autoscaler is to see it in use, and to begin anew."""


class ClusterTooSmallError(ConfigError):
    """The cluster cannot hold what the run asks for, or not within the time that it may wait."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """The processes of one run, each as what it takes of a node."""

    num_workers: int
    """Of a group that changes its size: the least."""
    cpus_per_worker: float
    gpus_per_worker: int
    num_decoders: int
    most_workers: int = 0
    """Of such a group; of any other 0."""
    driver: Mapping[str, float] = field(default_factory=dict)
    """What the process takes that drives the workers, where it takes anything."""

    @property
    def is_elastic(self) -> bool:
        """Whether the number of workers may change."""
        return self.most_workers > self.num_workers

    @property
    def is_group(self) -> bool:
        """Whether Ray Train runs the workers, and not the process that asks for them."""
        return self.num_workers > 1 or self.is_elastic

    def with_workers(self, num_workers: int) -> "Demand":
        """The same with another number of workers, and the decoders that they have."""
        num_decoders = self.num_decoders // self.num_workers * num_workers
        return replace(self, num_workers=num_workers, num_decoders=num_decoders)

    def bundles(self) -> list[dict[str, float]]:
        """What must fit on some node each, the hardest to place first."""
        worker = {"CPU": self.cpus_per_worker, "GPU": float(self.gpus_per_worker)}
        workers = [worker] * self.num_workers
        decoders = [{"CPU": 1.0, "GPU": 0.0}] * self.num_decoders
        driver = [{"CPU": self.driver["CPU"], "GPU": 0.0}] if "CPU" in self.driver else []
        return sorted(workers + decoders + driver, key=lambda b: (-b["GPU"], -b["CPU"]))

    @property
    def cpus(self) -> float:
        """CPUs over all processes."""
        return sum(bundle["CPU"] for bundle in self.bundles())

    def __str__(self) -> str:
        gpu = f" and {self.gpus_per_worker} GPU" if self.gpus_per_worker else ""
        least = "at least " if self.is_elastic else ""
        workers = f"{least}{plural(self.num_workers, 'worker')}"
        return (
            f"{workers} of {plural(self.cpus_per_worker, 'CPU')}{gpu}, "
            f"{plural(self.num_decoders, 'decoder')} of 1 CPU"
        )


def demand_of(config: ClusterConfig, *, use_gpu: bool) -> Demand:
    """What a run with these settings takes."""
    allowed = config.range_of_workers
    return Demand(
        num_workers=allowed[0],
        cpus_per_worker=config.cpus_per_worker,
        gpus_per_worker=int(use_gpu),
        num_decoders=allowed[0] * config.decoders_per_worker,
        most_workers=allowed[-1] if len(allowed) > 1 else 0,
    )


def joins(config: ClusterConfig) -> bool:
    """Whether a run joins a cluster, instead of starting a Ray of its own on this machine."""
    return bool(config.address or os.environ.get("RAY_ADDRESS"))


@contextmanager
def connected(config: ClusterConfig, *, copies: int = 1) -> Iterator[Demand]:
    """Join the cluster at `address`, or start a Ray of our own that fits the run, and check it.

    A Ray of our own declares as many logical CPUs as the run, or that many copies of it side by
    side, has processes, on loopback; one that others run is taken as it is. A Ray that is up
    already in this process is used and left up.

    Raises:
        ClusterTooSmallError: naming what is missing.
        ConfigError: if there is no cluster at the address, or none that lets us in.
    """
    with joined(config, copies=copies) as ours:
        use_gpu = config.use_gpu
        if use_gpu is None:
            use_gpu = ray.cluster_resources().get("GPU", 0) >= config.range_of_workers[0]
        demand = demand_of(config, use_gpu=use_gpu)
        if config.wait_minutes and not ours:
            wait_for_nodes([demand], config.wait_minutes)
        check_fits(demand, node_resources())
        check_free(demand)
        yield demand


@contextmanager
def joined(config: ClusterConfig, *, copies: int = 1) -> Iterator[bool]:
    """Join or start Ray as `connected` does, without asking for room; whether it is our own.

    Raises:
        ConfigError: if there is no cluster at the address, or none that lets us in.
    """
    started = not ray.is_initialized()
    ours = started and _start(config, copies)
    try:
        yield ours
    finally:
        if started:
            ray.shutdown()


def _start(config: ClusterConfig, copies: int) -> bool:
    """Join or start Ray; whether it is one of our own."""
    quiet_ray()
    address = config.address or os.environ.get("RAY_ADDRESS")
    if address and address != "local":
        _join(address)
        return False
    wanted = math.ceil(copies * demand_of(config, use_gpu=False).cpus)
    _start_own(max(os.cpu_count() or 1, wanted))
    return True


def _init_ray(address: str, **options: Any) -> None:
    """Call `ray.init`, quiet and with our setup in every process of the job."""
    quiet = ray.LoggingConfig(log_level="ERROR")
    setup = {"worker_process_setup_hook": worker_setup()}
    ray.init(address=address, logging_config=quiet, runtime_env=setup, **options)


def _join(address: str) -> None:
    """Join the cluster at the address.

    Raises:
        ConfigError: if it is no address of a cluster's head, or nobody there lets us in.
    """
    protocol = address.rpartition("://")[0]
    if protocol:
        what = "Ray Client" if protocol == "ray" else "the dashboard"
        raise ConfigError(
            f"cannot join a Ray cluster at {address}: this is an address of {what}, and "
            "RAY_ADDRESS and cluster.address want host:port of the cluster's head, such as "
            "10.0.0.5:6379, on a machine of the cluster. From elsewhere, `ray job submit "
            "--address http://HOST:8265 -- adassl …` sends a command into the cluster"
        )
    try:
        _knock(address)
        _init_ray(address)
    except (OSError, RuntimeError, ValueError, AuthenticationError) as error:
        raise ConfigError(
            f"cannot join a Ray cluster at {address}: {error}. Start one with `ray start "
            "--head`, or unset RAY_ADDRESS and cluster.address to run here alone. One that "
            "asks for a token wants RAY_AUTH_MODE=token and its token in ~/.ray/auth_token, "
            "or in the file that RAY_AUTH_TOKEN_PATH names"
        ) from None


def _start_own(cpus: int) -> None:
    """Start a Ray with this many logical CPUs, apart from any that runs here already.

    Raises:
        ConfigError: if Ray cannot start workers or keep its files on this machine.
    """
    if shlex.quote(sys.executable) != sys.executable:  # as Ray puts it into a shell's command
        raise ConfigError(
            f"Ray cannot start workers with the Python at {sys.executable!r}: it does not quote "
            "spaces and signs that a shell reads. Move the virtual environment to a folder "
            "without them"
        )
    try:
        _init_ray("local", num_cpus=cpus, resources={DRIVER: 1000.0}, include_dashboard=False)
    except OSError as error:
        raise ConfigError(
            f"Ray cannot keep its files on this machine: {error}. Set RAY_TMPDIR to a folder "
            "that can be written, with a short path (up to 39 characters)"
        ) from None


def _knock(address: str) -> None:
    """See that somebody is at host:port: where nobody is, Ray itself goes on trying for minutes.

    Raises:
        OSError: saying why not.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        with socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS):
            pass


def quiet_ray() -> None:
    """In this process, hear of our own warnings and only of Ray's errors."""
    for name in ("ray.train", "ray.data", "ray.tune"):
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


def check_fits(demands: Demand | Sequence[Demand], nodes: list[dict[str, float]]) -> None:
    """Place the processes of a run, or of several at once, on the nodes, first fit.

    Raises:
        ClusterTooSmallError: naming what finds no place and what would help.
    """
    wanted = [demands] if isinstance(demands, Demand) else demands
    if missing := _without_place(wanted, nodes):
        raise ClusterTooSmallError(
            f"{_needs(wanted)}. The cluster has {_have(nodes)}. No place for {missing}: "
            "add nodes, or lower cluster.num_workers, cluster.cpus_per_worker or "
            "cluster.decoders_per_worker"
        )


def trial_demand(demand: Demand) -> Demand:
    """The run as a trial: a group of workers needs a process that drives them."""
    if not demand.is_group:
        return demand
    has_place = ray.cluster_resources().get(DRIVER, 0) > 0
    return replace(demand, driver={DRIVER: 1.0} if has_place else {"CPU": DRIVER_CPUS})


def fair_share(demand: Demand, nodes: list[dict[str, float]], *, at_once: int) -> Demand:
    """An elastic run as one of so many at once: none grows beyond its part of the nodes."""
    sizes = range(demand.most_workers, demand.num_workers, -1)
    fitting = (n for n in sizes if is_room([demand.with_workers(n)] * at_once, nodes))
    return replace(demand, most_workers=next(fitting, 0))


def is_room(demands: Sequence[Demand], nodes: list[dict[str, float]]) -> bool:
    """Whether the nodes, were they empty, would hold all of these at once."""
    return not _without_place(demands, nodes)


def trials_at_once(demand: Demand, nodes: list[dict[str, float]], *, most: int) -> int:
    """How many such runs the nodes hold side by side, `most` at the most.

    Raises:
        ClusterTooSmallError: if they do not hold one.
    """
    check_fits(demand, nodes)
    fitting = (n for n in range(most, 0, -1) if is_room([demand] * n, nodes))
    return next(fitting)


def _without_place(demands: Sequence[Demand], nodes: list[dict[str, float]]) -> str:
    """The processes that find no place on empty nodes, in words; none: no words."""
    spare = [dict(node) for node in nodes]
    missing: Counter[str] = Counter()
    for bundle in _bundles(demands):
        for node in spare:
            if all(node[kind] >= amount - 1e-9 for kind, amount in bundle.items()):
                for kind, amount in bundle.items():
                    node[kind] -= amount
                break
        else:
            missing[_words(bundle)] += 1
    return ", ".join(f"{n} × ({what})" for what, n in missing.items())


def wait_for_nodes(demands: Sequence[Demand], minutes: float) -> None:
    """Wait until all of these have room at once beside what others use; an autoscaler adds nodes.

    They are asked for as a placement group, which is let go soon after it stands. An autoscaler's
    `request_resources` would do less: a cluster holds one of it, which every Ray Data stream sets
    anew, which takes nodes in use for free ones, and which outlives a driver that is killed.

    Raises:
        ClusterTooSmallError: at the deadline, naming what is missing.
    """
    group = placement_group([{k: v for k, v in b.items() if v} for b in _bundles(demands)])
    began = time.monotonic()
    next_news = 0.0
    try:
        while not group.wait(1):  # no longer, or a signal waits too
            waited = time.monotonic() - began
            nodes = node_resources()
            missing = _without_place(demands, nodes)
            lack = f"no place for {missing}" if missing else "others use what is there"
            if waited >= minutes * 60:
                raise ClusterTooSmallError(
                    f"{_needs(demands)}. Waited {minutes:g} minutes (cluster.wait_minutes) for an "
                    f"autoscaler; the cluster has {_have(nodes)}: {lack}. "
                    "Let it start more or larger nodes, or ask for less"
                )
            if waited >= next_news:
                print(
                    f"waiting for nodes, {waited:.0f} of {minutes * 60:.0f} s: {lack}", flush=True
                )
                next_news += SECONDS_BETWEEN_NEWS
        time.sleep(SECONDS_HELD)
    finally:
        remove_placement_group(group)


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


def _bundles(demands: Sequence[Demand]) -> list[dict[str, float]]:
    """The processes of all, the hardest to place first."""
    bundles = [bundle for demand in demands for bundle in demand.bundles()]
    return sorted(bundles, key=lambda b: (-b["GPU"], -b["CPU"]))


def _needs(demands: Sequence[Demand]) -> str:
    if len(demands) == 1:
        return f"the run needs {demands[0]}"
    each = "; ".join(f"{n} × ({what})" for what, n in Counter(map(str, demands)).items())
    return f"{len(demands)} runs at once need {each}"


def _have(nodes: list[dict[str, float]]) -> str:
    return "; ".join(_words(node) for node in nodes) or "no node"


def _words(resources: Mapping[str, float]) -> str:
    kept = {k: v for k, v in resources.items() if v or k == "CPU"}
    return ", ".join(f"{amount:g} {kind}" for kind, amount in kept.items())
