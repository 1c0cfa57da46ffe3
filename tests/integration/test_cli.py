"""The command line as people meet it: help, the doctor, and wrong commands."""

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import ray

from tests.processes import ended, here


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["train", "evaluate", "demo", "doctor", "data", "Three lines"]),
        (["train"], ["--set", "--recipe", "newest checkpoint", "RAY_ADDRESS"]),
        (["evaluate"], ["--checkpoint", "--protocol", "never trained on"]),
        (["data", "index"], ["--test-share", "--timeout-seconds", "new or changed"]),
        (["data", "lerobot"], ["--camera", "--group", "version 2 or 3"]),
        (["data", "moving-digits"], ["--setting", "--canvas", "2602.02381"]),
        (["sweep"], ["--space", "--num-trials", "--seeds", "--search", "goes on where it stopped"]),
        (["sweep-report"], ["--metric", "sensitivity map"]),
        (["experiment"], ["numerical|moving-digits", "--quick", "--docs", "goes on where it"]),
        (["export"], ["--format", "--register", "torch alone", "champion"]),
        (["probe"], ["--apply", "attentive", "did not see its video"]),
        (["demo"], ["--out"]),
        (["doctor"], ["--address"]),
    ],
)
def test_help_is_worth_reading(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    status, output = here(tmp_path, [*arguments, "--help"])
    assert status == 0
    shown = " ".join(output.split())
    for word in words:
        assert word in shown


def test_show_prints_the_resolved_settings(tmp_path: Path) -> None:
    shown = ["train", "--show", "--set", "method.beta=0.25", "--workers", "2"]
    status, printed = here(tmp_path, shown)
    assert status == 0
    settings = json.loads(printed)
    assert settings["method"]["beta"] == 0.25
    assert settings["cluster"]["num_workers"] == 2


def test_the_doctor_finds_this_environment_whole(tmp_path: Path) -> None:
    status, printed = here(tmp_path, ["doctor"])
    assert status == 0, printed
    for word in ("ray", "torch", "decord2", "mlflow", "cores", "video decoding"):
        assert word in printed
    assert "missing" not in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--index", "nowhere.parquet"], "adassl data index"),
        (["train", "--set", "method.betta=1"], "did you mean method.beta"),
        (["train", "--recipe", "moving"], "there are videos, video-classes, video-frames"),
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
        (["data", "lerobot", "."], "no LeRobot data set"),
        (["data", "moving-digits", "out", "--canvas", "65"], "even"),
    ],
)
def test_wrong_commands_fail_in_words_before_ray_starts(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    began, before = time.monotonic(), ray.is_initialized()
    status, printed = here(tmp_path, arguments)
    assert status == 2, printed
    assert words in printed
    assert "Traceback" not in printed
    assert time.monotonic() - began < 30
    assert ray.is_initialized() == before


def test_a_wrong_command_is_quick_and_shows_no_traceback(tmp_path: Path) -> None:
    began = time.monotonic()
    done = ended(tmp_path, ["train", "--set", "method.betta=1"])
    assert done.returncode == 2
    assert "did you mean method.beta" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - began < 30
    assert list(tmp_path.iterdir()) == []


def test_an_ascii_terminal_gets_what_it_can_show(tmp_path: Path) -> None:
    done = ended(tmp_path, ["train", "--recipe", "prénom–×"], PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert r"pr\xe9nom\u2013\xd7" in done.stderr
    assert ended(tmp_path, ["train", "--help"], PYTHONIOENCODING="ascii").returncode == 0


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")  # another Ray, beside which this one runs
def test_a_run_is_whole_where_everything_around_it_is_odd(digits: Path, tmp_path: Path) -> None:
    """Beside another Ray and the address of a dead one, among packages that have our names."""
    for package in ("adassl", "pipelines"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('of the user')")
    settings = (
        *("data.frame_size=32", "backbone.hidden_dims=[4,8,16]", "train.global_batch_size=8"),
        *("method.beta_warmup_steps=4", "optim.warmup_steps=4", "train.val_pairs=8"),
        *("train.log_every=4", "train.checkpoint_every=20"),
    )
    with TemporaryDirectory(prefix="ray-", dir="/tmp") as files:  # short enough for its sockets
        (Path(files) / "ray").mkdir()
        (Path(files) / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
        done = ended(
            tmp_path,
            [
                *("train", "--recipe", "moving-digits", "--index", str(digits), "--steps", "40"),
                *("--name", "prénom–1", "--no-evaluate"),
                *(f"--set={setting}" for setting in settings),
            ],
            RAY_TMPDIR=files,
            RAY_TRAIN_V2_ENABLED="0",
            PYTHONIOENCODING="ascii",
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "step 40/40" in done.stdout
    for noise in ("Traceback", "multiple active Ray"):
        assert noise not in done.stdout + done.stderr
    assert (tmp_path / "runs" / "prénom–1" / "checkpoints.json").exists()
