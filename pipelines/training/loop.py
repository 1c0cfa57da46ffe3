"""The training loop of one worker: batches → learner → what is logged and saved.

It knows neither Ray nor MLflow: where metrics and checkpoints go is the caller's `Sink`, so that
the same loop runs in a worker group, in a single process and under a sweep.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from adassl import collectives
from pipelines.training.alarms import Alarm, AlarmMonitor
from pipelines.training.device import copied_ahead
from pipelines.training.inputs import Batch
from pipelines.training.learner import Learner

History = list[dict[str, float]]


class Sink(Protocol):
    """Where a run's metrics and checkpoints go; called on every worker alike."""

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Metrics at a step, reduced over the workers."""

    def alarm(self, alarm: Alarm) -> None:
        """An alarm that has just been raised."""

    def save(self, step: int, metrics: dict[str, float], state: dict[str, Any]) -> None:
        """The state after a step, with the newest metrics."""


@dataclass(kw_only=True)
class _Clock:
    """Time since the last log: in all, and waiting for data with an idle device."""

    started: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    steps: int = 0

    def timed(self, batches: Iterable[Batch], learner: Learner) -> Iterator[Batch]:
        iterator = iter(batches)
        while True:
            began = time.perf_counter()
            batch = next(iterator, None)
            if not learner.is_computing:  # else the GPU had work all the time
                self.waited += time.perf_counter() - began
            if batch is None:
                return
            yield batch

    def read(self, pairs_per_step: int) -> dict[str, float]:
        elapsed = time.perf_counter() - self.started
        metrics = {
            "time/step_seconds": elapsed / self.steps,
            "time/pairs_per_second": self.steps * pairs_per_step / elapsed,
            "time/data_wait_seconds": self.waited / self.steps,
            "time/data_wait_share": self.waited / elapsed,
        }
        self.started, self.waited, self.steps = time.perf_counter(), 0.0, 0
        return metrics


def run(
    learner: Learner,
    batches: Iterable[Batch],
    sink: Sink,
    *,
    validation: Sequence[Batch] = (),
    history: History | None = None,
    measure: Callable[[], dict[str, float]] = dict,
) -> History:
    """Train to the config's last step, logging and saving at its intervals.

    `history` holds the metrics logged before a resume; the whole history is returned, one entry a
    logged step, and is part of every saved state. `measure` adds metrics of this worker, such as
    its stream's.

    Raises:
        DivergedError: at a logged step, if the loss was not finite since the one before.
    """
    config = learner.config.train
    history = [] if history is None else history
    alarms = AlarmMonitor(learner.config)
    for entry in history:
        alarms.update(int(entry["step"]), entry)
    clock = _Clock()
    for batch in copied_ahead(learner, clock.timed(batches, learner)):
        output = learner.train_step(batch)
        clock.steps += 1
        step, last = learner.step, learner.step == config.steps
        saving = last or step % config.checkpoint_every == 0
        if saving or step % config.log_every == 0 or step == 1:
            learner.check()
            latest = _named("train", learner.metrics(output))
            local = {**clock.read(config.global_batch_size), **measure()}
            latest |= _mean_over_workers(local, learner.device)
            latest["train/workers"] = float(collectives.world_size())
            if saving and validation:
                latest |= _named("val", learner.validate(validation))
                clock.started = time.perf_counter()
            for alarm in alarms.update(step, latest):
                sink.alarm(alarm)
            latest |= alarms.metrics
            history.append({"step": float(step), **latest})
            sink.log(step, latest)
        if saving:
            sink.save(step, latest, {**learner.state_dict(), "history": history})
            clock.started = time.perf_counter()
        if last:
            return history
    return history


def _named(group: str, metrics: dict[str, float]) -> dict[str, float]:
    return {f"{group}/{name}": value for name, value in metrics.items()}


def _mean_over_workers(metrics: dict[str, float], device: torch.device) -> dict[str, float]:
    values = torch.tensor(list(metrics.values()), device=device)
    mean = collectives.all_reduce_mean(values).tolist()
    return dict(zip(metrics, mean, strict=True))
