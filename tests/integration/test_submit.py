"""Sweeps submitted to a real cluster, as people do: `ray job submit`, a token, two nodes."""

import json
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.cluster import connected
from pipelines.config.run import ClusterConfig, ConfigError
from pipelines.trials.records import TrialRecord
from tests.cluster import Cluster, cluster
from tests.integration.test_sweep import store_of, tracked
from tests.processes import wait_until

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
    return store_of(out, name).trials


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


@pytest.mark.slow
def test_who_has_not_the_token_submits_nothing(nodes: Cluster, tmp_path: Path) -> None:
    for changed in strangers(tmp_path):
        done = nodes.ray("job", "submit", "--", "python", "--version", changed=changed)
        assert done.returncode != 0
        assert "AuthenticationError" in done.stdout


@pytest.mark.slow
def test_one_that_is_stopped_goes_on_with_the_same_command(
    nodes: Cluster, digits: Path, tmp_path: Path
) -> None:
    long = ("--num-trials=1", "--steps=160", "--set=train.checkpoint_every=20")
    options = ("--no-wait", "--submission-id=stop")
    done = submit(nodes, digits, tmp_path, "two", *long, options=options)
    assert done.returncode == 0, done.stdout[-4000:]
    wait_until(lambda: any(t.validations for t in trials_of(tmp_path, "two").values()), seconds=120)
    assert "was stopped" in nodes.ray("job", "stop", "stop").stdout
    assert "the same command goes on" in nodes.ray("job", "logs", "stop").stdout
    wait_until(lambda: "RUNNING" not in runs_under(tmp_path, "two").values(), seconds=60)
    assert runs_under(tmp_path, "two") == {"two": "KILLED", "base-s0": "KILLED"}

    again = submit(nodes, digits, tmp_path, "two", *long)
    assert again.returncode == 0, again.stdout[-4000:]
    assert "2/2 trials: 2 finished" in again.stdout
    assert re.search(r"base-s0: going on from step (\d+) of 160", again.stdout)
    trials = trials_of(tmp_path, "two")
    assert runs_under(tmp_path, "two") == dict.fromkeys(["two", *trials], "FINISHED")


@pytest.mark.slow
def test_one_of_two_workers_is_followed_to_its_end_and_its_drivers_run_on_the_head(
    nodes: Cluster, digits: Path, tmp_path: Path
) -> None:
    small = ("--num-trials=1", "--steps=20", "--set=train.checkpoint_every=10")
    group = ("--workers=2", "--set=cluster.cpus_per_worker=0.5")
    seen: dict[Path, set[str]] = {nodes.head: set(), nodes.workers[0]: set()}
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(submit, nodes, digits, tmp_path, "one", *small, *group)
        while not job.done():
            for folder, titles in seen.items():
                titles |= nodes.titles(folder)
            time.sleep(1)
    done = job.result()
    assert done.returncode == 0, done.stdout[-4000:]
    for words in ("= 2 trials, 1 at once", "000-s0  step 10/20", "2/2 trials: 2 finished"):
        assert words in done.stdout, words
    trials = trials_of(tmp_path, "one")
    assert sorted(trials) == ["000-s0", "base-s0"]
    assert {(t.state, t.step, t.failures) for t in trials.values()} == {("finished", 20, 0)}
    assert runs_under(tmp_path, "one") == dict.fromkeys(["one", *trials], "FINISHED")
    on_head, on_worker = seen.values()
    assert {"ImplicitFunc", "TrainController"} <= on_head - on_worker
    assert {"RayTrainWorker", "MapWorker"} <= on_worker - on_head


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


@pytest.mark.slow
def test_a_lost_node_costs_time_and_where_none_replaces_it_the_sweep_ends_in_words(
    digits: Path, tmp_path: Path
) -> None:
    long = ("--num-trials=1", "--steps=3000", "--set=train.checkpoint_every=10")
    with cluster(num_cpus=2) as nodes:

        def begin(name: str, stall_minutes: float) -> None:
            options = ("--no-wait", f"--submission-id={name}")
            stall = f"--set=cluster.stall_minutes={stall_minutes}"
            done = submit(nodes, digits, tmp_path, "lost", *long, stall, options=options)
            assert done.returncode == 0, done.stdout[-4000:]

        def validations() -> int:
            return sum(len(trial.validations) for trial in trials_of(tmp_path, "lost").values())

        begin("first", 5)
        wait_until(lambda: validations() > 0, seconds=120)
        nodes.kill(nodes.workers[-1])
        time.sleep(2)  # what was on its way
        reached = validations()
        nodes.add_node(num_cpus=2)
        wait_until(lambda: validations() > reached, seconds=180)
        nodes.ray("job", "stop", "first")
        told = nodes.ray("job", "logs", "first").stdout
        assert re.search("base-s0: .*; going on from its checkpoint", told)
        assert re.search(r"base-s0: going on from step \d+ of 3000", told)

        reached = validations()
        begin("second", 0.3)
        wait_until(lambda: validations() > reached, seconds=120)
        nodes.kill(nodes.workers[-1])
        wait_until(lambda: runs_under(tmp_path, "lost")["lost"] == "FAILED", seconds=180)
        told = nodes.ray("job", "logs", "second").stdout
        assert "no trial could be started for 0.3 minutes" in told
        assert runs_under(tmp_path, "lost")["base-s0"] == "KILLED"
        assert trials_of(tmp_path, "lost")["base-s0"].failures == 0
