"""The scripts of docs/examples, as a reader runs them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(script: str, *arguments: str, timeout: int = 240) -> str:
    """Run a script in a process of its own and return what it prints."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/examples" / script), *arguments],
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
