"""What a run was made with: the commit, the versions, the machine. No environment, no secrets."""

import platform
import socket
import subprocess
from collections import Counter
from importlib import metadata
from pathlib import Path

_PACKAGES = ("adassl", "ray", "mlflow", "torch")


def standard_tags() -> dict[str, str]:
    """Tags of every run: versions, and the git commit where this code is a checkout."""
    tags = {"version.python": platform.python_version()}
    for package in _PACKAGES:
        try:
            tags[f"version.{package}"] = metadata.version(package)
        except metadata.PackageNotFoundError:  # a checkout that is run without installing it
            continue
    commit = git_commit()
    return {**tags, "mlflow.source.git.commit": commit} if commit else tags


def device_tags() -> dict[str, str]:
    """Tags of the process that trains: the host and what it computes on."""
    return {"host": socket.gethostname(), "devices": ", ".join(device_names())}


def device_names() -> list[str]:
    """The GPUs of this process, alike ones counted, else the processor."""
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return [f"{count} × {name}" for name, count in Counter(names).items()]
    return [f"CPU {_processor()}"]


def git_commit() -> str | None:
    """The commit of this file's checkout, `-dirty` where something is not committed."""
    folder, name = Path(__file__).parent, Path(__file__).name
    try:
        # An environment inside somebody's repository is no checkout of ours.
        _git(folder, "ls-files", "--error-unmatch", name)
        return _git(folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=5,
    )
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
