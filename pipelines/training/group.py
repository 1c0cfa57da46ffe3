"""The training on Ray Train: a group of workers, each with its own share of the stream.

driver                       each of N workers (DDP)
─────────────────────────────────────────────────────────────────
TorchTrainer.fit() ────────► learner ← newest checkpoint
│                            stream of its share of each global batch
│                            loop: step, log (rank 0 → MLflow), save
newest checkpoint ◄───────── rank 0 saves it in the run's folder; all report(metrics)
"""

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import Any

import ray.train
import ray.train.collective
import ray.train.torch
from ray.train import (
    ControllerError,
    FailureConfig,
    LoggingConfig,
    TrainingFailedError,
    UserCallback,
)
from ray.train.v2.api.config import ScalingConfig

from pipelines.cluster import Demand, quiet_ray
from pipelines.config.run import ConfigError, RunConfig, parse
from pipelines.errors import UserError
from pipelines.pairs.plan import plan
from pipelines.storage import runs
from pipelines.storage.checkpoints import CheckpointError
from pipelines.storage.remote import StorageError
from pipelines.storage.runs import RunFolder
from pipelines.tracking import Tracker
from pipelines.training.elastic import GroupTrainer
from pipelines.training.learner import MakeMethod
from pipelines.training.loop import History
from pipelines.training.progress import shown
from pipelines.training.worker import decoded, work
from pipelines.video.pairs import TooManyFailuresError
from pipelines.video.stream import Share

RESIZE_SECONDS = 30.0
"""Between two looks at whether an elastic group has room for more workers, or too little for its
own: after the loss of a node it may have started before the cluster knew of it."""


class TrainingStoppedError(UserError, RuntimeError):
    """A training that could not continue; the message says why."""


def train(
    config: RunConfig,
    folder: RunFolder,
    demand: Demand,
    tracker: Tracker,
    *,
    callbacks: Sequence[Any] = (),
    make_method: MakeMethod | None = None,
) -> History:
    """Start or continue a training on the connected cluster, and return its history.

    `callbacks` are Ray Train's, such as Tune's, which receives every report; without one the
    reports are shown here. `make_method` takes the place of what the config describes, on every
    worker.

    Raises:
        ConfigError: for settings that these devices cannot run.
        TrainingStoppedError: when workers failed more often than `max_failures`, or by an error
            that would repeat.
    """
    if config.train.sync_batchnorm and not demand.gpus_per_worker:
        raise ConfigError(
            "train.sync_batchnorm=true needs GPUs: torch has none for CPUs. Leave it unset"
        )
    # A report waits until Ray Train's controller has fetched the one before; it asks every 2 s.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    started_late = tracker.run_id is None
    payload = {
        "config": config.model_dump(mode="json"),
        "folder": str(folder),
        "make_method": make_method,
        "tracking_uri": tracker.uri,
        "mlflow_run_id": tracker.run_id,
    }
    # Ray's own notes of a run, which hold no checkpoint, need no place that workers share, but a
    # new one each time: Ray would go on from what it finds there.
    with ExitStack() as stack:
        notes = stack.enter_context(TemporaryDirectory(prefix="adassl-ray-train-"))
        sizes = _sizes(config, demand)
        receivers = callbacks or [stack.enter_context(shown(config.train.steps))]
        run_config = ray.train.RunConfig(
            name="training",  # not the folder's: Ray Train wants ASCII
            logging_config=LoggingConfig(log_level="ERROR"),  # type: ignore[call-arg]  # is v2's
            storage_path=notes,
            failure_config=FailureConfig(max_failures=config.cluster.max_failures),
            callbacks=[StopAtRepeating(), *receivers],  # type: ignore[list-item]  # is v2's
        )
        trainer = GroupTrainer(
            train_worker,
            train_loop_config=payload,
            scaling_config=_scaling(demand, sizes),
            run_config=run_config,
            sizes=sizes,
            decoders_per_worker=config.cluster.decoders_per_worker,
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


def _sizes(config: RunConfig, demand: Demand) -> list[int]:
    """The sizes that an elastic group may have; none where the size is fixed."""
    if not demand.is_elastic:
        return []
    return [n for n in config.group_sizes if n <= demand.most_workers]


def _scaling(demand: Demand, sizes: Sequence[int]) -> ScalingConfig:
    gpus = {"GPU": float(demand.gpus_per_worker)} if demand.gpus_per_worker else {}
    return ScalingConfig(
        num_workers=(sizes[0], sizes[-1]) if sizes else demand.num_workers,
        elastic_resize_monitor_interval_s=RESIZE_SECONDS,
        use_gpu=bool(gpus),
        resources_per_worker={"CPU": demand.cpus_per_worker, **gpus},
    )


def _why(error: TrainingFailedError, folder: RunFolder) -> str:
    """What ended the training, in the words of the workers, and how to continue."""
    if isinstance(error, ControllerError):
        reasons = str(error.controller_failure).strip()
    else:
        failures = getattr(error, "worker_failures", {})
        lines = [f"worker {rank}: {str(cause).strip()}" for rank, cause in failures.items()]
        reasons = "\n".join(lines) or str(error)
    return (
        f"{folder.name} stopped:\n{reasons}\n"
        "Once that is fixed, the same command goes on from the newest checkpoint"
    )


class StopAtRepeating(UserCallback):
    """Ends a training at once by an error that every further try would meet again.

    Ray Train tries again after any error of a worker, but not after one of a callback.
    """

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:
        """In Ray Train's controller, before it decides.

        Raises:
            Exception: the worker's, if it would repeat.
        """
        for error in worker_exceptions.values():
            if repeats(error):
                # What is raised here becomes the training's error; Ray need not print it too.
                logging.getLogger("ray.train").setLevel(logging.CRITICAL)
                raise error


def repeats(error: Exception) -> bool:
    """Whether trying again is useless: a wrong setting, missing videos, a loss that diverged.

    Not a lost worker, and not a storage that may answer again.
    """
    if isinstance(error, StorageError | CheckpointError):
        return False
    return isinstance(error, UserError | TooManyFailuresError | ValueError | TypeError)


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
    # The first worker decides which: all go on from the same.
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
                make_method=payload["make_method"],
            )
    except Exception as error:
        if repeats(error):  # the driver prints what is wrong; Ray need not add a traceback
            logging.getLogger("ray.train").setLevel(logging.CRITICAL)
        raise
    finally:
        if tracker:
            tracker.close()


def report(step: int, metrics: dict[str, float], is_validation: bool) -> None:
    """Report to Ray Train, on all workers, which wait for one another in it."""
    ray.train.report({**metrics, "step": step, "is_validation": is_validation})
