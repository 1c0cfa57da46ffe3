"""Registered encoders: a real MLflow on SQLite, its alias, its model, and its server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient

import adassl
from pipelines.library.clip_reader import ClipReader
from pipelines.library.encoders import data_of
from pipelines.library.export import Exported, export
from pipelines.storage.folder import Folder
from pipelines.storage.runs import RunFolder
from pipelines.tracking import CHAMPION, TrackingError
from tests.pipelines.library.small_runs import pairs, small_run
from tests.pipelines.tracking.test_server import Server
from tests.videos import write_video

ROOT = Path(__file__).parents[3]


def registered(run: RunFolder, out: Path, name: str = "encoder", **options: Any) -> Exported:
    return export(run, Folder(out), register=name, **options)


def champion(uri: str, name: str = "encoder") -> str:
    return str(MlflowClient(uri).get_model_version_by_alias(name, CHAMPION).version)


def uri_of(run: RunFolder) -> str:
    record = run.record()
    assert record is not None
    assert record.tracking_uri
    return record.tracking_uri


def test_the_alias_moves_only_to_what_is_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    values = {"first": (1.0, 2.0), "worse": (1.0, 1.5), "equal": (0.5, 2.0), "better": (1.0, 3.0)}
    found = {}
    for number, (name, its) in enumerate(values.items()):
        run, _ = small_run(runs / name, values=its, mlflow=True, changes={"train.seed": number})
        done = registered(run, tmp_path / name).registered
        assert done is not None
        found[name] = done
        uri = uri_of(run)
    assert [done.version for done in found.values()] == ["1", "2", "3", "4"]
    assert [done.is_champion for done in found.values()] == [True, False, False, True]
    assert "1.5 does not beat 2 of 1" in found["worse"].why
    assert "3 beats 2 of 1" in found["better"].why
    assert champion(uri) == "4"
    client = MlflowClient(uri)
    tags = client.get_model_version("encoder", "2").tags
    assert tags["adassl.best_metric"] == "max:val/next_clip_nats"
    assert float(tags["adassl.best_value"]) == 1.5
    assert tags["adassl.run"] == "worse"

    again = registered(RunFolder(runs / "better"), tmp_path / "better").registered
    assert again is not None
    assert again.was_there
    assert (again.version, again.is_champion) == ("4", True)
    assert len(client.search_model_versions("name = 'encoder'")) == 4

    # Lower is better, and another metric does not compare.
    lower = {"train.best_metric": "min:train/loss"}
    run, _ = small_run(runs / "lower", values=(9.0,), mlflow=True, changes=lower)
    done = registered(run, tmp_path / "lower").registered
    assert done is not None
    assert not done.is_champion
    assert "do not compare" in done.why
    assert champion(uri) == "4"

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    frames = torch.from_numpy(pairs().context)
    expected = adassl.load(tmp_path / "better").embed_clip(frames)
    version = client.get_model_version("encoder", "4")
    for place in (
        f"models:/encoder@{CHAMPION}",
        "models:/encoder/4",
        f"runs:/{version.run_id}/adassl_encoder",
    ):
        assert torch.equal(adassl.load(place).embed_clip(frames), expected)
    with pytest.raises(ValueError, match="MLflow does not give it"):
        adassl.load("models:/nobody/1")


@pytest.mark.slow
@pytest.mark.parametrize(("one", "other", "moves"), [(2.0, 1.0, True), (1.0, 2.0, False)])
def test_the_direction_is_that_of_the_metric(
    one: float, other: float, moves: bool, tmp_path: Path
) -> None:
    for name, loss in (("one", one), ("other", other)):
        changes = {"train.best_metric": "min:train/loss", "train.seed": int(name == "one")}
        run, learner = small_run(
            tmp_path / "runs" / name, values=(1.0,), mlflow=True, changes=changes
        )
        history = [{"step": float(learner.step), "train/loss": loss, "val/loss": 0.0}]
        state = {**learner.state_dict(), "history": history}
        run.checkpoints.save(learner.step, state, best_value=loss, by="min:train/loss")
        done = registered(run, tmp_path / name, checkpoint="newest").registered
    assert done is not None
    assert done.is_champion == moves


@pytest.mark.slow
def test_a_server_that_is_away_is_said(tmp_path: Path) -> None:
    run, _ = small_run(tmp_path / "runs" / "first", values=(1.0,), mlflow=True)
    uri = uri_of(run)
    (tmp_path / "runs" / "mlflow.db").unlink()
    with pytest.raises(
        TrackingError, match=r"--register encoder: MLflow at sqlite.* on this machine"
    ):
        registered(run, tmp_path / "out")
    assert uri.startswith("sqlite")
    adassl.load(tmp_path / "out")  # written all the same


@pytest.mark.slow
def test_a_server_keeps_the_registry_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        run, _ = small_run(tmp_path / "runs" / "first", mlflow=server.uri)
        done = registered(run, tmp_path / "out").registered
        assert done is not None
        assert done.is_champion
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        frames = torch.from_numpy(pairs().context)
        expected = adassl.load(tmp_path / "out").embed_clip(frames)
        found = adassl.load(f"models:/encoder@{CHAMPION}").embed_clip(frames)
        assert torch.equal(found, expected)
    finally:
        server.kill()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """The tracking server's URI, an export that is registered, and a folder of videos."""
    folder = tmp_path_factory.mktemp("served")
    write_video(folder / "a.mp4")
    write_video(folder / "b.mkv", num_frames=30)
    (folder / "c.mp4").write_bytes(b"no video")
    run, _ = small_run(folder / "runs" / "first", mlflow=True)
    registered(run, folder / "out", "moments")
    return uri_of(run), folder / "out", folder


def rows(folder: Path) -> pd.DataFrame:
    paths = [str(folder / name) for name in ("a.mp4", "b.mkv", "a.mp4")]
    return pd.DataFrame({"path": paths, "start_seconds": [0.0, 1.1, 2.38]})


def by_hand(out: Path, rows: pd.DataFrame) -> Any:
    encoder = adassl.load(out)
    reader = ClipReader(data_of(encoder.preprocessing))
    moments = zip(rows["path"], rows["start_seconds"], strict=True)
    clips = np.stack([reader.clip(path, seconds) for path, seconds in moments])
    return encoder.embed_clip(torch.from_numpy(clips)).numpy()


def test_the_model_takes_rows_and_gives_representations(
    served: tuple[str, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, out, folder = served
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    model = mlflow.pyfunc.load_model(f"models:/moments@{CHAMPION}")
    found = model.predict(rows(folder))
    np.testing.assert_allclose(found, by_hand(out, rows(folder)), atol=1e-6)
    assert found.dtype == np.float32
    signature = model.metadata.signature
    assert [column.name for column in signature.inputs] == ["path", "start_seconds"]
    assert signature.outputs.inputs[0].shape == (-1, found.shape[1])
    bad = pd.DataFrame({"path": [str(folder / "c.mp4"), str(folder / "a.mp4")]})
    with pytest.raises(ValueError, match=r"2 of 2 rows cannot be read: row 0: .*c\.mp4.*row 1: "):
        model.predict(bad.assign(start_seconds=[0.0, 99.0]))
    kept = Path(mlflow.artifacts.download_artifacts(f"models:/moments@{CHAMPION}"))
    names = {file.name for file in kept.rglob("*") if file.is_file()}
    assert not [name for name in names if name.endswith((".pkl", ".py", ".pt"))]
    assert "adassl[pipelines]" in (kept / "requirements.txt").read_text()


@pytest.mark.slow
def test_a_server_of_mlflow_answers_rows(served: tuple[str, Path, Path]) -> None:
    uri, out, folder = served
    with serving(f"models:/moments@{CHAMPION}", uri) as address:
        body = json.dumps({"dataframe_split": rows(folder).to_dict(orient="split")}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{address}/invocations", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = np.array(json.load(answer)["predictions"], np.float32)
    np.testing.assert_allclose(found, by_hand(out, rows(folder)), atol=1e-5)


@contextmanager
def serving(model: str, uri: str) -> Iterator[str]:
    """`mlflow models serve` in a process of its own; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("mlflow")
    server = subprocess.Popen(
        [program, "models", "serve", "-m", model, "-p", str(port), "--env-manager", "local"],
        env={**os.environ, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and server.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/ping"):
                break
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
