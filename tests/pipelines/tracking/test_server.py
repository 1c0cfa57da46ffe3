"""Against a real `mlflow server` that dies in the middle, and against none at all."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from torch import nn

from pipelines.tracking import Tracker, tracker
from pipelines.tracking import async_logger as async_logger


class Server:
    """An `mlflow server` in a process group of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        command += ["--artifacts-destination", f"{self.folder}/artifacts"]
        self.process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None, "the server did not start"
                time.sleep(0.1)
        raise TimeoutError("no mlflow server within 120 s")

    def kill(self) -> None:
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)  # its own group: start_new_session
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.kill()


@pytest.mark.slow  # two starts of a server, 7 s each on an idle core
def test_a_server_that_dies_and_returns_loses_nothing_and_delays_nothing(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.start()
    driver = Tracker.start(server.uri, "pairs", "over http")
    worker = Tracker.attach(server.uri, driver.run_id)
    worker.log_metrics({"loss": 0.0}, 0)
    driver.log_params({"beta": 0.1})
    client = MlflowClient(server.uri)
    assert driver.run_id
    wait_for_metric(client, driver.run_id, "loss")

    server.kill()
    slowest = 0.0
    for step in range(1, 3001):
        began = time.perf_counter()
        worker.log_metrics({"loss": 1 / step, "kl": float(step)}, step)
        slowest = max(slowest, time.perf_counter() - began)
    driver.set_tags({"while": "away"})
    driver.log_config({"a": 1})
    time.sleep(2)
    assert " is away; the run goes on without it" in caplog.text
    assert slowest < 0.2

    server.start()
    driver.log_encoder(nn.Linear(3, 2).eval(), np.ones((2, 3), np.float32))
    worker.close()
    driver.finish()
    run = client.get_run(driver.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"beta": "0.1"}
    assert run.data.tags["while"] == "away"
    assert len(client.get_metric_history(driver.run_id, "loss")) == 3001
    assert [m.step for m in client.get_metric_history(driver.run_id, "kl")] == [*range(1, 3001)]
    assert [file.path for file in client.list_artifacts(driver.run_id)] == ["config.json"]
    assert " is back; " in caplog.text
    assert "never got" not in caplog.text
    assert len(client.search_runs([run.info.experiment_id])) == 1
    check_encoder(server.uri, driver.run_id)


def test_a_server_that_is_absent_costs_a_warning_and_some_seconds(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracker, "_START_SECONDS", 1.0)
    monkeypatch.setattr(async_logger, "_STALL_SECONDS", 1.0)
    began = time.monotonic()
    with Tracker.start(server.uri, "pairs", "nobody there") as driver:
        assert driver.run_id is None
        driver.log_params({"beta": 0.1})
        driver.log_metrics({"loss": 1.0}, 1)
    assert time.monotonic() - began < 6
    assert [record.message.partition(" (")[0] for record in caplog.records] == [
        f"MLflow at {server.uri} is away; the run goes on without it: its metrics stay in the run "
        "folder and are sent when it is back",
        f"MLflow at {server.uri} never got the run, the params, the end of the run, 1 metrics",
    ]


def test_a_host_that_swallows_requests_costs_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracker, "_START_SECONDS", 1.0)
    monkeypatch.setattr(async_logger, "_STALL_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        with Tracker.start(uri, "pairs", "no answer") as driver:
            driver.log_metrics({"loss": 1.0}, 1)
        assert time.monotonic() - began < 4


@pytest.mark.slow  # waits for a server to start
def test_a_server_that_comes_late_gets_the_run(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "_START_SECONDS", 0.5)
    with Tracker.start(server.uri, "pairs", "early") as driver:
        assert driver.run_id is None
        driver.log_metrics({"loss": 1.0}, 1)
        server.start()
    client = MlflowClient(server.uri)
    assert driver.run_id
    assert client.get_run(driver.run_id).info.status == "FINISHED"
    assert client.get_run(driver.run_id).data.metrics == {"loss": 1.0}


def wait_for_metric(client: MlflowClient, run_id: str, name: str) -> None:
    end = time.monotonic() + 20
    while name not in client.get_run(run_id).data.metrics:
        assert time.monotonic() < end
        time.sleep(0.1)


def check_encoder(uri: str, run_id: str) -> None:
    import mlflow

    mlflow.set_tracking_uri(uri)
    try:
        loaded = mlflow.pytorch.load_model(f"runs:/{run_id}/encoder")
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    assert loaded(torch.ones(5, 3)).shape == (5, 2)
