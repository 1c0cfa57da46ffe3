"""`adassl sweep` whole: space → settings → trials on Ray Tune → report, in MLflow throughout.

driver                          each trial, a process of its own
────────────────────────────────────────────────────────────────────
Tuner ◄── TrialQueue           run_trial: the job of `adassl train`
│         (store: what is left)│  one worker: in this very process
│                               │  more: a TorchTrainer of its own
TrialCallback ◄── step, score ──────┘  its folder, its run in MLflow
"""

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines import tracking
from pipelines.config.run import ConfigError, RunConfig, with_overrides
from pipelines.job import with_absolute_index
from pipelines.pairs.plan import plan
from pipelines.storage.folder import Folder
from pipelines.storage.lease import only_one
from pipelines.sweep.pruning import Scheduler, scheduler_of
from pipelines.sweep.report.write import Report, write_report
from pipelines.sweep.settings import Search, decide, num_settings
from pipelines.tracking import Tracker
from pipelines.trials.queue import TrialQueue
from pipelines.trials.records import SweepRecord, TrialRecord, Value
from pipelines.trials.run import run_remaining
from pipelines.trials.store import TrialStore
from tune_spaces import Choice, Space


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """How a space is searched."""

    space_name: str
    num_trials: int | None = None
    num_seeds: int = 2
    search: Search = "tpe"
    scheduler: Scheduler = "asha"
    max_concurrent: int | None = None


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """Where everything of a finished sweep is."""

    folder: Folder
    report: Report
    trials: list[TrialRecord]
    ui_command: str

    @property
    def failed(self) -> list[TrialRecord]:
        """The trials that failed; the same command tries them again."""
        return [trial for trial in self.trials if trial.state == "failed"]

    @property
    def has_finished_trials(self) -> bool:
        """Whether there is anything to report."""
        return any(trial.state == "finished" for trial in self.trials)


def sweep(config: RunConfig, space: Space, options: SweepOptions, folder: Folder) -> SweepResult:
    """Run the trials that are left of a sweep, and report on all of them.

    Raises:
        UserError: before anything starts, for whatever cannot work.
        KeyboardInterrupt: on Ctrl-C or SIGTERM.
    """
    with only_one(folder):
        return _sweep(with_absolute_index(config), space, options, folder)


def _sweep(config: RunConfig, space: Space, options: SweepOptions, folder: Folder) -> SweepResult:
    store = TrialStore(folder)
    scheduler = scheduler_of(options.scheduler, config, space, store)
    record = register(config, space, options, store)
    first_seed = config.train.seed

    def decide_next(number: int) -> dict[str, Value]:
        trials = store.all_trials()
        return decide(space, options.search, number, seed=first_seed, trials=trials)

    search = TrialQueue(store, decide_next, first_seed=first_seed)
    with run_remaining(config, store, search, scheduler, most=options.max_concurrent) as tracker:
        report = _report(store, tracker)
    return SweepResult(
        folder=folder,
        report=report,
        trials=store.all_trials(),
        ui_command=tracking.ui_command(record.tracking_uri),
    )


def write_sweep_report(folder: Folder, metric: str | None = None) -> Report:
    """`adassl sweep-report`: what the store of a sweep says, without running anything.

    Raises:
        ConfigError: if there is no sweep in the folder.
    """
    store = TrialStore(folder)
    if store.sweep is None:
        raise ConfigError(f"{folder} holds no sweep: no sweep.json; see `adassl sweep --help`")
    local = _report_folder(folder)
    report = write_report(store.sweep, store.all_trials(), local, name=folder.name, metric=metric)
    if folder.local is None:
        for path in local.iterdir():
            folder.child("report").put(path, path.name)
    return report


def _report(store: TrialStore, tracker: Tracker) -> Report:
    """The report at the end of a sweep, into its folder and its run."""
    assert store.sweep is not None
    report = write_sweep_report(store.folder)
    tracker.log_file(report.page.parent, "report")
    tracker.log_metrics(report.metrics, store.sweep.num_settings)
    return report


def _report_folder(folder: Folder) -> Path:
    if folder.local is None:
        return Path(tempfile.mkdtemp(prefix="adassl-report-"))
    path = folder.local / "report"
    path.mkdir(parents=True, exist_ok=True)
    return path


def register(
    config: RunConfig, space: Space, options: SweepOptions, store: TrialStore
) -> SweepRecord:
    """Check everything that can be checked before Ray starts, and take the name."""
    _check(config, space, options)
    videos = plan(config)
    _check_metric(space.metric, options, has_validation=videos.val is not None)
    for line in videos.lines():
        print(line, flush=True)
    record = SweepRecord(
        space=options.space_name,
        metric=space.metric,
        mode=space.mode,
        sampled={key: _range_json(range_) for key, range_ in space.sampled.items()},
        baseline=space.baseline,
        first_settings=space.first,
        search=options.search,
        scheduler=options.scheduler,
        num_settings=num_settings(space, options.search, options.num_trials, options.num_seeds),
        num_seeds=options.num_seeds,
        config=config.model_dump(mode="json"),
        data_digest=videos.digest,
        tracking_uri=tracking.resolve_uri(config.tracking.uri, store.folder.parent.local),
        mlflow_run_id=store.sweep.mlflow_run_id if store.sweep else None,
    )
    store.register(record)
    return record


def _check(config: RunConfig, space: Space, options: SweepOptions) -> None:
    """Check that every setting that may come up makes a valid config."""
    for point in [*space.first, *space.grid(), *([space.baseline] if space.baseline else [])]:
        try:
            with_overrides(config, point)
        except ConfigError as error:
            raise ConfigError(f"space {options.space_name}: {point}: {error}") from None


def _check_metric(metric: str, options: SweepOptions, *, has_validation: bool) -> None:
    if metric.startswith("val/") and not has_validation:
        raise ConfigError(
            f"the sweep is judged by {metric}, and there are no validation videos: index again "
            "with a larger --val-share, and leave train.val_pairs above 0"
        )
    if options.scheduler == "asha" and metric.count("/") != 1:
        raise ConfigError(
            f"{metric} is only known at the end of a trial: use --scheduler none with it"
        )


def _range_json(range_: Any) -> dict[str, Any]:
    kind = "choice" if isinstance(range_, Choice) else "log_uniform"
    return {"kind": kind, **json.loads(json.dumps(asdict(range_)))}
