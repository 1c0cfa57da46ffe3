import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from torch import nn

from pipelines.tracking import Status, Tracker, TrackingError, aliases, default_uri


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> str:
    return default_uri(tmp_path_factory.mktemp("output"))


@pytest.fixture
def uri(shared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store, used from a directory in which nothing may appear."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return shared


def start(uri: str, **options: Any) -> Tracker:
    return Tracker.start(uri, "pairs", "first", **options)


def stored(uri: str, run_id: str | None) -> Run:
    assert run_id
    return MlflowClient(uri).get_run(run_id)


def history(uri: str, run_id: str | None, name: str) -> list[tuple[int, float]]:
    assert run_id
    return [(m.step, m.value) for m in MlflowClient(uri).get_metric_history(run_id, name)]


def artifacts(uri: str, run_id: str | None, folder: str | None = None) -> list[str]:
    assert run_id
    return [file.path for file in MlflowClient(uri).list_artifacts(run_id, folder)]


def test_what_a_killed_process_had_not_sent_is_sent_once(uri: str) -> None:
    entries = [{"step": float(step), "train/loss": 1.0 - step / 10} for step in (1, 3, 6, 9)]
    with start(uri) as tracker:
        tracker.log_metrics({"train/loss": 0.9}, 1)
        tracker.log_metrics({"train/loss": 0.7}, 3)
    with start(uri, run_id=tracker.run_id) as again:
        again.log_missing(entries, by="train/loss")
        again.log_metrics({"train/loss": 0.05}, 12)
    with start(uri, run_id=tracker.run_id) as once_more:
        once_more.log_missing(entries, by="train/loss")
    steps = [step for step, _ in history(uri, tracker.run_id, "train/loss")]
    assert sorted(steps) == [1, 3, 6, 9, 12]


def test_a_run_holds_what_was_logged_and_nothing_appears_elsewhere(
    uri: str, tmp_path: Path
) -> None:
    figures = tmp_path / "figures"
    figures.mkdir()
    (figures / "a.png").write_bytes(b"picture")
    summary = tmp_path / "summary.json"
    summary.write_text("{}")
    with start(uri, tags={"purpose": "test"}) as tracker:
        tracker.log_params({"method.beta": 0.1, "train.steps": 20, "method.latent": "sparse"})
        tracker.set_tags({"devices": "2 × GPU"})
        tracker.log_config({"train": {"steps": 20}})
        tracker.log_file(summary)
        tracker.log_file(figures, "figures")
        for step in range(5):
            tracker.log_metrics({"train/loss": 1 / (step + 1), "time/step_seconds": 0.5}, step)
    run = stored(uri, tracker.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "first"
    assert run.data.params == {
        "method.beta": "0.1",
        "train.steps": "20",
        "method.latent": "sparse",
    }
    assert run.data.tags["purpose"] == "test"
    assert run.data.tags["devices"] == "2 × GPU"
    assert history(uri, tracker.run_id, "train/loss") == [(s, 1 / (s + 1)) for s in range(5)]
    assert set(artifacts(uri, tracker.run_id)) == {"config.json", "summary.json", "figures"}
    assert artifacts(uri, tracker.run_id, "figures") == ["figures/a.png"]
    output = Path(uri.removeprefix("sqlite:///")).parent
    assert Path(run.info.artifact_uri).is_relative_to(output)
    assert sorted(path.name for path in output.iterdir()) == ["mlartifacts", "mlflow.db"]
    assert list(Path.cwd().iterdir()) == []


def test_nothing_is_nested_unless_asked(uri: str) -> None:
    with (
        start(uri) as parent,
        start(uri, parent_run_id=parent.run_id) as child,
        start(uri) as other,
    ):
        pass
    tag = "mlflow.parentRunId"
    assert stored(uri, child.run_id).data.tags[tag] == parent.run_id
    assert tag not in stored(uri, parent.run_id).data.tags
    assert tag not in stored(uri, other.run_id).data.tags
    assert len({parent.run_id, child.run_id, other.run_id}) == 3


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")],
)
def test_a_run_ends_as_its_block_does(uri: str, error: type[BaseException], status: Status) -> None:
    tracker = start(uri)

    def leave() -> None:
        with tracker:
            tracker.log_metrics({"loss": 1.0}, 1)
            raise error

    with pytest.raises(error):
        leave()
    assert stored(uri, tracker.run_id).info.status == status
    assert history(uri, tracker.run_id, "loss") == [(1, 1.0)]


LEAVING = """
import signal, sys
from pipelines.tracking import Tracker
tracker = Tracker.start({uri!r}, "pairs", "left")
tracker.log_metrics({{"loss": 2.0}}, 3)
print(tracker.run_id, flush=True)
{leave}
"""
WAYS_TO_LEAVE: dict[str, Status] = {
    "sys.exit(3)": "KILLED",
    "with tracker: raise RuntimeError": "FAILED",
    "signal.signal(15, lambda *_: sys.exit(143)); signal.raise_signal(15)": "KILLED",
}


@pytest.mark.slow
def test_a_process_that_goes_leaves_no_run_running(uri: str) -> None:
    with start(uri):
        pass  # the tables are there before three processes come
    processes = {leave: process(LEAVING.format(uri=uri, leave=leave)) for leave in WAYS_TO_LEAVE}
    for leave, status in WAYS_TO_LEAVE.items():
        run_id = processes[leave].communicate(timeout=120)[0].strip()
        assert processes[leave].returncode != 0
        assert (leave, stored(uri, run_id).info.status) == (leave, status)
        assert history(uri, run_id, "loss") == [(3, 2.0)]


WORKER = """
from pipelines.tracking import Tracker
with Tracker.attach({uri!r}, {run_id!r}, system_metrics=True) as tracker:
    tracker.log_metrics({{"train/loss": 0.25}}, 7)
"""


@pytest.mark.slow
def test_another_process_logs_to_the_run_and_does_not_end_it(uri: str) -> None:
    with start(uri) as tracker:
        worker = process(WORKER.format(uri=uri, run_id=tracker.run_id))
        assert worker.wait(120) == 0
        run = stored(uri, tracker.run_id)
        assert run.info.status == "RUNNING"
        assert history(uri, tracker.run_id, "train/loss") == [(7, 0.25)]
        assert run.data.metrics["system/system_memory_usage_megabytes"] > 100
    assert stored(uri, tracker.run_id).info.status == "FINISHED"


def test_a_run_without_an_id_is_ignored(uri: str) -> None:
    with Tracker.attach(uri, None, system_metrics=True) as tracker:
        tracker.log_params({"a": 1})
        tracker.log_metrics({"a": 1.0}, 1)
        tracker.log_encoder(nn.Identity(), np.zeros((2, 3), np.float32))
    assert tracker.run_id is None


def test_a_database_on_another_machine_is_named_not_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uri = default_uri(tmp_path)
    with Tracker.attach(uri, "0" * 32) as tracker:
        tracker.log_metrics({"a": 1.0}, 1)
        assert tracker._logger
        assert tracker._logger.opened.wait(10)
    assert "on this machine; several machines need an `mlflow server`" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_going_on_with_a_run_keeps_its_params_and_tags_what_changed(uri: str) -> None:
    with start(uri) as first:
        first.log_params({"train.seed": 1, "cluster.num_workers": 2})
        first.log_metrics({"loss": 2.0}, 1)
    with start(uri, run_id=first.run_id) as again:
        assert again.run_id == first.run_id
        assert stored(uri, again.run_id).info.status == "RUNNING"
        again.log_params({"train.seed": 1, "cluster.num_workers": 4, "new": True})
        again.log_metrics({"loss": 1.0}, 2)
    run = stored(uri, again.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"train.seed": "1", "cluster.num_workers": "2", "new": "true"}
    assert run.data.tags["changed.cluster.num_workers"] == "4"
    assert "changed.train.seed" not in run.data.tags
    assert history(uri, again.run_id, "loss") == [(1, 2.0), (2, 1.0)]


def test_a_run_that_is_gone_is_started_anew(uri: str, caplog: pytest.LogCaptureFixture) -> None:
    with start(uri, run_id="f" * 32) as tracker:
        pass
    assert tracker.run_id != "f" * 32
    assert stored(uri, tracker.run_id).info.status == "FINISHED"
    assert f"has no run {'f' * 32} any more" in caplog.text


def test_what_is_no_number_is_named_once_and_stops_nothing(
    uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    with start(uri) as tracker:
        for step, value in enumerate([1.0, float("nan"), float("inf"), float("nan"), 5.0]):
            tracker.log_metrics({"loss": value, "odd #name?": 1.0}, step)
        tracker.log_metrics({"text": "five"}, 9)  # type: ignore[dict-item]
    assert history(uri, tracker.run_id, "loss") == [(0, 1.0), (4, 5.0)]
    assert len(history(uri, tracker.run_id, "odd _name_")) == 5
    assert caplog.text.count("loss is nan at step 1") == 1
    assert "inf" not in caplog.text


def test_params_of_any_kind_and_length(uri: str) -> None:
    values = {f"key{i}": i for i in range(230)}  # more than one request holds
    with start(uri) as tracker:
        tracker.log_params({**values, "dims": (32, 64), "gap": None, "long": "x" * 10_000})
        tracker.log_params({"tracking.uri": "http://ann:secret@host:5000"})
    params = stored(uri, tracker.run_id).data.params
    assert params["key229"] == "229"
    assert (params["dims"], params["gap"]) == ("[32, 64]", "null")
    assert len(params["long"]) == 6000
    assert params["tracking.uri"] == "http://***@host:5000"


def test_the_data_set_is_an_input(uri: str, tmp_path: Path) -> None:
    index = tmp_path / "videos.parquet"
    with start(uri) as tracker:
        tracker.log_dataset("videos", index, digest="d" * 64, num_rows=24, context="training")
    inputs = stored(uri, tracker.run_id).inputs
    assert inputs
    (entry,) = inputs.dataset_inputs
    assert entry.dataset.name == "videos"
    assert entry.dataset.digest == "d" * 36
    assert str(index) in entry.dataset.source
    assert entry.dataset.profile == '{"num_rows": 24}'
    assert [(tag.key, tag.value) for tag in entry.tags] == [("mlflow.data.context", "training")]


@pytest.mark.parametrize("make", [Tracker.attach, lambda uri, _: start(uri)])
def test_a_wrong_uri_fails_at_once(make: Callable[[str, str], Tracker]) -> None:
    with pytest.raises(TrackingError, match=r"sqlite:////absolute/path/mlflow\.db"):
        make("file:///tmp/mlruns", "0" * 32)


def test_aliases_are_numbers_on_every_run() -> None:
    config = {
        "method.latent": "variational",
        "method.beta": 0.2,
        "method.beta_warmup_steps": 300,
        "method.latent_dim": 8,
        "train.seed": 5,
    }
    expected = {"beta": 0.2, "beta_warmup_steps": 300, "latent_dim": 8, "seed": 5}
    assert aliases(config) == expected
    without = aliases({**config, "method.latent": "none"})
    assert without == {"beta": 0, "beta_warmup_steps": 0, "latent_dim": 0, "seed": 5}


def process(code: str) -> subprocess.Popen[str]:
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": root}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    )
