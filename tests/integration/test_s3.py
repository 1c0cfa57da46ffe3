"""A whole training whose index and run are on S3, stopped and resumed."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from pipelines.storage.folder import Folder
from pipelines.storage.runs import RunFolder, newest_state
from pipelines.trials.store import TrialStore
from tests.buckets import KEYS, s3_server
from tests.integration.test_sweep import command as sweep_command
from tests.integration.test_train import command, steps_of, train_workers
from tests.processes import ended, here, run, started, wait_during

pytestmark = pytest.mark.ray
RUNS, INDEX = "s3://bucket/runs", "s3://bucket/data/videos.parquet"


@pytest.fixture
def _server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    with s3_server("bucket") as address:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": address}.items():
            monkeypatch.setenv(name, value)
        yield


def train(name: str, *more: str) -> list[str]:
    return command(INDEX, RUNS, name, "--set=train.steps=12", *more, workers=1)


@pytest.mark.slow
@pytest.mark.usefixtures("_server")
def test_a_run_on_s3_goes_on_where_it_was_killed(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = ["data", "index", str(digits.parent / "set"), "--out", INDEX]
    run(tmp_path, index)
    assert "0 probed, 120 unchanged" in run(tmp_path, index)

    refused = ended(tmp_path, train("first"))
    assert refused.returncode == 2
    assert "set MLFLOW_TRACKING_URI" in refused.stderr
    assert not Folder(RUNS).exists()

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    folder = RunFolder(f"{RUNS}/first")
    with started(tmp_path, train("first", "--set=train.checkpoint_every=2")) as process:
        kill_after_a_checkpoint(process, folder)
    reached = folder.checkpoints.step()
    assert reached is not None

    printed = run(tmp_path, train("first", "--set=train.checkpoint_every=2"))
    assert f"going on from step {reached} of 12" in printed or reached == 12
    assert f"{RUNS}/first/figures" in printed
    state = newest_state(folder)
    assert state is not None
    assert state["step"] == 12
    assert steps_of(state) == sorted({1, *range(2, 13, 2), *range(3, 13, 3)})
    assert len([name for name in folder.folder.folders() if name != "figures"]) <= 2
    for name in ("pairs", "loss", "collapse", "projection", "futures"):
        assert folder.folder.exists(f"figures/{name}.png")
    summary = folder.folder.read_json("summary.json")
    assert "test/digit/linear_accuracy" in summary

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    tracked = client.get_run(state["mlflow_run_id"])
    assert tracked.info.status == "FINISHED"
    artifacts = {item.path for item in client.list_artifacts(tracked.info.run_id)}
    assert {"config.json", "summary.json", "figures"} <= artifacts

    printed = run(tmp_path, train("first", "--set=train.checkpoint_every=2", "--no-evaluate"))
    assert "first had finished: 12 steps" in printed


@pytest.mark.slow
@pytest.mark.usefixtures("_server")
def test_a_run_learns_from_videos_in_a_bucket_as_from_files(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    videos = digits.parent / "set"
    for path in sorted(path for path in videos.rglob("*") if path.is_file()):
        Folder("s3://bucket/set").put(path, str(path.relative_to(videos)))
    printed = run(tmp_path, ["data", "index", "s3://bucket/set", "--out", INDEX])
    assert "120 files, 120 usable" in printed
    assert "labels of 120 videos: s3://bucket/set/factors.parquet" in printed
    run(tmp_path, train("far"))
    run(tmp_path, ["data", "index", str(videos), "--out", "local.parquet"])
    near = command("local.parquet", RUNS, "near", "--set=train.steps=12", workers=1)
    run(tmp_path, near)
    far_state, near_state = (newest_state(RunFolder(f"{RUNS}/{name}")) for name in ("far", "near"))
    assert far_state is not None
    assert near_state is not None
    losses = [
        [entry["train/loss"] for entry in state["history"]] for state in (far_state, near_state)
    ]
    assert losses[0] == pytest.approx(losses[1])  # the same pairs, to the pixel
    summary = Folder(f"{RUNS}/far").read_json("summary.json")
    assert "test/digit/linear_accuracy" in summary
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    logged = client.get_run(far_state["mlflow_run_id"]).data.metrics
    assert logged["data/requests_per_window"] >= 1
    assert logged["data/bytes_fetched_per_pair"] > 0
    assert client.get_run(near_state["mlflow_run_id"]).data.metrics["data/requests_per_window"] == 0


def kill_after_a_checkpoint(process: "subprocess.Popen[str]", folder: RunFolder) -> None:
    """Kill the driver, and wait until its workers are gone."""
    wait_during(process, lambda: folder.checkpoints.step() is not None)
    workers = train_workers(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive


@pytest.mark.usefixtures("_server")
def test_what_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    status, printed = here(tmp_path, ["evaluate", f"{RUNS}/nobody"])
    assert status == 2
    assert "s3://bucket/runs/nobody holds no run" in printed
    status, printed = here(tmp_path, ["train", "--index", INDEX, "--out", str(tmp_path / "runs")])
    assert status == 2
    assert f"adassl data index FOLDER --out {INDEX}" in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.usefixtures("_server")
def test_a_sweep_on_s3_keeps_its_ledger_and_its_report_there(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    Folder("s3://bucket/data").put(digits, "videos.parquet")
    arguments = sweep_command(INDEX, RUNS, "swept", "--seeds=1", "--set=train.steps=12", trials=1)
    printed = run(tmp_path, arguments)
    assert f"{RUNS}/swept/report/report.html" in printed
    folder = Folder(f"{RUNS}/swept")
    trials = TrialStore(folder).trials
    assert {name: trial.state for name, trial in trials.items()} == {
        "000-s0": "finished",
        "base-s0": "finished",
    }
    assert len(folder.child("report").read_bytes("report.html") or b"") > 1e6
    state = newest_state(RunFolder(folder.child("trials", "000-s0")))
    assert state is not None
    assert state["step"] == 12
    assert "step 6/12" not in run(tmp_path, arguments)
    assert TrialStore(folder).trials == trials
    assert {path.name for path in tmp_path.iterdir()} <= {"mlflow.db", "mlartifacts"}
