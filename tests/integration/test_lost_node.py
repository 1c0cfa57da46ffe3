"""Nodes of a real cluster that vanish in the middle of the work, as spot nodes do."""

from pathlib import Path

import pytest

from tests.cluster import cluster
from tests.integration.test_submit import runs_under, submit, trials_of
from tests.processes import wait_until

pytestmark = pytest.mark.ray


@pytest.mark.slow
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
