"""A run whose process is killed does not stay RUNNING."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

PROGRAM = """
import sys, time
from pipelines.tracking import Tracker, guardian
with guardian() as guard:
    parent = Tracker.start(sys.argv[1], "adassl", "parent")
    guard(parent.uri, parent.run_id)
    child = Tracker.start(sys.argv[1], "adassl", "child", parent_run_id=parent.run_id)
    done = Tracker.start(sys.argv[1], "adassl", "done", parent_run_id=parent.run_id)
    done.finish()
    print("running", flush=True)
    if sys.argv[2] == "wait":
        time.sleep(60)
    child.finish()
    parent.finish()
"""


def statuses(uri: str) -> dict[str, str]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("adassl")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    return {str(run.info.run_name): str(run.info.status) for run in runs}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_leaves_no_run_running(number: signal.Signals, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, uri, "wait"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    assert statuses(uri) == {"parent": "RUNNING", "child": "RUNNING", "done": "FINISHED"}
    process.send_signal(number)
    process.wait()
    deadline = time.monotonic() + 60
    while "RUNNING" in statuses(uri).values():
        assert time.monotonic() < deadline, statuses(uri)
        time.sleep(0.2)
    assert statuses(uri) == {"parent": "KILLED", "child": "KILLED", "done": "FINISHED"}


def test_one_that_ends_in_order_is_left_alone(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    subprocess.run([sys.executable, "-c", PROGRAM, uri, "go"], check=True, timeout=120)
    time.sleep(3)
    assert set(statuses(uri).values()) == {"FINISHED"}
