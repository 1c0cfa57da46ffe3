"""`adassl experiment`: data → trials on Ray Tune → tables, figures and a page, in MLflow."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import joblib

from pipelines import tracking
from pipelines.config.run import ConfigError, RunConfig, with_overrides
from pipelines.experiments.grid import Experiment
from pipelines.experiments.page import VALUES, Origin, Section
from pipelines.experiments.results import Results
from pipelines.storage.folder import Folder
from pipelines.storage.lease import only_one
from pipelines.tracking import Tracker
from pipelines.tracking.provenance import git_commit
from pipelines.trials.queue import TrialQueue
from pipelines.trials.records import SweepRecord, TrialRecord, Value
from pipelines.trials.run import run_remaining
from pipelines.trials.store import FAILURES, TrialStore

COMMITS = "commits.json"
"""In the experiment's folder: the commits that have run trials of it."""


@dataclass(frozen=True, kw_only=True)
class ExperimentResult:
    """Where everything of an experiment is."""

    folder: Folder
    page: Path
    trials: list[TrialRecord]
    ui_command: str

    @property
    def failed(self) -> list[TrialRecord]:
        """The trials that failed; the same command tries them again."""
        return [trial for trial in self.trials if trial.state == "failed"]


def run_experiment(
    experiment: Experiment,
    folder: Folder,
    *,
    command: str,
    at_once: int | None = None,
    docs: Path | None = None,
) -> ExperimentResult:
    """Run the trials that are left, and write the tables, the figures and the page.

    Args:
        experiment: what to run.
        folder: of everything; the same one goes on.
        command: that the page names as its origin.
        at_once: trials side by side; unset: one for each core here, or as many as a cluster holds.
        docs: a folder for the page and its pictures too.

    Raises:
        UserError: before anything starts, for whatever cannot work.
        KeyboardInterrupt: on Ctrl-C or SIGTERM.
    """
    if folder.local is None:
        raise ConfigError(f"{folder}: an experiment needs a folder on this machine")
    with only_one(folder):
        return _run(experiment, folder, command=command, at_once=at_once, docs=docs)


def _run(
    experiment: Experiment,
    folder: Folder,
    *,
    command: str,
    at_once: int | None,
    docs: Path | None,
) -> ExperimentResult:
    # What collapses is a row of the tables too.
    config = with_overrides(experiment.prepare(experiment.config, folder), {"alarms.stop": []})
    uri = tracking.resolve_uri(config.tracking.uri, folder.parent.local)
    if experiment.tuning is not None:
        trials = experiment.of_tuning()
        with _trials_run(trials, config, folder.child(trials.name), uri=uri, at_once=at_once):
            pass
    experiment, tuned = tuned_by(experiment, folder)
    with _trials_run(experiment, config, folder, uri=uri, at_once=at_once) as tracker:
        page = write_report(experiment, folder, command=command, docs=docs, tuning=tuned)
        if tracker is not None:
            tracker.log_file(page.parent, "report")
    store = TrialStore(folder)
    return ExperimentResult(
        folder=folder, page=page, trials=store.all_trials(), ui_command=tracking.ui_command(uri)
    )


@contextmanager
def _trials_run(
    experiment: Experiment, config: RunConfig, folder: Folder, *, uri: str, at_once: int | None
) -> Iterator[Tracker | None]:
    """Run the trials that are left, then the block, with the run in MLflow, if any had to run."""
    store = TrialStore(folder)
    record = SweepRecord(
        space=experiment.name,
        metric=experiment.metric,
        mode="max",
        sampled={},
        baseline=None,
        first_settings=[dict(arm.settings) for arm in experiment.arms],
        search="grid",
        scheduler="none",
        num_settings=len(experiment.arms),
        num_seeds=experiment.num_seeds,
        seeds_of_settings=[experiment.seeds_of(arm) for arm in experiment.arms],
        setting_names=[arm.name for arm in experiment.arms],
        config=config.model_dump(mode="json"),
        data_digest="",
        tracking_uri=uri,
        mlflow_run_id=store.sweep.mlflow_run_id if store.sweep else None,
    )
    store.register(record)

    def setting(number: int) -> dict[str, Value]:
        return dict(experiment.arms[number].settings)

    if not trials_left(store):
        yield None
        return
    _note_commit(store)
    search = TrialQueue(store, setting, first_seed=config.train.seed)
    is_ours = not (config.cluster.address or os.environ.get("RAY_ADDRESS"))
    copies = (at_once or joblib.cpu_count()) if is_ours else 1
    with run_remaining(
        config,
        store,
        search,
        most=copies if is_ours else at_once,
        copies=copies,
        trial=experiment.trial,
    ) as tracker:
        yield tracker


def tuned_by(experiment: Experiment, folder: Folder) -> tuple[Experiment, Section | None]:
    """An experiment with the settings that its tuning has chosen, and the section on it.

    Raises:
        ConfigError: if an arm has no finished trial of its tuning.
    """
    if experiment.tuning is None:
        return experiment, None
    trials = experiment.of_tuning()
    store = TrialStore(folder.child(trials.name))
    results = Results.of(trials.arms, store.all_trials(), num_trials=trials.num_trials)
    minutes = results.runs.seconds.sum() / 60 if len(results.runs) else 0
    section = Section(
        title="Tuning",
        text=(
            f"{experiment.tuning.metric} of each setting tried, one training each; the best is "
            f"bold. {trials.num_trials} trainings, {minutes:.0f} minutes one after another."
        ),
        tables={"tuning": experiment.tuning.table(experiment.arms, results)},
    )
    arms = experiment.tuning.chosen(experiment.arms, results)
    return replace(experiment, arms=arms), section


def _note_commit(store: TrialStore) -> None:
    known: list[str] = store.folder.read_json(COMMITS) or []
    commit = git_commit()
    if commit and commit not in known:
        store.folder.write_json(COMMITS, [*known, commit])


def trials_left(store: TrialStore) -> bool:
    """Whether any trial of a registered store is still to run."""
    assert store.sweep is not None
    done = sum(t.has_ended or t.failures >= FAILURES for t in store.all_trials())
    return done < store.sweep.num_trials


def write_report(
    experiment: Experiment,
    folder: Folder,
    *,
    command: str,
    docs: Path | None = None,
    tuning: Section | None = None,
) -> Path:
    """The page of the trials so far, with its tables and pictures; returns the page.

    `tuning` is a further section of it.

    Raises:
        ConfigError: if no trial has finished yet.
    """
    store = TrialStore(folder)
    results = Results.of(experiment.arms, store.all_trials(), num_trials=experiment.num_trials)
    if not len(results.runs):
        raise ConfigError(f"{folder} has no finished trial yet: run the experiment first")
    assert folder.local is not None
    out = folder.local / "report"
    images = out / "images" / experiment.name
    images.mkdir(parents=True, exist_ok=True)
    origin = Origin(name=experiment.name, command=command, commits=folder.read_json(COMMITS) or [])
    report = experiment.report(results, folder.local / "trials")
    if tuning is not None:
        report = replace(report, sections=[*report.sections, tuning])
    page = report.write(out, images=images, origin=origin, results=results)
    if docs:
        (docs / "images").mkdir(parents=True, exist_ok=True)
        shutil.copy(page, docs / page.name)
        shutil.copytree(images, docs / "images" / experiment.name, dirs_exist_ok=True)
        shutil.copytree(out / VALUES, docs / VALUES, dirs_exist_ok=True)
    return page
