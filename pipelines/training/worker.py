"""What every training process runs, in a Ray Train worker and in a trial's own process alike.

learner ← newest checkpoint; the batches of this worker's share of each global batch; the loop,
which reports to MLflow, the terminal and whoever started it, and saves.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from adassl import collectives
from pipelines.config.run import ConfigError, RunConfig, TrainConfig
from pipelines.numbers import plural
from pipelines.pairs.plan import Plan, decoded_here, stream_of
from pipelines.storage.runs import RunFolder
from pipelines.storage.weights import backbone_weights
from pipelines.tracking import Tracker, device_tags
from pipelines.training import loop
from pipelines.training.alarms import Alarm
from pipelines.training.device import fast_kernels
from pipelines.training.inputs import Batch
from pipelines.training.learner import Learner, MakeMethod
from pipelines.training.metrics import without_dimensions
from pipelines.video.batch import PairBatch
from pipelines.video.stream import Share

SHEET_PAIRS = 8
WITHOUT_VALIDATION = "min", "train/loss"
"""What the best checkpoint is kept by where there are no validation videos."""

Fit = Callable[[Tracker], loop.History]
"""Trains to the last step, with metrics to the tracker, and returns the history."""
Report = Callable[[int, dict[str, float], bool], None]
"""Receives a step, its metrics, and whether the step has a validation and a checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Batches:
    """What one training process trains on."""

    newest: int | None
    """Step of the checkpoint that the training goes on from; None: from the start."""
    train: Iterable[Batch]
    """From the step after `newest` to the last."""
    validation: Callable[[], Sequence[Batch]] = tuple
    """Makes the validation batches, which each validation uses again."""
    measure: Callable[[], dict[str, float]] = dict
    """Metrics of the source of the batches."""


@contextmanager
def decoded(config: RunConfig, videos: Plan, share: Share, newest: int | None) -> Iterator[Batches]:
    """Batches of videos. The decoders run from here on, while the caller prepares the rest."""
    stream = stream_of(videos.train, range(newest or 0, config.train.steps), share)
    with closing(iter(stream)) as batches:
        yield Batches(
            newest=newest,
            train=batches,
            validation=partial(validation_batches, config, videos, share),
            measure=stream.counts.metrics,
        )


@contextmanager
def training_here(
    config: RunConfig, folder: RunFolder, videos: Plan, device: torch.device, report: Report
) -> Iterator[Fit]:
    """A training on videos in this process, as the only worker; the decoders run from here on."""
    share = Share(num_decoders=config.cluster.decoders_per_worker)
    with decoded(config, videos, share, folder.checkpoints.step()) as batches:
        yield lambda tracker: work(config, folder, batches, device, tracker=tracker, report=report)


def work(
    config: RunConfig,
    folder: RunFolder,
    batches: Batches,
    device: torch.device,
    *,
    tracker: Tracker | None,
    report: Report,
    make_method: MakeMethod | None = None,
) -> loop.History:
    """Train from the newest checkpoint, or from the start, to the last step.

    The first worker has the tracker and saves; all report.
    """
    torch.set_num_threads(max(1, int(config.cluster.cpus_per_worker)))
    learner = Learner(config, device, make_method)
    sink = RunSink(config, folder, tracker, report)
    if batches.newest is None and config.backbone.init_from:
        learner.start_from(backbone_weights(config.backbone.init_from))
    second = config.second_backbone.init_from
    if batches.newest is None and learner.method.second_encoder is not None and second:
        learner.start_second_from(backbone_weights(second))
    history = sink.restore(learner, batches.newest)
    validation = batches.validation()
    sink.say_best_metric(has_validation=bool(validation))
    with fast_kernels(device, config.train.precision):
        return loop.run(
            learner,
            sink.keep_first(batches.train),
            sink,
            validation=validation,
            history=history,
            measure=batches.measure,
        )


def validation_batches(config: RunConfig, videos: Plan, share: Share) -> list[PairBatch]:
    """The fixed pairs of validation videos that every validation uses, decoded once."""
    if videos.val is None:
        return []
    batches = range(-(-config.train.val_pairs // config.train.global_batch_size))
    return decoded_here(videos.val, batches, share)


class RunSink:
    """Metrics to MLflow and to whoever started the training, checkpoints to the run's folder."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        tracker: Tracker | None,
        report: Report,
    ) -> None:
        """The first worker has a tracker."""
        self._config, self._checkpoints = config.train, folder.checkpoints
        self._name, self._tracker, self._report = folder.name, tracker, report
        self._sheet: dict[str, torch.Tensor] | None = None
        if tracker:
            tracker.set_tags(device_tags())

    def restore(self, learner: Learner, newest: int | None) -> loop.History:
        """Load a checkpoint, if there is one, and return the history it holds."""
        state = None if newest is None else self._checkpoints.load(newest)
        if state is None:
            return []
        learner.load_state_dict(state)
        self._sheet = state["sheet"]
        if self._tracker:
            workers = plural(collectives.world_size(), "worker")
            print(
                f"{self._name}: going on from step {learner.step} of {self._config.steps}, "
                f"{workers}",
                flush=True,
            )
            self._tracker.log_missing(list(state["history"]), by="train/loss")
        return list(state["history"])

    def say_best_metric(self, *, has_validation: bool) -> None:
        """Print by what the best checkpoint is kept where the setting cannot be followed."""
        if self._tracker and not has_validation and self._config.best[1].startswith("val/"):
            mode, name = WITHOUT_VALIDATION
            print(
                f"{self._name}: no validation, so the best checkpoint is that of {mode}:{name}",
                flush=True,
            )

    def keep_first(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Pass batches on, keeping some pairs of the first frames for the figure."""
        for batch in batches:
            if self._sheet is None and isinstance(batch, PairBatch):
                self._sheet = sheet_of(batch)
            yield batch

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Metrics of a step."""
        self._report(step, metrics, False)
        if self._tracker:
            self._tracker.log_metrics(metrics, step)

    def alarm(self, alarm: Alarm) -> None:
        """Print it, and tag the run in MLflow."""
        if self._tracker:
            print(f"alarm  {self._name}: {alarm.words}", flush=True)
            self._tracker.set_tags({f"adassl.alarm.{alarm.name}": alarm.words})

    def save(self, step: int, metrics: dict[str, float], state: dict[str, Any]) -> None:
        """Save the first worker's state, then report on all.

        Raises:
            ConfigError: if `train.best_metric` is none of the metrics.
            CheckpointError: if the state cannot be written.
        """
        mode, value = best_value(self._config, metrics)
        if self._tracker:
            state |= {"sheet": self._sheet, "mlflow_run_id": self._tracker.run_id}
            by = self._config.best_metric
            by = "" if by == "val/loss" else by  # as runs had it before there was a choice
            self._checkpoints.save(step, state, best_value=value, mode=mode, by=by)
        self._report(step, metrics, True)


def best_value(config: TrainConfig, metrics: dict[str, float]) -> tuple[str, float]:
    """The direction and the value by which the best checkpoint is kept.

    Raises:
        ConfigError: if there is no such metric.
    """
    mode, name = config.best
    if name.startswith("val/") and not any(key.startswith("val/") for key in metrics):
        mode, name = WITHOUT_VALIDATION
    if name not in metrics:
        known = ", ".join(sorted(without_dimensions(metrics)))
        raise ConfigError(f"train.best_metric={name} is none of {known}")
    return mode, metrics[name]


def sheet_of(batch: PairBatch) -> dict[str, torch.Tensor]:
    """Some pairs of a batch, for a figure."""
    views = {"context": batch.context, "target": batch.target, "surrogate": batch.surrogate}
    sheet = {k: torch.from_numpy(v[:SHEET_PAIRS].copy()) for k, v in views.items() if v is not None}
    return {**sheet, "video": torch.from_numpy(batch.video[:SHEET_PAIRS].copy())}
