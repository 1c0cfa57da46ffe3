"""A run whose process is killed does not stay RUNNING."""

import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from pipelines.tracking import Tracker, run_watchdog

PROGRAM = """
import sys, time
from pipelines.tracking import Tracker
from pipelines.tracking import run_watchdog
with run_watchdog() as guard:
    parent = Tracker.start(sys.argv[1], "adassl", "parent")
    guard(parent.uri, parent.run_id)
    child = Tracker.start(sys.argv[1], "adassl", "child", parent_run_id=parent.run_id)
    done = Tracker.start(sys.argv[1], "adassl", "done", parent_run_id=parent.run_id)
    done.finish()
    print("running", flush=True)
    time.sleep(60)
"""


def statuses(uri: str) -> dict[str, str]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("adassl")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    return {str(run.info.run_name): str(run.info.status) for run in runs}


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_killed_process_leaves_no_run_running(number: signal.Signals, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, uri], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    assert statuses(uri) == {"parent": "RUNNING", "child": "RUNNING", "done": "FINISHED"}
    for child in psutil.Process(process.pid).children(recursive=True):
        child.kill()  # as `ray job stop` does with all descendants of a job
    process.send_signal(number)
    process.wait()
    wait_until_nothing_runs(uri)
    assert statuses(uri) == {"parent": "KILLED", "child": "KILLED", "done": "FINISHED"}


def wait_until_nothing_runs(uri: str) -> None:
    deadline = time.monotonic() + 60
    while "RUNNING" in statuses(uri).values():
        assert time.monotonic() < deadline, statuses(uri)
        time.sleep(0.2)


@pytest.mark.slow
def test_a_child_that_starts_while_its_driver_dies_is_ended_and_may_go_on(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    parent = Tracker.start(uri, "adassl", "parent")
    with suppress(KeyboardInterrupt), run_watchdog() as guard:
        guard(uri, parent.run_id)
        parent.finish("KILLED")
        raise KeyboardInterrupt
    time.sleep(3)  # the first look is over
    child = Tracker.start(uri, "adassl", "child", parent_run_id=parent.run_id)
    assert statuses(uri) == {"parent": "KILLED", "child": "RUNNING"}
    wait_until_nothing_runs(uri)
    client = MlflowClient(uri)
    assert child.run_id
    assert "gone" in client.get_run(child.run_id).data.tags["adassl.reason"]
    with Tracker.start(uri, "adassl", "child", run_id=child.run_id):
        assert "adassl.reason" not in client.get_run(child.run_id).data.tags
    assert statuses(uri) == {"parent": "KILLED", "child": "FINISHED"}


def test_one_that_ends_in_order_is_left_alone(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with run_watchdog() as guard, Tracker.start(uri, "adassl", "parent") as parent:
        guard(parent.uri, parent.run_id)
        Tracker.start(uri, "adassl", "child", parent_run_id=parent.run_id).finish()
    time.sleep(3)
    assert statuses(uri) == {"parent": "FINISHED", "child": "FINISHED"}
