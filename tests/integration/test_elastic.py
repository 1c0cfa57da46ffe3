"""Trainings whose group of workers loses nodes and gains them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.storage.runs import RunFolder, newest_state
from tests.cluster import Cluster, cluster
from tests.integration import test_train
from tests.integration.test_submit import ROOT
from tests.processes import here, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]
STEPS, EVERY = 700, 20
WITHOUT_BATCHNORM = (
    "--set=backbone.name=mlp",
    "--set=backbone.hidden_dims=[32]",
    "--set=method.projector_hidden_dims=[]",
    "--set=method.latent_hidden_dims=[]",
    "--set=method.editor_hidden_dims=[]",
    "--set=optim.learning_rate=0.0001",
)
SETTINGS = (
    *WITHOUT_BATCHNORM,
    f"--set=train.steps={STEPS}",
    f"--set=train.checkpoint_every={EVERY}",
    f"--set=train.log_every={EVERY}",
    "--set=train.global_batch_size=24",
    "--no-evaluate",
)


def test_a_training_goes_on_with_the_nodes_that_there_are(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    elastic = ("--set=cluster.num_workers=[1,4]", *SETTINGS)

    def history() -> list[dict[str, float]]:
        state = newest_state(RunFolder(out / "elastic"))
        return [] if state is None else list(state["history"])

    def workers() -> float:
        return history()[-1]["train/workers"] if history() else 0

    with cluster(num_cpus=2) as nodes:  # a worker with its decoder each
        nodes.add_node(num_cpus=2)
        nodes.add_node(num_cpus=2)
        start(nodes, digits, out, "elastic", *elastic)
        wait_until(lambda: workers() == 3, seconds=600)
        nodes.kill(nodes.workers[0])
        wait_until(lambda: workers() == 2, seconds=600)
        nodes.add_node(num_cpus=2)
        wait_until(lambda: workers() == 3, seconds=600)
        printed = nodes.job_output("elastic")
    print(printed)
    assert re.search(rf"going on from step \d+ of {STEPS}, 2 workers", printed), printed
    assert re.search(rf"going on from step \d+ of {STEPS}, 3 workers", printed), printed
    straight = test_train.command(digits, out, "straight", *SETTINGS, workers=1)
    assert here(tmp_path, straight)[0] == 0
    assert_same_curve(history(), newest_state(RunFolder(out / "straight")))


def assert_same_curve(history: list[dict[str, float]], straight: Any) -> None:
    """The losses of one worker that nothing disturbed, at the same steps, to float tolerance."""
    for name in ("step", "train/loss", "train/kl", "val/loss"):
        found, expected = (
            [entry[name] for entry in each if name in entry]
            for each in (history, straight["history"])
        )
        np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.005, err_msg=name)


def start(nodes: Cluster, index: Path, out: Path, name: str, *more: str) -> None:
    """Submit a training."""
    nodes.start_job(name, *test_train.command(index, out, name, *more, workers=1), folder=ROOT)
