"""The scripts of docs/examples, as a reader runs them."""

import os
import pickle
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ray import cloudpickle

from pipelines.storage.runs import RunFolder, newest_state
from pipelines.training.learner import Learner
from tests.pipelines.training.test_learner import batch_of, config_of

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples"


def run(script: str, *arguments: str, timeout: int = 500) -> str:
    """Run a script in a process of its own and return what it prints."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_plain_loop_on_images_trains() -> None:
    printed = run("image_pairs.py", "--steps", "3")
    assert "step 3/3" in printed
    assert "nats above chance" in printed


def test_an_objective_of_a_script_trains_and_its_checkpoints_go_with_it_alone() -> None:
    # Not from a module that can be imported, so it travels by value, as to Ray's workers.
    make_method = runpy.run_path(str(EXAMPLES / "own_objective.py"), run_name="script")["build"]
    brought = pickle.loads(cloudpickle.dumps(make_method))
    learner = Learner(config_of(), torch.device("cpu"), brought)
    assert type(learner.method.objective).__name__ == "AlignUniform"
    loss = learner.train_step(batch_of(0)).terms["loss"]
    assert torch.isfinite(loss)
    state = learner.state_dict()
    Learner(config_of(), torch.device("cpu"), make_method).load_state_dict(state)
    with pytest.raises(ValueError, match="another config"):
        Learner(config_of(), torch.device("cpu")).load_state_dict(state)


@pytest.mark.ray
@pytest.mark.slow
def test_an_objective_of_a_script_trains_in_the_pipeline(digits: Path, tmp_path: Path) -> None:
    arguments = ("--index", str(digits), "--out", str(tmp_path), "--steps", "3")
    printed = run("own_objective.py", *arguments)
    assert "digit, accuracy (h)" in printed
    state = newest_state(RunFolder(tmp_path / "align-uniform"))
    assert state is not None
    assert state["step"] == 3
    assert state["fingerprint"].endswith("+build")
