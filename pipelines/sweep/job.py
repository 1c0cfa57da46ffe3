"""`adassl sweep` whole: space → settings → trials on Ray Tune → report, in MLflow throughout.

driver                          each trial, a process of its own
────────────────────────────────────────────────────────────────────
Tuner ◄── TrialQueue           run_trial: the job of `adassl train`
│         (store: what is left)│  one worker: in this very process
│                               │  more: a TorchTrainer of its own
TrialCallback ◄── step, score ──────┘  its folder, its run in MLflow
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipelines import tracking
from pipelines.config.run import ConfigError, RunConfig
from pipelines.job import with_absolute_index
from pipelines.storage.folder import Folder
from pipelines.sweep.pruning import scheduler_of
from pipelines.sweep.register import SweepOptions, register
from pipelines.sweep.report.write import Report, write_report
from pipelines.sweep.settings import decide
from pipelines.tracking import Tracker
from pipelines.trials.queue import TrialQueue
from pipelines.trials.records import TrialRecord, Value
from pipelines.trials.run import conduct
from pipelines.trials.store import TrialStore
from tune_spaces import Space


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
        """Whether anything came of it."""
        return any(trial.state == "finished" for trial in self.trials)


def sweep(config: RunConfig, space: Space, options: SweepOptions, folder: Folder) -> SweepResult:
    """Run the trials that are left of a sweep, and report on all of them.

    Raises:
        UserError: before anything starts, for whatever cannot work.
        KeyboardInterrupt: on Ctrl-C or SIGTERM.
    """
    config = with_absolute_index(config)
    store = TrialStore(folder)
    scheduler = scheduler_of(options.scheduler, config, space, store)
    record = register(config, space, options, store)
    first_seed = config.train.seed

    def decide_next(number: int) -> dict[str, Value]:
        trials = store.all_trials()
        return decide(space, options.search, number, seed=first_seed, trials=trials)

    search = TrialQueue(store, decide_next, first_seed=first_seed)
    with conduct(config, store, search, scheduler, most=options.max_concurrent) as tracker:
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
