"""One trial of a sweep, as Tune runs it: the training job of `adassl train`, judged on validation.

A single worker trains in this very process: a worker group would cost more time than a small trial
takes. More workers are a group of Ray Train's that this process drives.
"""

import gc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback

from pipelines.cluster import Demand, quiet_ray
from pipelines.config import ConfigError, RunConfig, parse, with_overrides
from pipelines.plan import Plan, plan
from pipelines.runs import RunFolder, last_metrics, newest_state
from pipelines.storage import Folder
from pipelines.tracked import tracked
from pipelines.tracking import Tracker
from pipelines.train import train
from pipelines.video.stream import Share
from pipelines.worker import work

STALLS_FILE = "stalls.txt"
MOST_STALLS = 2
"""Processes of a trial that may stop moving before it counts as failed."""
NUM_PAIRS = 1000
"""Pairs of each split that the final probes see."""
LATENT_FIGURES = (
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
class Voice:
    """How a trial's reports look: plain numbers and words that the conductor reads."""

    metric: str
    num_steps: int
    is_baseline: bool
    ids: dict[str, str | None] = field(default_factory=dict)

    def tell(self, step: int, metrics: Mapping[str, float], is_look: bool) -> dict[str, Any]:
        """The report of a step; of a look, with the metric that the sweep is judged by."""
        report = {
            "step": step,
            "num_steps": self.num_steps,
            "metrics": dict(metrics),
            "mlflow_run_id": self.ids.get("mlflow"),
            "outcome": "",
            "reason": "",
        }
        if is_look and self.metric in metrics:
            report["look"] = metrics[self.metric]
            if not self.is_baseline:  # what the others are held against is never pruned
                report["score"] = metrics[self.metric]
        return report

    def end(self, outcome: str, reason: str, metrics: Mapping[str, float]) -> dict[str, Any]:
        """The last report."""
        step = int(metrics.get("step", 0))
        return {**self.tell(step, metrics, False), "outcome": outcome, "reason": reason}


class Forward(TuneReportCallback):
    """Passes the reports of a worker group on to Tune."""

    def __init__(self, voice: Voice) -> None:
        """To be made in the trial's process."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._voice = voice

    def after_report(self, run_context: Any, metrics: Any, checkpoint: Any) -> None:
        """The first worker's report."""
        known = dict(metrics[0])
        told = self._voice.tell(int(known.pop("step")), known, known.pop("is_look"))
        super().after_report(run_context, [told], None)


def resources_of(demand: Demand) -> dict[str, float]:
    """What Tune reserves for a trial's own process; decoders and workers ask for themselves."""
    if demand.num_workers > 1:
        return dict(demand.driver)
    return {"CPU": demand.cpus_per_worker, "GPU": demand.gpus_per_worker}


def run_trial(trial: Mapping[str, Any], *, job: TrialJob) -> None:
    """Train and judge one trial, or go on with it; how it ended is its last report."""
    quiet_ray()
    gc.collect()  # the process may have run another trial
    config = with_overrides(
        parse(job.config), {**trial["params"], "train.seed": int(trial["seed"])}
    )
    folder = RunFolder(Folder(job.trials).child(trial["name"]))
    voice = Voice(
        metric=job.metric,
        num_steps=config.train.steps,
        is_baseline=bool(trial["is_baseline"]),
    )
    stalls = (folder.folder.read_text(STALLS_FILE) or "").splitlines()
    if len(stalls) >= MOST_STALLS:
        folder.folder.remove(STALLS_FILE)  # the same command may try again
        tune.report(voice.end("failed", f"{stalls[-1]}, {len(stalls)} times", {}))
        return
    try:
        metrics = _train_and_judge(config, folder, job, voice)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        tune.report(voice.end("failed", reason, {}))
    else:
        tune.report(voice.end("finished", "", metrics))


def _train_and_judge(
    config: RunConfig, folder: RunFolder, job: TrialJob, voice: Voice
) -> dict[str, float]:
    from pipelines.evaluate import evaluate  # which takes a second to import

    videos = plan(config)
    folder.claim(config, videos.digest)
    with tracked(config, folder, videos, job.tracking_uri, job.parent_run_id) as tracker:
        voice.ids["mlflow"] = tracker.run_id
        if job.demand.num_workers > 1:
            state = train(config, folder, job.demand, tracker, callbacks=[Forward(voice)])
        else:
            state = _train_here(config, folder, videos, tracker, voice, job.demand)
        metrics = last_metrics(state)
        done = evaluate(
            folder,
            split="val",
            num_pairs=NUM_PAIRS,
            num_decoders=config.cluster.decoders_per_worker,
            draw=False,
        )
        probes = {  # what the last look has not, and not the use of each dimension of r
            key: value
            for key, value in done.metrics.items()
            if key not in metrics and not key.startswith("val/latent_use/")
        }
        metrics = comparable({**metrics, **probes})
        if job.metric not in metrics:
            known = ", ".join(sorted(key for key in metrics if key.startswith("val/")))
            raise ConfigError(f"there is no {job.metric} to judge by; there are {known}")
        tracker.log_metrics(metrics, config.train.steps)
        folder.add_to_summary(metrics)
        return metrics


def _train_here(
    config: RunConfig,
    folder: RunFolder,
    videos: Plan,
    tracker: Tracker,
    voice: Voice,
    demand: Demand,
) -> dict[str, Any]:
    """The training in this process, which takes the worker's place."""
    newest = folder.checkpoints.step()
    if newest != config.train.steps:
        work(
            config,
            folder,
            videos,
            Share(num_decoders=config.cluster.decoders_per_worker),
            torch.device("cuda" if demand.gpus_per_worker else "cpu"),
            newest=newest,
            tracker=tracker,
            report=lambda step, metrics, is_look: tune.report(voice.tell(step, metrics, is_look)),
            quiet=True,
        )
    state = newest_state(folder)
    assert state is not None, "a training that ended well has a checkpoint"
    return state


def comparable(metrics: Mapping[str, float]) -> dict[str, float]:
    """The same keys for every method: one without r carries nothing in it.

    MLflow's parallel coordinates leave out a run that lacks a metric.
    """
    empty = {f"{split}/{name}": 0.0 for split in ("train", "val") for name in LATENT_FIGURES}
    return {**empty, **metrics}
