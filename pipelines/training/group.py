"""The training on Ray Train: a group of workers, each with its own share of the stream.

driver                       each of N workers (DDP)
─────────────────────────────────────────────────────────────────
TorchTrainer.fit() ────────► learner ← newest checkpoint
│                            stream of its share of each global batch
│                            loop: step, log (rank 0 → MLflow), save
newest checkpoint ◄───────── rank 0 saves it in the run's folder; all report(metrics)
"""

from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any

import ray.train
import ray.train.collective
import ray.train.torch
from ray.train import FailureConfig, LoggingConfig, ScalingConfig, TrainingFailedError

from pipelines.cluster import Demand, quiet_ray
from pipelines.config.run import ConfigError, RunConfig, parse
from pipelines.errors import UserError
from pipelines.storage import runs
from pipelines.storage.runs import RunFolder
from pipelines.tracking import Tracker
from pipelines.training.loop import History
from pipelines.training.worker import decoded, work
from pipelines.video.plan import plan
from pipelines.video.stream import Share


class TrainingStoppedError(UserError, RuntimeError):
    """A training that could not go on; the message says why."""


def train(
    config: RunConfig,
    folder: RunFolder,
    demand: Demand,
    tracker: Tracker,
    *,
    callbacks: Sequence[Any] = (),
) -> History:
    """Start or continue a training on the connected cluster, and return its history.

    `callbacks` are Ray Train's, such as Tune's, which receives every report.

    Raises:
        ConfigError: for settings that these devices cannot run.
        TrainingStoppedError: when workers failed more often than `max_failures`.
    """
    if config.train.sync_batchnorm and not demand.gpus_per_worker:
        raise ConfigError("train.sync_batchnorm=true needs GPUs: torch has none for CPUs")
    started_late = tracker.run_id is None
    payload = {
        "config": config.model_dump(mode="json"),
        "folder": str(folder),
        "tracking_uri": tracker.uri,
        "mlflow_run_id": tracker.run_id,
        "quiet": bool(callbacks),  # who receives the reports prints them
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
    history: History = state["history"]
    if started_late:  # the workers had no run to log to
        for entry in history:
            tracker.log_metrics(entry, int(entry["step"]))
    return history


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
    config, folder = parse(payload["config"]), RunFolder(payload["folder"])
    context = ray.train.get_context()
    share = Share(
        rank=context.get_world_rank(),
        num_workers=context.get_world_size(),
        num_decoders=config.cluster.decoders_per_worker,
    )
    tracker = None
    newest = None
    if share.rank == 0:
        uri, run_id = payload["tracking_uri"], payload["mlflow_run_id"]
        tracker = Tracker.attach(uri, run_id, system_metrics=True)
        newest = folder.checkpoints.step()
    # The first worker says which it is: all go on from the same.
    newest = ray.train.collective.broadcast_from_rank_zero(newest)
    videos = plan(config)
    try:
        with decoded(config, videos, share, newest) as batches:
            work(
                config,
                folder,
                batches,
                ray.train.torch.get_device(),
                tracker=tracker,
                report=report,
                quiet=payload["quiet"],
            )
    finally:
        if tracker:
            tracker.close()


def report(step: int, metrics: dict[str, float], is_validation: bool) -> None:
    """Tell Ray Train, on all workers, which wait for one another in it."""
    ray.train.report({**metrics, "step": step, "is_validation": is_validation})
