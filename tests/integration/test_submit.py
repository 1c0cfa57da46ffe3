"""Sweeps submitted to a real cluster, as people do: `ray job submit`, a token, two nodes."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.cluster import connected
from pipelines.config import ClusterConfig, ConfigError
from pipelines.sweep.records import TrialRecord
from tests.cluster import Cluster, cluster
from tests.integration.test_sweep import ledger_of, tracked

pytestmark = pytest.mark.ray
ROOT = Path(__file__).parents[2]
SETTINGS = {
    "train.global_batch_size": 16,
    "train.val_pairs": 16,
    "train.log_every": 5,
    "data.frame_size": 16,
    "backbone.hidden_dims": [4, 8, 16],
    "optim.warmup_steps": 4,
}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A head without CPUs, and a node with two."""
    with cluster(num_cpus=2) as made:
        yield made


def submit(
    nodes: Cluster, index: Path, out: Path, name: str, *more: str, options: tuple[str, ...] = ()
) -> "subprocess.CompletedProcess[str]":
    """`ray job submit` of a small sweep, from the root of the checkout."""
    settings = [f"--set={key}={json.dumps(value)}" for key, value in SETTINGS.items()]
    sweep = ["python", "-m", "pipelines", "sweep", "--space", "digits", "--search", "random"]
    sweep += ["--scheduler", "none", "--seeds", "1", "--name", name]
    place = ["--index", str(index), "--out", str(out)]
    job = ["job", "submit", "--working-dir", ".", *options, "--", *sweep, *place, *settings, *more]
    return nodes.ray(*job, cwd=ROOT)


def trials_of(out: Path, name: str) -> dict[str, TrialRecord]:
    return ledger_of(out, name).trials


def wait_until(what: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def runs_under(out: Path, parent: str) -> dict[str, str]:
    """The status of a sweep's run and of the runs that hang under it."""
    runs = tracked(out)
    parent_id = runs[parent].info.run_id
    tags = {name: run.data.tags.get("mlflow.parentRunId") for name, run in runs.items()}
    assert tags == {name: None if name == parent else parent_id for name in runs}
    return {name: str(run.info.status) for name, run in runs.items()}


def strangers(folder: Path) -> list[dict[str, str]]:
    """The environments of who has no token, and of who has another."""
    (folder / "token").write_text("0" * 64)
    return [{"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN_PATH": f"{folder}/token"}]


def test_who_has_not_the_token_submits_nothing(nodes: Cluster, tmp_path: Path) -> None:
    for changed in strangers(tmp_path):
        done = nodes.ray("job", "submit", "--", "python", "--version", changed=changed)
        assert done.returncode != 0
        assert "AuthenticationError" in done.stdout


def test_one_that_is_stopped_goes_on_with_the_same_command(
    nodes: Cluster, digits: Path, tmp_path: Path
) -> None:
    long = ("--num-trials=1", "--steps=160", "--set=train.checkpoint_every=10")
    options = ("--no-wait", "--submission-id=stopped")
    done = submit(nodes, digits, tmp_path, "two", *long, options=options)
    assert done.returncode == 0, done.stdout[-4000:]
    wait_until(lambda: any(t.looks for t in trials_of(tmp_path, "two").values()), 120)
    assert "was stopped" in nodes.ray("job", "stop", "stopped").stdout
    assert "the same command goes on" in nodes.ray("job", "logs", "stopped").stdout
    wait_until(lambda: "RUNNING" not in runs_under(tmp_path, "two").values(), 20)
    assert runs_under(tmp_path, "two") == {"two": "KILLED", "base-s0": "KILLED"}
    before = trials_of(tmp_path, "two")["base-s0"]
    assert before.state == "running"

    again = submit(nodes, digits, tmp_path, "two", *long)
    assert again.returncode == 0, again.stdout[-4000:]
    assert "2/2 trials: 2 finished" in again.stdout
    assert re.search("Job 'raysubmit_.*' succeeded", again.stdout)
    went_on = re.search(r"base-s0: going on from step (\d+) of 160", again.stdout)
    assert went_on
    reached = int(went_on[1])
    # The newest checkpoint's look may have been on its way to the driver.
    assert reached - max(before.looks) in (0, 10)
    trials = trials_of(tmp_path, "two")
    assert sorted(trials) == ["000-s0", "base-s0"]
    for trial in trials.values():
        assert (trial.state, trial.failures) == ("finished", 0)
        assert set(range(10, 161, 10)) - set(trial.looks) <= {reached}
    steps = [int(step) for step in re.findall(r"base-s0  step (\d+)/160", again.stdout)]
    assert steps == list(range(reached + 10, 161, 10))
    assert runs_under(tmp_path, "two") == dict.fromkeys(["two", *trials], "FINISHED")


@pytest.mark.slow
def test_one_that_nothing_disturbs_is_followed_to_its_end(
    nodes: Cluster, digits: Path, tmp_path: Path
) -> None:
    small = ("--num-trials=2", "--steps=20", "--set=train.checkpoint_every=10")
    done = submit(nodes, digits, tmp_path, "one", *small)
    assert done.returncode == 0, done.stdout[-4000:]
    for words in ("= 3 trials, 1 at once", "000-s0  step 10/20", "3/3 trials: 3 finished"):
        assert words in done.stdout, words
    trials = trials_of(tmp_path, "one")
    assert sorted(trials) == ["000-s0", "001-s0", "base-s0"]
    assert {(t.state, t.step, t.failures) for t in trials.values()} == {("finished", 20, 0)}
    assert runs_under(tmp_path, "one") == dict.fromkeys(["one", *trials], "FINISHED")


@pytest.mark.slow
def test_a_driver_that_cannot_join_says_why(nodes: Cluster, tmp_path: Path) -> None:
    with socket.socket() as probe:  # bound, and nobody listens
        probe.bind(("127.0.0.1", 0))
        began = time.monotonic()
        nobody = ClusterConfig(address=f"127.0.0.1:{probe.getsockname()[1]}")
        words = r"cannot join .* refused\. Start one with"
        with pytest.raises(ConfigError, match=words), connected(nobody):
            pass
        assert time.monotonic() - began < 5
    doctor = [sys.executable, "-m", "pipelines", "doctor", "--address", nodes.address]
    for changed in strangers(tmp_path):
        environment = {**nodes.environment, **changed, "COLUMNS": "1000"}
        done = subprocess.run(doctor, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1
        assert "One that asks for a token wants RAY_AUTH_MODE=token" in done.stdout
