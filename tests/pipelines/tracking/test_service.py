"""The first use of a database: made complete, by whichever of several processes comes first."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.tracking import Tracker
from pipelines.tracking.uri import default_uri

PROGRAM = """
import sys
from pipelines.tracking import Tracker
tracker = Tracker.start(sys.argv[1], "adassl", "run")
print(tracker.run_id or tracker.last_error)
tracker.finish()
"""


@pytest.mark.slow
def test_processes_that_start_at_once_share_a_new_database(tmp_path: Path) -> None:
    uri = default_uri(tmp_path / "50%20 off?")
    processes = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, uri], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=240)[0].strip() for process in processes]
    assert len(set(said)) == 2
    assert all(len(run_id) == 32 for run_id in said), said


def test_a_database_that_is_none_is_refused_with_what_mlflow_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 100)
    tracker = Tracker.start(default_uri(tmp_path), "adassl", "run")
    assert tracker.run_id is None
    assert "file is not a database" in tracker.last_error
    tracker.finish()
