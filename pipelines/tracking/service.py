"""What is asked of MLflow. Each request is safe to repeat: its answer may have been lost."""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock

from pipelines.tracking.async_logger import without_password
from pipelines.tracking.uri import database_file, sqlite_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_log = logging.getLogger(__name__)

_PARAMS_PER_REQUEST, _DIGEST_CHARACTERS = 100, 36  # MLflow's limits


REASON = "adassl.reason"
"""Tag that says why a run was ended before its time."""


class Measurement(NamedTuple):
    """A finite value of a metric at a step."""

    name: str
    value: float
    timestamp_ms: int
    step: int


@dataclass(frozen=True)
class OpenRun:
    """A run that the service knows of."""

    client: "MlflowClient"
    run: "Run"

    @property
    def run_id(self) -> str:
        """MLflow's id of the run."""
        return str(self.run.info.run_id)

    @property
    def started_seconds(self) -> float:
        """When it was first started, in seconds since the epoch."""
        return float(self.run.info.start_time) / 1000

    def send_metrics(self, measurements: Sequence[Measurement]) -> None:
        """Metrics, at most 1000; the same ones again change nothing."""
        from mlflow.entities import Metric

        self.client.log_batch(self.run_id, metrics=[Metric(*m) for m in measurements])

    def last_step(self, name: str) -> int:
        """The last step at which it has a metric; -1 if at none."""
        return max((m.step for m in self.client.get_metric_history(self.run_id, name)), default=-1)

    def send_params(self, params: Mapping[str, str]) -> None:
        """Params; one that has another value already, which MLflow never changes, becomes a tag."""
        from mlflow.entities import Param

        before = self.client.get_run(self.run_id).data.params
        new = [Param(key, value) for key, value in params.items() if key not in before]
        for first in range(0, len(new), _PARAMS_PER_REQUEST):
            self.client.log_batch(self.run_id, params=new[first : first + _PARAMS_PER_REQUEST])
        self.send_tags({f"changed.{k}": v for k, v in params.items() if before.get(k, v) != v})

    def send_tags(self, tags: Mapping[str, str]) -> None:
        """Tags, replacing those of the same name."""
        from mlflow.entities import RunTag

        self.client.log_batch(self.run_id, tags=[RunTag(k, v) for k, v in tags.items()])

    def send_dataset(
        self, *, name: str, source: str, digest: str, num_rows: int, context: str
    ) -> None:
        """A data set as an input of the run."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=name,
            digest=digest[:_DIGEST_CHARACTERS],
            source_type=source.partition("://")[0] if "://" in source else "local",
            source=json.dumps({"uri": without_password(source)}),
            profile=json.dumps({"num_rows": num_rows}),
        )
        tags = [InputTag("mlflow.data.context", context)]
        self.client.log_inputs(self.run_id, [DatasetInput(dataset, tags)])

    def send_text(self, text: str, name: str) -> None:
        """A text as an artifact."""
        self.client.log_text(self.run_id, text, name)

    def send_files(self, path: Path, folder: str | None) -> None:
        """A file, or all files of a folder, as artifacts."""
        send = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
        send(self.run_id, str(path), folder)

    def end(self, status: str) -> None:
        """The run is not running any more."""
        self.client.set_terminated(self.run_id, status)


def import_mlflow() -> None:
    """Import mlflow, which takes 1.5 s, with its own waiting and reporting turned down.

    What the user has set in the environment stays. The logger retries, so one request does not; its
    time limit leaves room for an upload.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    import mlflow  # noqa: F401


def connect(uri: str) -> "MlflowClient":
    """A client of the store; for SQLite the file is made, with its tables, where it is missing."""
    from mlflow import MlflowClient

    if file := database_file(uri):
        _make_database(file)
    return MlflowClient(uri)


def _make_database(file: Path) -> None:
    """Make an SQLite file with MLflow's tables; it appears complete or not at all.

    MLflow makes the tables in dozens of migrations without a lock: of two processes that do so at
    once both fail, and one that is killed leaves a file that no MLflow opens again.
    """
    from mlflow import MlflowClient

    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(str(file.absolute()).encode()).hexdigest()[:16]
    with FileLock(Path(tempfile.gettempdir()) / f"adassl-mlflow-{name}.lock"):
        if file.exists():
            return
        fresh = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            MlflowClient(sqlite_uri(fresh)).search_experiments(max_results=1)
            fresh.rename(file)
        finally:
            fresh.unlink(missing_ok=True)


def is_reachable(uri: str) -> bool:
    """Whether MLflow answers at all."""
    if database_file(uri):
        return True
    try:
        connect(uri).search_experiments(max_results=1)
    except Exception:
        return False
    return True


def find_run(uri: str, run_id: str) -> OpenRun:
    """Attach to a run.

    Raises:
        FileNotFoundError: if its database is not on this machine.
    """
    file = database_file(uri)
    if file and not file.exists():
        raise FileNotFoundError(
            f"no {file} on this machine; several machines need an `mlflow server`"
        )
    client = connect(uri)
    return OpenRun(client, client.get_run(run_id))


def running_children(uri: str, run_id: str) -> list[str]:
    """Ids of a run's children that are still said to be running."""
    client = connect(uri)
    found = client.search_runs(
        [client.get_run(run_id).info.experiment_id],
        f"tags.`mlflow.parentRunId` = '{run_id}' and attributes.status = 'RUNNING'",
        max_results=50_000,
    )
    return [str(run.info.run_id) for run in found]


def start_run(
    uri: str,
    *,
    experiment: str,
    run_name: str,
    tags: Mapping[str, str],
    key: str,
    run_id: str | None,
) -> OpenRun:
    """Go on with a run, or make one; `key` finds the run that an earlier try has made."""
    from mlflow.exceptions import MlflowException

    client = connect(uri)
    if run_id:
        try:
            client.update_run(run_id, status="RUNNING")
            going_on = OpenRun(client, client.get_run(run_id))
            if REASON in going_on.run.data.tags:  # why it was not running
                client.delete_tag(run_id, REASON)
            return going_on
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            _log.warning("MLflow has no run %s any more; starting another", run_id)
    found = client.get_experiment_by_name(experiment)
    experiment_id = (
        found.experiment_id
        if found
        else client.create_experiment(experiment, artifact_location=_artifact_location(uri))
    )
    made = client.search_runs([experiment_id], f"tags.`adassl.start` = '{key}'", max_results=1)
    if made:
        return OpenRun(client, made[0])
    all_tags = {**tags, "adassl.start": key}
    return OpenRun(client, client.create_run(experiment_id, tags=all_tags, run_name=run_name))


def system_monitor(interval_seconds: float) -> Any:
    """MLflow's readings of CPU, memory, disk, network and GPU, without the thread that sends."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    return SystemMetricsMonitor("", sampling_interval=interval_seconds)  # type: ignore[no-untyped-call]


def _artifact_location(uri: str) -> str | None:
    # Without one, MLflow would make ./mlruns in whatever directory a process happens to run.
    file = database_file(uri)
    return str(file.absolute().parent / "mlartifacts") if file else None
