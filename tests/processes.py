"""The command line: in this process on the common Ray, or in one of its own, to be killed."""

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from unittest import mock

import psutil
import pytest

from pipelines.cli.app import main

ADASSL = (sys.executable, "-P", "-m", "pipelines")
ENVIRONMENT = {"COLUMNS": "300"}


def here(cwd: Path, arguments: list[str]) -> tuple[int, str]:
    """`adassl` in this process: its exit status, and what it and Ray's processes printed."""
    printed = io.StringIO()
    with (
        chdir(cwd),
        mock.patch.dict(os.environ, ENVIRONMENT),
        mock.patch.object(sys, "argv", ["adassl", *arguments]),
        redirect_stdout(printed),
        redirect_stderr(printed),
        pytest.raises(SystemExit) as end,
    ):
        main()
    assert isinstance(end.value.code, int)
    return end.value.code, printed.getvalue()


def run(cwd: Path, arguments: list[str]) -> str:
    """`adassl` in a process of its own, to a good end; what it printed."""
    done = ended(cwd, arguments)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def ended(cwd: Path, arguments: list[str], **env: str) -> "subprocess.CompletedProcess[str]":
    """`adassl` in a process of its own, to whatever end."""
    return subprocess.run(
        [*ADASSL, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, **ENVIRONMENT, **env},
    )


@contextmanager
def started(
    cwd: Path, arguments: list[str], *, program: Sequence[str] = ADASSL
) -> Iterator["subprocess.Popen[str]"]:
    """`adassl` under way in a process of its own, with nothing of it left at the end."""
    process = subprocess.Popen(
        [*program, *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    family = psutil.Process(process.pid)
    children: list[psutil.Process] = []
    try:
        yield process
        children = family.children(recursive=True) if family.is_running() else []
    finally:
        for each in [*children, *([family] if family.is_running() else [])]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.communicate()


def wait_until(what: Callable[[], bool], *, seconds: float = 300) -> None:
    """Wait for something to hold."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def wait_during(
    process: "subprocess.Popen[str]", what: Callable[[], bool], *, seconds: float = 300
) -> None:
    """Wait for something to hold while a process runs."""

    def holds() -> bool:
        found = what()
        assert found or process.poll() is None, "the process ended before"
        return found

    wait_until(holds, seconds=seconds)


def once(holds: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    """Do something beside what this thread runs, as soon as something holds."""

    def watch() -> None:
        wait_until(holds)
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def descendants(pid: int, word: str) -> list[psutil.Process]:
    """Living processes under another with a word in their titles."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # gone meanwhile, or a zombie
            if word in " ".join(child.cmdline()):
                found.append(child)
    return found
