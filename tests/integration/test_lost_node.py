"""Nodes of a real cluster that vanish in the middle of the work, as spot nodes do.

`test_train.cut` loses the node of a training with one worker.
"""

import re
from pathlib import Path

import pytest

from pipelines.storage.runs import RunFolder
from tests.cluster import Cluster, cluster
from tests.integration import test_train
from tests.integration.test_submit import ROOT, runs_under, submit, trials_of
from tests.processes import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]
STEPS = 400


def test_a_sweep_loses_a_node_and_nothing_else(digits: Path, tmp_path: Path) -> None:
    four = ("--num-trials=3", "--steps=60", "--set=train.checkpoint_every=10")
    with cluster(num_cpus=2) as nodes:
        nodes.add_node(num_cpus=2)
        options = ("--no-wait", "--submission-id=four")
        done = submit(nodes, digits, tmp_path, "four", *four, options=options)
        assert done.returncode == 0, done.stdout[-4000:]

        def validated() -> int:
            return sum(bool(t.validations) for t in trials_of(tmp_path, "four").values())

        wait_until(lambda: validated() > 1, seconds=180)
        nodes.kill(nodes.workers[0])
        try:
            wait_until(lambda: "RUNNING" not in runs_under(tmp_path, "four").values(), seconds=240)
        finally:
            printed = nodes.ray("job", "logs", "four").stdout
            print(printed)
    trials = trials_of(tmp_path, "four")
    assert {name: (t.state, t.step) for name, t in trials.items()} == dict.fromkeys(
        ("base-s0", "000-s0", "001-s0", "002-s0"), ("finished", 60)
    ), printed
    assert set(runs_under(tmp_path, "four").values()) == {"FINISHED"}


def test_a_training_with_two_workers_loses_the_node_of_one(digits: Path, tmp_path: Path) -> None:
    with cluster(num_cpus=3) as nodes:  # one worker with its decoder fits a node, two do not
        nodes.add_node(num_cpus=3)
        train(nodes, digits, tmp_path, "--set=cluster.cpus_per_worker=2", workers=2)
        wait_until(lambda: step_of(tmp_path) > 0)
        nodes.kill(nodes.workers[0])
        nodes.add_node(num_cpus=3)  # as an autoscaler does
        printed = nodes.job_output("lost")
    assert re.search(rf"going on from step \d+ of {STEPS}", printed), printed
    assert step_of(tmp_path) == STEPS


def test_a_node_that_only_decodes_may_vanish(digits: Path, tmp_path: Path) -> None:
    with cluster(num_cpus=2) as nodes:  # for the worker, which asks for both CPUs
        nodes.add_node(num_cpus=1)
        nodes.add_node(num_cpus=1)
        train(nodes, digits, tmp_path, "--set=cluster.cpus_per_worker=2")
        wait_until(lambda: step_of(tmp_path) > 0)
        decoding = nodes.with_process("MapWorker")
        assert "RayTrainWorker" not in nodes.titles(decoding)
        nodes.kill(decoding)
        printed = nodes.job_output("lost")
    assert "going on from step" not in printed, "the worker itself was not disturbed"
    assert step_of(tmp_path) == STEPS


def train(nodes: Cluster, index: Path, out: Path, *more: str, workers: int = 1) -> None:
    """Submit a training that is not evaluated."""
    settings = (f"--set=train.steps={STEPS}", "--set=train.checkpoint_every=20", *more)
    small = test_train.command(index, out, "lost", "--no-evaluate", *settings, workers=workers)
    nodes.start_job("lost", *small, folder=ROOT)


def step_of(out: Path) -> int:
    """The step of the newest checkpoint."""
    return RunFolder(out / "lost").checkpoints.step() or 0
