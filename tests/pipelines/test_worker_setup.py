import subprocess
import sys
from pathlib import Path

from ray import cloudpickle

import pipelines
from pipelines.worker_setup import PACKAGES, worker_setup

WORKER = """
import os, pickle, sys
from types import SimpleNamespace
import ray

ray.get_runtime_context = lambda: SimpleNamespace(gcs_address="127.0.0.1:1234")
pickle.loads(sys.stdin.buffer.read())()
sys.path.insert(0, os.getcwd())  # as Ray does, later
import pipelines.errors, adassl, tune_spaces
print(pipelines.errors.__file__, os.environ["RAY_ADDRESS"])
import another
"""
"""What a process of Ray does, on a path without our packages."""


def test_a_worker_finds_our_packages_before_those_of_the_user(tmp_path: Path) -> None:
    for package in (*PACKAGES, "another"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("print('of the user:', __name__)")
    done = subprocess.run(
        [sys.executable, "-P", "-c", WORKER],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PYTHONPATH": ""},
        input=cloudpickle.dumps(worker_setup()),
        capture_output=True,
        timeout=120,
        check=False,
    )
    ours = Path(pipelines.__file__).with_name("errors.py")
    assert done.stdout.decode() == f"{ours} 127.0.0.1:1234\nof the user: another\n", done.stderr
