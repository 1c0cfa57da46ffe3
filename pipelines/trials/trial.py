"""One trial of a sweep, as Tune runs it: the training job of `adassl train`, judged on validation.

A single worker trains in this very process: a worker group would cost more time than a small trial
takes. More workers are a group of Ray Train's that this process drives.
"""

import gc
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from ray import tune
from ray.exceptions import (
    ActorUnschedulableError,
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    WorkerCrashedError,
)
from ray.tune.integration.ray_train import TuneReportCallback

from pipelines.cluster import Demand, quiet_ray
from pipelines.config.run import ConfigError, RunConfig, parse, with_overrides
from pipelines.job import train_and_evaluate
from pipelines.pairs.plan import Plan, plan
from pipelines.storage.folder import Folder
from pipelines.storage.runs import RunFolder
from pipelines.tracking import Tracker
from pipelines.training.group import train
from pipelines.training.metrics import without_dimensions
from pipelines.training.tracked import tracked
from pipelines.training.worker import Fit, training_here

LOST = (
    RayActorError,
    ActorUnschedulableError,
    NodeDiedError,
    LocalRayletDiedError,
    ObjectLostError,
    WorkerCrashedError,
)
"""Errors of a cluster that has lost a node or a process of it, and none of the trial's own."""
TASK = "task."
SPLIT = f"{TASK}split"
"""The setting that names the split that judges a trial: `test` unless it tunes."""
ERROR_FILE = "error.txt"
"""In a trial's folder: the whole text of its last error."""
STALLS_FILE = "stalls.txt"
MOST_STALLS = 2
"""Processes of a trial that may stop moving before it counts as failed."""
NUM_PAIRS = 1000
"""Pairs of each split that the final probes see."""
LATENT_METRICS = (
    "kl",
    "l0",
    "latent_penalty_mean_dimension",
    "latent_active_dimensions",
    "latent_mean_active",
    "latent_use_entropy",
)


@dataclass(frozen=True, kw_only=True)
class TrialJob:
    """What all trials of a sweep share."""

    config: Mapping[str, Any]
    trials: str
    """The folder of their folders, a path or a URI."""
    tracking_uri: str
    parent_run_id: str | None
    metric: str
    demand: Demand


@dataclass(frozen=True, kw_only=True)
class TrialReporter:
    """Makes a trial's reports: plain numbers and words that the callback reads."""

    metric: str
    num_steps: int
    is_baseline: bool
    ids: dict[str, str | None] = field(default_factory=dict)

    def at(self, step: int, metrics: Mapping[str, float], is_validation: bool) -> dict[str, Any]:
        """The report of a step; of a validation, with the metric that the sweep is judged by."""
        report = {
            "step": step,
            "num_steps": self.num_steps,
            "is_baseline": self.is_baseline,
            "metrics": without_dimensions(metrics),
            "mlflow_run_id": self.ids.get("mlflow"),
            "outcome": "",
            "reason": "",
        }
        if is_validation and self.metric in metrics:
            report["validation"] = metrics[self.metric]
            if not self.is_baseline:  # which is never pruned
                report["score"] = metrics[self.metric]
        return report

    def end(self, outcome: str, reason: str, metrics: Mapping[str, float]) -> dict[str, Any]:
        """The last report."""
        step = int(metrics.get("step", 0))
        return {**self.at(step, metrics, False), "outcome": outcome, "reason": reason}


class Forward(TuneReportCallback):
    """Passes the reports of a worker group on to Tune."""

    def __init__(self, reporter: TrialReporter) -> None:
        """Must be made in the trial's process."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._reporter = reporter

    def after_report(self, run_context: Any, metrics: Any, checkpoint: Any) -> None:
        """The first worker's report."""
        known = dict(metrics[0])
        report = self._reporter.at(int(known.pop("step")), known, known.pop("is_validation"))
        super().after_report(run_context, [report], None)


def resources_of(demand: Demand) -> dict[str, float]:
    """What Tune reserves for a trial's own process; decoders and workers ask for themselves."""
    if demand.is_group:
        return dict(demand.driver)
    return {"CPU": demand.cpus_per_worker, "GPU": demand.gpus_per_worker}


def run_trial(trial: Mapping[str, Any], *, job: TrialJob, body: "Body | None" = None) -> None:
    """Train and judge one trial, or go on with it; how it ended is its last report.

    Params at `task.` keys are for the body; the others change the config.
    """
    quiet_ray()
    gc.collect()  # the process may have run another trial
    params = {key: value for key, value in trial["params"].items() if not key.startswith(TASK)}
    config = with_overrides(parse(job.config), {**params, "train.seed": int(trial["seed"])})
    folder = RunFolder(Folder(job.trials).child(trial["name"]))
    reporter = TrialReporter(
        metric=job.metric,
        num_steps=config.train.steps,
        is_baseline=bool(trial["is_baseline"]),
    )
    stalls = (folder.folder.read_text(STALLS_FILE) or "").splitlines()
    if len(stalls) >= MOST_STALLS:
        folder.folder.remove(STALLS_FILE)  # the same command may try again
        tune.report(reporter.end("failed", f"{stalls[-1]}, {len(stalls)} times", {}))
        return
    task = {k.removeprefix(TASK): v for k, v in trial["params"].items() if k.startswith(TASK)}
    try:
        metrics = (body or train_on_videos)(
            TrialRun(config=config, task=task, folder=folder, job=job, reporter=reporter)
        )
    except LOST:
        raise  # Tune starts another process, which goes on from the checkpoint
    except Exception as error:
        folder.folder.write_text(ERROR_FILE, traceback.format_exc())
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        tune.report(reporter.end("failed", reason, {}))
    else:
        tune.report(reporter.end("finished", "", metrics))


@dataclass(frozen=True, kw_only=True)
class TrialRun:
    """One trial in its process."""

    config: RunConfig
    task: Mapping[str, Any]
    folder: RunFolder
    job: TrialJob
    reporter: TrialReporter

    @property
    def setting(self) -> str:
        """The condition of the experiment that it is of."""
        return str(self.task["setting"])

    @property
    def split(self) -> str:
        """The split that judges it."""
        return str(self.task.get("split", "test"))

    def with_config(self, config: RunConfig) -> "TrialRun":
        """The same trial under another config."""
        return replace(self, config=config)

    def report(self, step: int, metrics: dict[str, float], is_validation: bool) -> None:
        """Report a step to Tune."""
        tune.report(self.reporter.at(step, metrics, is_validation))

    @contextmanager
    def tracked(self, videos: Plan | None) -> Iterator[Tracker]:
        """The trial's run in MLflow, below its parent's."""
        uri, parent = self.job.tracking_uri, self.job.parent_run_id
        with tracked(self.config, self.folder, videos, uri, parent, task=self.task) as tracker:
            self.reporter.ids["mlflow"] = tracker.run_id
            yield tracker

    def train_and_evaluate(
        self,
        training: AbstractContextManager[Fit],
        evaluate: Callable[["TrialRun"], dict[str, float]],
        videos: Plan | None = None,
    ) -> dict[str, float]:
        """Train the registered run and evaluate it; the final metrics, alike for all trials."""
        return train_and_evaluate(
            self.config,
            self.folder,
            training=training,
            tracked=self.tracked(videos),
            evaluate=lambda _: evaluate(self),
            final=self._final,
        )

    def _final(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """The final metrics.

        Raises:
            ConfigError: if the one to judge by is not among them.
        """
        final = comparable(metrics)
        if self.job.metric not in final:
            known = ", ".join(sorted(key for key in final if key.startswith("val/")))
            raise ConfigError(f"there is no {self.job.metric} to judge by; there are {known}")
        return final


Body = Callable[[TrialRun], dict[str, float]]
"""What a trial does; returns its final metrics."""

Judge = Callable[[TrialRun], dict[str, float]]
"""Final metrics of what was trained, from the trial's folder."""


def train_on_videos(trial: TrialRun, judge: Judge | None = None) -> dict[str, float]:
    """The training job of `adassl train`, judged on validation videos unless said otherwise."""
    config, folder, demand = trial.config, trial.folder, trial.job.demand
    videos = plan(config)
    folder.register(config, videos.digest)
    training: AbstractContextManager[Fit]
    if not demand.is_group:
        device = torch.device("cuda" if demand.gpus_per_worker else "cpu")
        training = training_here(config, folder, videos, device, trial.report)
    else:
        forward = Forward(trial.reporter)
        training = nullcontext(lambda t: train(config, folder, demand, t, callbacks=[forward]))
    return trial.train_and_evaluate(training, judge or judge_by_probes, videos)


def judge_by_probes(trial: TrialRun) -> dict[str, float]:
    """Probes on validation videos."""
    from pipelines.evaluation.evaluate import evaluate  # which takes a second to import

    decoders = trial.config.cluster.decoders_per_worker
    done = evaluate(
        trial.folder, split="val", num_pairs=NUM_PAIRS, num_decoders=decoders, whole=False
    )
    return done.metrics


def comparable(metrics: Mapping[str, float]) -> dict[str, float]:
    """The same keys for every method and d_r: one without r carries nothing in it.

    MLflow's parallel coordinates leave out a run that lacks a metric. The use of each dimension of
    r stays where it was logged, in the trial's own run.
    """
    empty = {f"{split}/{name}": 0.0 for split in ("train", "val") for name in LATENT_METRICS}
    return {**empty, **without_dimensions(metrics)}
