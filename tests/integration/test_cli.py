"""The command line as people meet it: help, the doctor, and wrong commands."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from pipelines.cli.app import main

Told = Callable[..., tuple[int, str, str]]


@pytest.fixture
def told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Told:
    """Exit status, output and errors of a command in this process, in an empty folder."""

    def tell(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "300")
        monkeypatch.setattr(sys, "argv", ["adassl", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        return end.value.code, *capsys.readouterr()

    return tell


def adassl(cwd: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "pipelines", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "300"},
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["train", "evaluate", "demo", "doctor", "data", "Three lines"]),
        (["train"], ["--set", "--recipe", "newest checkpoint", "RAY_ADDRESS"]),
        (["evaluate"], ["--checkpoint", "never trained on"]),
        (["data", "index"], ["--test-share", "--timeout-seconds", "new or changed"]),
        (["data", "moving-digits"], ["--setting", "--canvas", "2602.02381"]),
        (["sweep"], ["--space", "--num-trials", "--seeds", "--search", "goes on where it stopped"]),
        (["sweep-report"], ["--metric", "sensitivity map"]),
        (["experiment"], ["numerical|moving-digits", "--quick", "--docs", "goes on where it"]),
        (["demo"], ["--workers"]),
        (["doctor"], ["--address"]),
    ],
)
def test_help_is_worth_reading(arguments: list[str], words: list[str], told: Told) -> None:
    status, output, _ = told(*arguments, "--help")
    assert status == 0
    shown = " ".join(output.split())
    for word in words:
        assert word in shown


def test_show_prints_the_resolved_settings(tmp_path: Path) -> None:
    done = adassl(tmp_path, "train", "--show", "--set", "method.beta=0.25", "--workers", "2")
    settings = json.loads(done.stdout)
    assert settings["method"]["beta"] == 0.25
    assert settings["cluster"]["num_workers"] == 2


def test_the_doctor_finds_this_environment_whole(tmp_path: Path) -> None:
    done = adassl(tmp_path, "doctor")
    assert done.returncode == 0, done.stdout
    for word in ("ray", "torch", "decord2", "mlflow", "cores", "video decoding"):
        assert word in done.stdout
    assert "missing" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--index", "nowhere.parquet"], "adassl data index"),
        (["train", "--set", "method.betta=1"], "did you mean method.beta"),
        (["train", "--recipe", "moving"], "there are videos, video-frames, moving-digits"),
        (["train", "--set", "data.gap=[4,2]"], "did you mean (2, 4)"),
        (["evaluate", "nowhere"], "holds no run"),
        (["sweep", "--space", "adasl_v"], "there are adassl_s, adassl_v, baselines, digits"),
        (["sweep", "--space", "digits", "--metric", "val/kl"], "--mode max or min"),
        (["sweep", "--space", "digits", "--steps", "60"], "--scheduler none"),
        (["sweep", "--space", "digits", "--set", "method.editor=additive"], "embedding_dim"),
        (["sweep", "--space", "digits", "--index", "nowhere.parquet"], "adassl data index"),
        (["sweep-report", "nowhere"], "holds no sweep"),
        (["data", "index", "nowhere"], "nowhere"),
        (["data", "index", "."], "no video"),
        (["data", "moving-digits", "out", "--canvas", "65"], "even"),
    ],
)
def test_wrong_commands_fail_in_words_before_ray_starts(
    arguments: list[str], words: str, told: Told
) -> None:
    began = time.monotonic()
    status, output, errors = told(*arguments)
    assert status == 2, output + errors
    assert words in errors
    assert "Traceback" not in errors
    assert time.monotonic() - began < 30
    assert not ray.is_initialized()


def test_a_wrong_command_is_quick_and_shows_no_traceback(tmp_path: Path) -> None:
    began = time.monotonic()
    done = adassl(tmp_path, "train", "--set", "method.betta=1")
    assert done.returncode == 2
    assert "did you mean method.beta" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - began < 30
    assert list(tmp_path.iterdir()) == []
