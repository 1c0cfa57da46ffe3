"""A run's folder at a path and on S3: checkpoints that are cut off anywhere, figures, summary."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.config.run import ConfigError, RunConfig, with_overrides
from pipelines.storage.checkpoints import CheckpointError, Checkpoints
from pipelines.storage.folder import Folder, StorageError
from pipelines.storage.runs import RunFolder, best_state, newest_state
from tests.buckets import KEYS


@pytest.fixture(params=["path", "S3"])
def run(
    request: pytest.FixtureRequest, tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> RunFolder:
    if request.param == "path":
        return RunFolder(tmp_path / "runs" / "first")
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": server}.items():
        monkeypatch.setenv(name, value)
    return RunFolder(f"s3://bucket/{tmp_path.name}/runs/first")


def state(step: int) -> dict[str, Any]:
    return {"step": step, "weights": torch.full((4,), float(step)), "history": [{"a": 1.0}]}


def steps(run: RunFolder) -> tuple[int | None, int | None, list[int]]:
    """The newest, the best, and what is kept."""
    newest, best = (s["step"] if s else None for s in (newest_state(run), best_state(run)))
    kept = [int(name.removeprefix("checkpoint_")) for name in run.folder.folders()]
    return newest, best, kept


def test_a_run_without_a_checkpoint_has_none(run: RunFolder) -> None:
    assert newest_state(run) is None
    assert best_state(run) is None
    assert run.checkpoints.step() is None


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([3.0, 2.0, 1.0], 3),
        ([1.0, 2.0, 3.0], 1),
        ([3.0, 1.0, 2.0], 2),
        ([1.0, 1.0, 1.0], 1),
        ([float("nan"), 2.0, float("nan")], 2),
        ([float("nan"), float("inf"), float("-inf")], None),
    ],
)
def test_the_newest_and_the_best_are_kept_and_no_more(
    run: RunFolder, values: list[float], best: int | None
) -> None:
    for step, value in enumerate(values, start=1):
        run.checkpoints.save(step, state(step), best_value=value)
    assert steps(run) == (3, best, sorted({3, best or 3}))
    newest = newest_state(run)
    assert newest is not None
    torch.testing.assert_close(newest["weights"], torch.full((4,), 3.0))
    assert newest["history"] == [{"a": 1.0}]


@pytest.mark.parametrize("at", ["state", "names", "remove", "list"])
def test_cut_off_anywhere_the_newest_can_be_read(
    run: RunFolder, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.checkpoints.save(1, state(1), best_value=1.0)
    run.checkpoints.save(2, state(2), best_value=2.0)

    def dies(*_: Any, **__: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        place = {"state": "writing", "names": "write_json", "remove": "remove", "list": "folders"}
        patch.setattr(Folder, place[at], dies)
        with pytest.raises(SystemExit):
            run.checkpoints.save(3, state(3), best_value=3.0)
    assert steps(run)[:2] == ((2, 1) if at in ("state", "names") else (3, 1))
    run.checkpoints.save(4, state(4), best_value=4.0)
    assert steps(run) == (4, 1, [1, 4])


def test_a_folder_that_does_not_go_stops_no_training(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise StorageError("cannot remove it")

    run.checkpoints.save(1, state(1), best_value=2.0)
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "remove", refuse)
        run.checkpoints.save(2, state(2), best_value=1.0)
    assert "checkpoint_00000001 stays for now" in caplog.text
    assert steps(run) == (2, 2, [1, 2])


def test_a_full_disk_is_said_in_words_and_costs_nothing_kept(tmp_path: Path) -> None:
    code = (
        "import resource, sys, torch\n"
        "from pathlib import Path\n"
        "from pipelines.storage.runs import RunFolder\n"
        "from pipelines.storage.checkpoints import CheckpointError\n"
        "run = RunFolder(Path(sys.argv[1]))\n"
        "run.checkpoints.save(1, {'step': 1}, best_value=1.0)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "try: run.checkpoints.save(2, {'step': 2, 'w': torch.zeros(500_000)}, best_value=0.0)\n"
        "except CheckpointError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    for words in ("checkpoint_00000002/state.pt: it takes 2.0 MB", "Make room", "step 1 is whole"):
        assert words in done.stdout
    assert steps(RunFolder(tmp_path)) == (1, 1, [1])
    files = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert files == ["checkpoint_00000001/state.pt", "checkpoints.json"]


def test_a_server_that_goes_away_costs_nothing_kept(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise StorageError("cannot write it: the server is away")

    run.checkpoints.save(1, state(1), best_value=2.0)
    with monkeypatch.context() as patch:
        patch.setattr(
            os if run.folder.local else Folder, "fsync" if run.folder.local else "put", away
        )
        with pytest.raises(CheckpointError, match=r"server is away; the checkpoint of step 1 is"):
            run.checkpoints.save(2, state(2), best_value=1.0)
    assert steps(run) == (1, 1, [1])


def test_a_state_that_could_run_code_is_not_loaded(run: RunFolder, tmp_path: Path) -> None:
    run.checkpoints.save(1, {"step": 1, "bad": Path("x")}, best_value=1.0)
    with pytest.raises(CheckpointError, match=r"state\.pt.* is not loaded: .* could run code"):
        newest_state(run)


@pytest.mark.parametrize("keep_bytes", [0, 100, 700])
def test_a_damaged_state_is_named(run: RunFolder, keep_bytes: int) -> None:
    run.checkpoints.save(1, state(1), best_value=1.0)
    name = "checkpoint_00000001/state.pt"
    whole = run.folder.read_bytes(name)
    assert whole is not None
    run.folder.write_bytes(name, whole[:keep_bytes])
    with pytest.raises(CheckpointError, match="damaged"):
        newest_state(run)


def test_a_checkpoint_that_was_deleted_is_named(run: RunFolder) -> None:
    run.checkpoints.save(1, state(1), best_value=1.0)
    run.folder.remove("checkpoint_00000001")
    with pytest.raises(CheckpointError, match=r"checkpoint_00000001/state.pt is gone"):
        newest_state(run)


def test_other_folders_are_left_alone(run: RunFolder) -> None:
    run.folder.write_text("figures/loss.png", "")
    for step in (1, 2):
        Checkpoints(run.folder).save(step, state(step), best_value=-step)
    assert run.folder.folders() == ["checkpoint_00000002", "figures"]


def test_a_name_is_registered_and_found_again(run: RunFolder) -> None:
    config = RunConfig()
    with pytest.raises(ConfigError, match="holds no run"):
        run.config()
    assert run.record() is None
    record = run.register(config, "digest")
    assert run.register(config, "digest") == record == run.record()
    assert run.config() == config
    assert run.name == "first"
    other = with_overrides(config, {"method.beta": 0.5})
    with pytest.raises(ConfigError, match=r"method.beta was .*, now 0.5.*another --name"):
        run.register(other, "digest")
    with pytest.raises(ConfigError, match="the videos were others"):
        run.register(config, "other")


def test_figures_are_published_and_the_summary_grows(run: RunFolder) -> None:
    (run.figures / "loss.png").write_bytes(b"picture")
    run.publish()
    assert run.folder.read_bytes("figures/loss.png") == b"picture"
    run.add_to_summary({"a": 1.0, "b": 1.0})
    path = run.add_to_summary({"b": 2.0})
    assert json.loads(path.read_text()) == {"a": 1.0, "b": 2.0}
    assert run.folder.read_json("summary.json") == {"a": 1.0, "b": 2.0}
