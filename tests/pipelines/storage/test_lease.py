"""Two commands and one name: the second is refused while the first lives, and no longer."""

import errno
import fcntl
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines.config.run import ConfigError
from pipelines.storage import lease
from pipelines.storage.folder import Folder
from pipelines.storage.lease import FILE, only_one
from tests.buckets import KEYS

HOLDER = """
import sys, time
from pipelines.storage import lease
from pipelines.storage.folder import Folder
from pipelines.storage.lease import only_one
lease.SETTLE_SECONDS, lease.BEAT_SECONDS = 0.1, 0.3
with only_one(Folder(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def another_command(folder: Folder) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds the lease."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder.uri], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder
    finally:
        holder.kill()
        holder.wait()


@pytest.fixture(params=["path", "S3"])
def folder(
    request: pytest.FixtureRequest, tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> Folder:
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.1)
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.3)
    if request.param == "path":
        return Folder(tmp_path / "first")
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": server}.items():
        monkeypatch.setenv(name, value)
    return Folder(f"s3://bucket/{tmp_path.name}/first")


def test_the_second_is_refused_while_the_first_lives_and_not_after_it_is_killed(
    folder: Folder,
) -> None:
    with another_command(folder) as holder:
        words = rf"first is in use by another command \(process {holder.pid} on .*another --name"
        with pytest.raises(ConfigError, match=words), only_one(folder):
            pytest.fail("both hold it")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        began = time.monotonic()
        with only_one(folder):
            assert time.monotonic() - began < 5, "on one machine nobody waits for the dead"
            with pytest.raises(ConfigError, match="in use"), only_one(folder):
                pytest.fail("both hold it")
    with only_one(folder):
        pass


def test_other_names_and_the_folder_above_are_free(folder: Folder) -> None:
    with ExitStack() as stack:
        for each in (folder, folder.parent, folder.child("trials")):
            stack.enter_context(only_one(each))


@pytest.mark.parametrize("lives", [False, True])
def test_of_an_owner_on_another_machine_only_the_beat_says_whether_it_lives(
    lives: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    for name, seconds in {"SETTLE": 0.1, "STILL": 3.0, "BEAT": 0.5}.items():
        monkeypatch.setattr(lease, f"{name}_SECONDS", seconds)
    folder = Folder(tmp_path / "first")
    with monkeypatch.context() as elsewhere, ExitStack() as other:
        elsewhere.setattr(lease, "_machine", lambda: "another machine")
        other.enter_context(only_one(folder))
        content = folder.read_json(FILE)
        if not lives:
            other.close()
            folder.write_json(FILE, content)
        elsewhere.undo()
        for name, seconds in {"SETTLE": 0.1, "STILL": 3.0, "BEAT": 0.5}.items():
            elsewhere.setattr(lease, f"{name}_SECONDS", seconds)
        elsewhere.setattr(fcntl, "flock", no_locks)
        if lives:
            with pytest.raises(ConfigError, match="in use by another command"), only_one(folder):
                pytest.fail("both hold it")
        else:
            with only_one(folder):
                assert json.loads(folder.read_text(FILE) or "")["id"] != content["id"]


def test_one_whose_lease_was_taken_over_is_stopped(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pipelines.storage import lease\n"
        "from pipelines.storage.folder import Folder\n"
        "lease._locked = lambda folder: None\n"
        "lease.SETTLE_SECONDS, lease.BEAT_SECONDS = 0.1, 0.2\n"
        "folder = Folder(sys.argv[1])\n"
        "with lease.only_one(folder):\n"
        "    folder.write_json(lease.FILE, {**folder.read_json(lease.FILE), 'id': 'other'})\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=50
    )
    assert done.returncode == -signal.SIGTERM
    assert "was taken over by another command" in done.stdout
