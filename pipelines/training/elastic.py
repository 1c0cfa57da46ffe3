"""A worker group that grows and shrinks with the cluster.

Ray Train's elastic policy decides how many workers there are whenever a group starts, and once a
minute while it runs. Three things it does not know: that every worker has decoders beside it, which
need CPUs too; that a batch cannot be dealt out evenly to every number of workers; and, for up to
20 s, that a node is gone.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy, ResizeDecision
from ray.train.v2.api.config import ScalingConfig

from pipelines.cluster import SECONDS_BETWEEN_NEWS


class GroupTrainer(TorchTrainer):
    """A trainer of which the group has one of several sizes, or the one of its scaling config."""

    def __init__(
        self, *args: Any, sizes: Sequence[int], decoders_per_worker: int, **options: Any
    ) -> None:
        """Give the sizes, in order, if the group is to change between them; else none."""
        super().__init__(*args, **options)
        self._sizes, self._decoders_per_worker = tuple(sizes), decoders_per_worker

    def _initialize_and_run_controller(self, **given: Any) -> Any:
        if self._sizes:
            config: Any = self.scaling_config
            given["scaling_policy"] = RoomPolicy(config, self._sizes, self._decoders_per_worker)
        return super()._initialize_and_run_controller(**given)  # type: ignore[misc]  # is v2's


class RoomPolicy(ElasticScalingPolicy):
    """As many workers as there is room for, beside their decoders, of the sizes allowed."""

    def __init__(
        self, scaling_config: ScalingConfig, sizes: Sequence[int], decoders_per_worker: int
    ) -> None:
        """Ask for workers' resources, without GPUs together with those of their decoders.

        With GPUs, decoders may well be on nodes that have none.
        """
        worker = scaling_config._resources_per_worker_not_none
        decoders = 0 if worker.get("GPU") else decoders_per_worker
        asked = {**worker, "CPU": worker["CPU"] + decoders}
        super().__init__(replace(scaling_config, resources_per_worker=asked))
        self._sizes, self._worker = tuple(sizes), worker
        self._next_news = time.monotonic() + SECONDS_BETWEEN_NEWS

    def _count_possible_workers(self, reserved_resources: Any) -> int:
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        there = {node: found for node, found in reserved_resources.items() if node in alive}
        possible = int(super()._count_possible_workers(there))
        size = max((size for size in self._sizes if size <= possible), default=0)
        if size:
            self._next_news = time.monotonic() + SECONDS_BETWEEN_NEWS
        elif time.monotonic() > self._next_news:
            self._next_news += SECONDS_BETWEEN_NEWS
            print(f"waiting for room for {self._sizes[0]} workers and their decoders", flush=True)
        return size

    def _get_resize_decision(self, num_workers: int) -> ResizeDecision:
        return ResizeDecision(num_workers=num_workers, resources_per_worker=self._worker)
