"""The command line in a process of its own: to a good end, or under way and then gone."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


def run(cwd: Path, arguments: list[str]) -> str:
    """Run to a good end; what it printed."""
    done = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@contextmanager
def started(cwd: Path, arguments: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """A run under way, with nothing of it left at the end."""
    process = subprocess.Popen(
        arguments, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    family = psutil.Process(process.pid)
    children: list[psutil.Process] = []
    try:
        yield process
        children = family.children(recursive=True) if family.is_running() else []
    finally:
        for each in [*children, *([family] if family.is_running() else [])]:
            try:
                each.kill()
            except psutil.NoSuchProcess:
                continue
        process.communicate()


def train_workers(driver: int) -> list[psutil.Process]:
    """The Ray Train workers under a driver; other children may be gone as they are looked at."""
    found = []
    for child in psutil.Process(driver).children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:  # a zombie, too
            continue
    return found
