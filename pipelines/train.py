"""The training on Ray Train: a group of workers, each with its own share of the stream.

driver                       each of N workers (DDP)
─────────────────────────────────────────────────────────────────
TorchTrainer.fit() ────────► learner ← newest checkpoint
│                            stream of its share of each global batch
│                            loop: step, log (rank 0 → MLflow), save
newest checkpoint ◄───────── rank 0 saves it in the run's folder; all report(metrics)
"""

from collections.abc import Iterable, Iterator, Sequence
from tempfile import TemporaryDirectory
from typing import Any

import ray.train
import ray.train.collective
import ray.train.torch
import torch
from ray.train import FailureConfig, LoggingConfig, ScalingConfig, TrainingFailedError

from pipelines import loop, runs
from pipelines.cluster import Demand, quiet_ray
from pipelines.config import ConfigError, RunConfig, TrainConfig, parse
from pipelines.errors import UserError
from pipelines.learner import Learner
from pipelines.plan import Plan, plan
from pipelines.runs import RunFolder
from pipelines.tracking import Tracker, device_tags
from pipelines.video.pairs import PairBatch
from pipelines.video.stream import PairStream, Share

SHEET_PAIRS = 8


class TrainingStoppedError(UserError, RuntimeError):
    """A training that could not go on; the message says why."""


def train(
    config: RunConfig,
    folder: RunFolder,
    demand: Demand,
    tracker: Tracker,
    *,
    callbacks: Sequence[Any] = (),
) -> dict[str, Any]:
    """Run or go on with a training on the connected cluster, and return its last state.

    `callbacks` are Ray Train's, such as Tune's, which hears of every save.

    Raises:
        ConfigError: for settings that these devices cannot run.
        TrainingStoppedError: when workers failed more often than `max_failures`.
    """
    if config.train.sync_batchnorm and not demand.gpus_per_worker:
        raise ConfigError("train.sync_batchnorm=true needs GPUs: torch has none for CPUs")
    if (done := runs.newest_state(folder)) and done["step"] == config.train.steps:
        print(f"{folder.name} had finished: {config.train.steps} steps", flush=True)
        return done
    payload = {
        "config": config.model_dump(mode="json"),
        "folder": str(folder),
        "tracking_uri": tracker.uri,
        "mlflow_run_id": tracker.run_id,
    }
    # Ray's own notes of a run, which hold no checkpoint, need no place that workers share, and a
    # new one each time, lest Ray take up what it finds there.
    with TemporaryDirectory(prefix="adassl-ray-train-") as notes:
        run_config = ray.train.RunConfig(
            name=folder.name,
            logging_config=LoggingConfig(log_level="ERROR"),  # type: ignore[call-arg]  # is v2's
            storage_path=notes,
            failure_config=FailureConfig(max_failures=config.cluster.max_failures),
            callbacks=list(callbacks),
        )
        trainer = ray.train.torch.TorchTrainer(
            train_worker,
            train_loop_config=payload,
            scaling_config=_scaling(demand),
            run_config=run_config,
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            raise TrainingStoppedError(_why(error, folder)) from error
    state = runs.newest_state(folder)
    assert state is not None, "a training that ended well has a checkpoint"
    return state


def _scaling(demand: Demand) -> ScalingConfig:
    gpus = {"GPU": float(demand.gpus_per_worker)} if demand.gpus_per_worker else {}
    return ScalingConfig(
        num_workers=demand.num_workers,
        use_gpu=bool(gpus),
        resources_per_worker={"CPU": demand.cpus_per_worker, **gpus},
    )


def _why(error: TrainingFailedError, folder: RunFolder) -> str:
    """What ended the training, in the words of the workers, and how to go on."""
    failures = getattr(error, "worker_failures", {})
    said = [f"worker {rank}: {str(cause).strip()}" for rank, cause in failures.items()]
    reasons = "\n".join(said) or str(error)
    return (
        f"{folder.name} stopped:\n{reasons}\n"
        "Once that is mended, the same command goes on from the newest checkpoint"
    )


def train_worker(payload: dict[str, Any]) -> None:
    """What each Ray Train worker runs."""
    quiet_ray()
    config = parse(payload["config"])
    context = ray.train.get_context()
    torch.set_num_threads(max(1, int(config.cluster.cpus_per_worker)))
    share = Share(
        rank=context.get_world_rank(),
        num_workers=context.get_world_size(),
        num_decoders=config.cluster.decoders_per_worker,
    )
    learner = Learner(config, ray.train.torch.get_device())
    sink = TrainSink(config, payload, is_first=share.rank == 0)
    history = sink.restore(learner)
    videos = plan(config)
    validation = validation_batches(config, videos, share)
    stream = PairStream(videos.train, range(learner.step, config.train.steps), share)
    try:
        loop.run(
            learner,
            sink.keep_first(stream),
            sink,
            validation=validation,
            history=history,
            measure=stream.counts.metrics,
        )
    finally:
        sink.close()


def validation_batches(config: RunConfig, videos: Plan, share: Share) -> list[PairBatch]:
    """The fixed pairs of validation videos that every look uses, decoded once."""
    if videos.val is None:
        return []
    batches = range(-(-config.train.val_pairs // config.train.global_batch_size))
    return list(PairStream(videos.val, batches, share))


class TrainSink:
    """Metrics to MLflow and the terminal, checkpoints to the run's folder."""

    def __init__(self, config: RunConfig, payload: dict[str, Any], *, is_first: bool) -> None:
        """Join the run's MLflow run on the first worker."""
        self._config, self._payload = config.train, payload
        self._checkpoints = RunFolder(payload["folder"]).checkpoints
        self._sheet: dict[str, torch.Tensor] | None = None
        self._tracker: Tracker | None = None
        self._warm = False
        if is_first:
            self._tracker = Tracker.attach(
                payload["tracking_uri"], payload["mlflow_run_id"], system_metrics=True
            )
            self._tracker.set_tags(device_tags())

    def restore(self, learner: Learner) -> loop.History:
        """Load the newest checkpoint, if there is one, and return the history it holds.

        The first worker says which it is: all go on from the same.
        """
        newest = self._checkpoints.step() if self._tracker else None
        newest = ray.train.collective.broadcast_from_rank_zero(newest)
        state = None if newest is None else self._checkpoints.load(newest)
        if state is None:
            return []
        learner.load_state_dict(state)
        self._sheet = state["sheet"]
        if self._tracker:
            print(f"going on from step {learner.step} of {self._config.steps}", flush=True)
        return list(state["history"])

    def keep_first(self, batches: Iterable[PairBatch]) -> Iterator[PairBatch]:
        """Pass batches on, keeping some pairs of the first for the figure."""
        for batch in batches:
            if self._sheet is None:
                self._sheet = sheet_of(batch)
            yield batch

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Metrics of a step, on the first worker."""
        if self._tracker is None:
            return
        self._tracker.log_metrics(metrics, step)
        # The first steps' time is that of starting the decoders.
        left = (self._config.steps - step) * metrics["time/step_seconds"] if self._warm else None
        self._warm = True
        print(loop.progress_line(step, self._config.steps, metrics, seconds_left=left), flush=True)

    def save(self, step: int, metrics: dict[str, float], state: dict[str, Any]) -> None:
        """Keep the first worker's state; then report on all, which wait for one another in it.

        Raises:
            ConfigError: if `train.best_metric` is none of the metrics.
            CheckpointError: if the state cannot be written.
        """
        best = best_value(self._config, metrics)
        if self._tracker:
            state |= {"sheet": self._sheet, "mlflow_run_id": self._payload["mlflow_run_id"]}
            self._checkpoints.save(step, state, best_value=best)
        ray.train.report({**metrics, "step": step, "best": best})

    def close(self) -> None:
        """Send what is still buffered."""
        if self._tracker:
            self._tracker.close()


def best_value(config: TrainConfig, metrics: dict[str, float]) -> float:
    """The value by which the best checkpoint is kept; the training loss where nothing is validated.

    Raises:
        ConfigError: if there is no such metric.
    """
    name = config.best_metric
    if name.startswith("val/") and not any(key.startswith("val/") for key in metrics):
        name = "train/loss"
    if name not in metrics:
        raise ConfigError(f"train.best_metric={name} is none of {', '.join(sorted(metrics))}")
    return metrics[name]


def sheet_of(batch: PairBatch) -> dict[str, torch.Tensor]:
    """Some pairs of a batch, for a figure."""
    views = {"context": batch.context, "target": batch.target, "surrogate": batch.surrogate}
    sheet = {k: torch.from_numpy(v[:SHEET_PAIRS].copy()) for k, v in views.items() if v is not None}
    return {**sheet, "video": torch.from_numpy(batch.video[:SHEET_PAIRS].copy())}
