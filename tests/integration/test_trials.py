"""Trials on a real Tune whose bodies take milliseconds: each ends once, whatever comes between."""

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines.config.run import RunConfig, with_overrides
from pipelines.storage.folder import Folder
from pipelines.sweep.pruning import scheduler_of
from pipelines.trials.queue import TrialQueue
from pipelines.trials.records import SweepRecord, Value
from pipelines.trials.run import run_remaining
from pipelines.trials.store import TrialStore
from pipelines.trials.trial import TrialJob, TrialRun, run_trial
from tests.integration.test_sweep import tracked
from tests.processes import started, wait_during, wait_until
from tune_spaces import LogUniform, Space

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
METRIC = "val/score"
FATES = ("ends", "is stopped", "is lost", "fails", "falls behind")
SCORES = (1.0, 2.0, 3.0, 4.0, -10.0)
CONFIG = with_overrides(
    RunConfig(), {"train.steps": 9, "train.checkpoint_every": 1, "method.beta_warmup_steps": 1}
)
ROOT = Path(__file__).parents[2]
DRIVER = """
import sys
from pipelines.storage.folder import Folder
from tests.integration.test_trials import run_what_is_left
run_what_is_left(Folder(sys.argv[1]))
"""
SPACE = Space(
    title="made",
    recipe="none: numbers are made",
    sampled={"method.beta": LogUniform(low=0.1, high=10, why="no matter")},
    metric=METRIC,
    baseline={"method.latent": "none"},
)


def made_trial(trial: Mapping[str, Any], *, job: TrialJob) -> None:
    """What Tune runs."""
    run_trial(trial, job=job, body=make_numbers)


def make_numbers(trial: TrialRun) -> dict[str, float]:
    """Steps of made numbers; the first process of some trials does not come to its end."""
    fate, score = trial.task.get("fate"), float(trial.task.get("score", 0))
    trial.folder.register(trial.config, "no videos")
    with trial.tracked(None) as tracker:
        for step in range(1, trial.config.train.steps + 1):
            metrics = {METRIC: score + step, "train/loss": 1.0, "time/pairs_per_second": 1.0}
            tracker.log_metrics(metrics, step)
            trial.report(step, metrics, True)
            if step == 2 and trial.folder.folder.read_text("began") is None:
                trial.folder.folder.write_text("began", "")
                if fate == "is stopped":
                    time.sleep(60)
                if fate == "is lost":
                    os.kill(os.getpid(), signal.SIGKILL)
            if step == 3 and fate == "fails":
                raise ValueError("made to fail")
        return metrics


def setting(number: int) -> dict[str, Value]:
    return {"method.beta": 1.0, "task.fate": FATES[number], "task.score": SCORES[number]}


def run_what_is_left(folder: Folder) -> TrialStore:
    """The store after all trials that are left have been run, one after another."""
    store = TrialStore(folder)
    scheduler = scheduler_of("asha", CONFIG, SPACE, store)
    queue = TrialQueue(store, setting, first_seed=0)
    with run_remaining(CONFIG, store, queue, scheduler, most=1, trial=made_trial):
        return store


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A sweep that is about to begin."""
    folder = Folder(tmp_path / "made")
    record = SweepRecord(
        space="made",
        metric=METRIC,
        mode="max",
        sampled={},
        baseline=SPACE.baseline,
        search="random",
        scheduler="asha",
        num_settings=len(FATES),
        num_seeds=1,
        config=CONFIG.model_dump(mode="json"),
        data_digest="no videos",
        tracking_uri=f"sqlite:///{tmp_path}/mlflow.db",
    )
    TrialStore(folder).register(record)
    return folder


@pytest.mark.slow
def test_every_trial_ends_once_whatever_ends_its_processes(
    folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def is_under_way() -> bool:
        trial = TrialStore(folder).trials.get("001-s0")
        return trial is not None and trial.step == 2

    def statuses() -> dict[str, str]:
        return {name: run.info.status for name, run in tracked(tmp_path).items()}

    with started(ROOT, [str(folder)], program=(sys.executable, "-c", DRIVER)) as driver:
        wait_during(driver, is_under_way)
        driver.kill()
        wait_until(lambda: "RUNNING" not in statuses().values(), seconds=60)  # the watchdog's work
    states = {name: trial.state for name, trial in TrialStore(folder).trials.items()}
    assert states == {"base-s0": "finished", "000-s0": "finished", "001-s0": "running"}
    ended = dict.fromkeys(["base-s0", "000-s0"], "FINISHED")
    assert statuses() == {"made": "KILLED", "001-s0": "KILLED", **ended}

    trials = run_what_is_left(folder).trials
    assert {name: trial.state for name, trial in trials.items()} == {
        "base-s0": "finished",
        "000-s0": "finished",
        "001-s0": "finished",
        "002-s0": "finished",
        "003-s0": "failed",
        "004-s0": "pruned",
    }
    assert trials["003-s0"].reason == "ValueError: made to fail"
    assert "was not among the best third" in trials["004-s0"].reason
    printed = capsys.readouterr().out
    assert "002-s0: " in printed
    assert "; going on from its checkpoint" in printed
    assert "003-s0  failed (ValueError: made to fail)" in printed
    assert "004-s0  pruned (ASHA: " in printed
    assert "000-s0" not in printed, "it had finished"

    runs = tracked(tmp_path)
    assert set(runs) == {"made", *trials}
    expected = {"finished": "FINISHED", "failed": "FAILED", "pruned": "KILLED"}
    for name, trial in trials.items():
        assert runs[name].info.status == expected[trial.state]
        assert runs[name].data.tags["adassl.state"] == trial.state
        assert runs[name].data.tags.get("adassl.reason", "") == trial.reason
        assert runs[name].data.tags["mlflow.parentRunId"] == runs["made"].info.run_id
    assert runs["made"].info.status == "FINISHED"
