"""Trials on Ray Tune, each a run in MLflow below their parent's."""

import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from pipelines import tracking
from pipelines.cluster import (
    ClusterTooSmallError,
    Demand,
    connected,
    fair_share,
    joins,
    node_resources,
    trial_demand,
    trials_at_once,
    wait_for_nodes,
)
from pipelines.config.alarms import AlarmName
from pipelines.config.run import ConfigError, RunConfig, flatten
from pipelines.job import stoppable
from pipelines.tracking import Tracker
from pipelines.training.alarms import raised_in
from pipelines.trials.callback import TrialCallback
from pipelines.trials.queue import TrialQueue
from pipelines.trials.store import FAILURES, TrialStore
from pipelines.trials.trial import TrialJob, resources_of, run_trial
from pipelines.video.stream import pin_data_actors_here

MAX_LOST_PROCESSES = 3
"""Times that a trial's process is replaced by another, which goes on from the checkpoint."""


class AlarmStopper(tune.Stopper):
    """Ends a trial that has raised one of some alarms: what has collapsed does not come back.

    It never ends the baseline, which the others are compared with.
    """

    def __init__(self, names: Collection[AlarmName]) -> None:
        """The alarms that end a trial."""
        self._names = tuple(names)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether this report of a trial is its last."""
        return not result["is_baseline"] and bool(raised_in(result["metrics"], self._names))

    def stop_all(self) -> bool:
        """One trial's alarm never ends the others."""
        return False


@contextmanager
def run_remaining(
    config: RunConfig,
    store: TrialStore,
    search: TrialQueue,
    scheduler: TrialScheduler | None = None,
    *,
    most: int | None = None,
    copies: int = 1,
    trial: Callable[..., None] = run_trial,
) -> Iterator[Tracker]:
    """Run every trial of a store that has not ended, then the block, with the parent's run open.

    Args:
        config: around which the trials vary.
        store: registered; what a trial did is written there.
        search: gives the trials that are left.
        scheduler: may prune trials; unset: none does.
        most: trials at once; unset: as many as fit.
        copies: trials that a Ray of our own is made to fit.
        trial: what each does.
    """
    record = store.sweep
    assert record is not None
    total = record.num_trials
    with ExitStack() as stack:
        wanted = stack.enter_context(connected(config.cluster, copies=copies))
        stack.enter_context(stoppable())
        if joins(config.cluster):
            pin_data_actors_here()
        at_once = _at_once(config, trial_demand(wanted), most, total)
        demand = trial_demand(fair_share(wanted, node_resources(), at_once=at_once))
        close_if_killed = stack.enter_context(tracking.run_watchdog())
        tracker = stack.enter_context(_tracked(config, store))
        close_if_killed(tracker.uri, tracker.run_id)
        stack.callback(tracker.end_children)
        print(f"{record.size} = {total} trials, {at_once} at once; each {demand}", flush=True)
        job = TrialJob(
            config=config.model_dump(mode="json"),
            trials=str(store.folder.child("trials")),
            tracking_uri=tracker.uri,
            parent_run_id=tracker.run_id,
            metric=record.metric,
            demand=demand,
        )
        callback = TrialCallback(
            store, tracker, demand, config.cluster, total=total, at_once=at_once
        )
        run_trials(job, search, scheduler or FIFOScheduler(), callback, at_once, trial)
        yield tracker


def _at_once(config: RunConfig, demand: Demand, most: int | None, total: int) -> int:
    """How many trials run side by side; where nodes may still come, some wait for those asked for.

    Raises:
        ClusterTooSmallError: if there is no room for one.
    """
    if most and config.cluster.wait_minutes:
        try:
            wait_for_nodes([demand] * min(most, total), config.cluster.wait_minutes)
        except ClusterTooSmallError as error:
            print(f"{error}. Going on with as many trials as fit", flush=True)
    return trials_at_once(demand, node_resources(), most=min(total, most or total))


def run_trials(
    job: TrialJob,
    search: TrialQueue,
    scheduler: TrialScheduler,
    callback: TrialCallback,
    at_once: int,
    trial: Callable[..., None] = run_trial,
) -> None:
    """Let Tune run every trial that the search hands out, by what is to be done for each."""
    for name in (
        "TUNE_DISABLE_SIGINT_HANDLER",  # the job's own way of stopping
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS",  # MLflow and the store hold the results
        "TUNE_DISABLE_STRICT_METRIC_CHECKING",  # not every report is of a validation
    ):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # whose silence is not silent
    os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "30")  # to let go of the decoders
    trainable = tune.with_parameters(trial, job=job)
    with tempfile.TemporaryDirectory(prefix="adassl-tune-") as scratch:
        # Only for Tune's own state, which is not used again: the store is what a sweep resumes by.
        tune.Tuner(
            tune.with_resources(trainable, resources_of(job.demand)),
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=scheduler,
                num_samples=-1,
                max_concurrent_trials=at_once,
                reuse_actors=True,  # a process that has imported everything starts at once
                trial_name_creator=_name_of,
                trial_dirname_creator=_name_of,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=scratch,
                verbose=0,
                callbacks=[callback],
                stop=AlarmStopper(job.config["alarms"]["stop"]),
                failure_config=tune.FailureConfig(max_failures=MAX_LOST_PROCESSES),
            ),
        ).fit()


def _name_of(trial: Any) -> str:
    return str(trial.config["name"])


def _tracked(config: RunConfig, store: TrialStore) -> Tracker:
    """The sweep's run in MLflow, new or the one it had.

    Raises:
        ConfigError: if MLflow makes none, with what it said: the trials' runs belong under it.
    """
    sweep = store.sweep
    assert sweep is not None
    tracker = Tracker.start(
        sweep.tracking_uri,
        config.tracking.experiment,
        store.folder.name,
        tags={**tracking.standard_tags(), "adassl.sweep": store.folder.name},
        run_id=sweep.mlflow_run_id,
    )
    if tracker.run_id is None:
        tracker.finish()
        reason = tracker.last_error or "it did not answer in time"
        raise ConfigError(
            f"no run in MLflow ({tracking.ui_command(sweep.tracking_uri)}): {reason}. Start it, "
            "or set MLFLOW_TRACKING_URI or tracking.uri to one that runs"
        )
    store.keep(replace(sweep, mlflow_run_id=tracker.run_id))
    params = {**flatten(config.model_dump(mode="json")), "failures_allowed": FAILURES}
    own = ("space", "search", "scheduler", "metric", "mode", "num_settings", "num_seeds")
    tracker.log_params({**params, **{key: getattr(sweep, key) for key in own}})
    tracker.log_config(json.loads(json.dumps(asdict(sweep))))
    return tracker
