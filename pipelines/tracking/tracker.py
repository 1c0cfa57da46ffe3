"""One MLflow run, as one process sees it."""

import atexit
import json
import logging
import math
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from pipelines.tracking import service
from pipelines.tracking.async_logger import AsyncLogger, Job, brief, without_password
from pipelines.tracking.service import Measurement, OpenRun
from pipelines.tracking.system import SystemSampler
from pipelines.tracking.uri import check_uri, database_file

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

Status = Literal["FINISHED", "FAILED", "KILLED"]

_log = logging.getLogger(__name__)

_PARAM_CHARACTERS, _KEY_CHARACTERS = 6000, 250  # MLflow's limits
_START_SECONDS, _SQLITE_START_SECONDS = 10.0, 60.0  # making a database's tables takes seconds


def aliases(config: Mapping[str, Any]) -> dict[str, float]:
    """Short numeric params of a flat config, the same on every run, for comparing runs.

    MLflow's parallel coordinates drop a run that lacks one, so a method without r has zeros.
    """
    has_latent = config.get("method.latent") != "none"
    names = ("beta", "beta_warmup_steps", "latent_dim")
    short = {name: config.get(f"method.{name}", 0) if has_latent else 0 for name in names}
    return {**short, "seed": config.get("train.seed", 0)}


class Tracker:
    """One MLflow run as one process sees it; make one with `start` or `attach`.

    Once it is made, nothing that happens to MLflow makes its methods raise, and none but `finish`
    waits for it. As a context manager it finishes the run by the way its block is left.
    """

    def __init__(self, uri: str, open_run: Callable[[], OpenRun] | None, *, owns: bool) -> None:
        """Only for `start` and `attach`; without `open_run` everything is ignored."""
        check_uri(uri)
        self.uri, self._owns, self._open_run = uri, owns, open_run
        self._run: OpenRun | None = None
        self._not_numbers: set[str] = set()
        self._sampler: SystemSampler | None = None
        self._logger: AsyncLogger[Measurement] | None = None
        if open_run:
            service.import_mlflow()
            self._logger = AsyncLogger(
                f"MLflow at {without_password(uri)}",
                connect=self._open,
                send=lambda measurements: self._opened().send_metrics(measurements),
                is_reachable=partial(service.is_reachable, uri),
            )
            atexit.register(self.finish, "KILLED")

    @classmethod
    def start(
        cls,
        uri: str,
        experiment: str,
        run_name: str,
        *,
        tags: Mapping[str, str] | None = None,
        run_id: str | None = None,
        parent_run_id: str | None = None,
    ) -> Self:
        """Start a run, or go on with the run `run_id`; this tracker is the one that ends it.

        A server that does not answer within 10 s costs a warning. `run_id` is None then, and the
        run is started when the server answers.

        Raises:
            TrackingError: if no MLflow can be at the URI.
        """
        all_tags = dict(tags or {})
        if parent_run_id:
            all_tags["mlflow.parentRunId"] = parent_run_id
        open_run = partial(
            service.start_run,
            uri,
            experiment=experiment,
            run_name=run_name,
            tags=all_tags,
            key=uuid.uuid4().hex,
            run_id=run_id,
        )
        tracker = cls(uri, open_run, owns=True)
        assert tracker._logger
        patience = _SQLITE_START_SECONDS if database_file(uri) else _START_SECONDS
        tracker._logger.opened.wait(patience)
        return tracker

    @classmethod
    def attach(cls, uri: str, run_id: str | None, *, system_metrics: bool = False) -> Self:
        """Log to a run that another process started and will end; does not wait for the server.

        For run id None, of a run that could not be started, it ignores all that it is given.

        Raises:
            TrackingError: if no MLflow can be at the URI.
        """
        open_run = partial(service.find_run, uri, run_id) if run_id else None
        tracker = cls(uri, open_run, owns=False)
        if system_metrics and run_id:
            tracker._sampler = SystemSampler(tracker._log_system_metrics)
        return tracker

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None while the server has not answered."""
        return self._run.run_id if self._run else None

    @property
    def last_error(self) -> str:
        """What MLflow said to the last request that failed; empty if none did."""
        return self._logger.last_error if self._logger else ""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Flat params. One that an earlier start set otherwise, which is final, becomes a tag."""
        text = {_key(key): _param(value) for key, value in params.items()}
        self._put("the params", lambda run: run.send_params(text))

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Metrics at a step. What is not a finite number is named once and left out."""
        if self._logger:
            self._logger.add(self._measurements(metrics, step))

    def log_missing(self, history: Iterable[Mapping[str, float]], *, by: str) -> None:
        """Metrics of a run that goes on which a process that was killed had not sent.

        Args:
            history: one entry a step, with the key "step".
            by: a metric that every entry has; what is later than the last that MLflow has of it
                is sent.
        """

        def send(run: OpenRun) -> None:
            last = run.last_step(by)
            for entry in history:
                metrics = {name: value for name, value in entry.items() if name != "step"}
                if entry["step"] > last:
                    run.send_metrics(self._measurements(metrics, int(entry["step"])))

        self._put("metrics from before", send)

    def _measurements(self, metrics: Mapping[str, float], step: int) -> list[Measurement]:
        now, entries = int(time.time() * 1000), []
        for name, value in metrics.items():
            number = _number(value)
            if number is not None:
                entries.append(Measurement(_key(name), number, now, int(step)))
            elif name not in self._not_numbers:
                self._not_numbers.add(name)
                _log.warning("%s is %s at step %s: not sent to MLflow", name, value, step)
        return entries

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Tags, replacing those of the same name."""
        values = {key: without_password(str(value)) for key, value in tags.items()}
        self._put("tags", lambda run: run.send_tags(values))

    def log_dataset(
        self, name: str, source: str | Path, *, digest: str, num_rows: int, context: str
    ) -> None:
        """A data set as an input of the run, such as the index with context "training"."""
        self._put(
            f"the data set {name}",
            lambda run: run.send_dataset(
                name=name, source=str(source), digest=digest, num_rows=num_rows, context=context
            ),
        )

    def log_config(self, config: Mapping[str, Any]) -> None:
        """The resolved config as the artifact `config.json`."""
        text = without_password(json.dumps(config, indent=2, default=str))
        self._put("config.json", lambda run: run.send_text(text, "config.json"))

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """A file, or all files of a folder, as artifacts; read when sent: leave it in its place."""
        self._put(path.name, lambda run: run.send_files(path, folder), _size(path))

    def log_encoder(
        self, module: "nn.Module", example: "NDArray[Any]", name: str = "encoder"
    ) -> None:
        """A trained module as a model with a signature, exported here and sent in the background.

        It is a `torch.export` graph, not a pickle, on the CPU, for any number of inputs like the
        `example` [batch, …]. Load it with `mlflow.pytorch.load_model("runs:/<run id>/encoder")`.
        """
        if not self._logger:
            return
        try:
            from pipelines.tracking.encoder import ExportedEncoder

            model = ExportedEncoder(module, example, name)
        except Exception as error:  # a graph that torch.export cannot trace
            _log.warning("MLflow does not get the %s: %s", name, brief(error))
            return
        self._put(f"the {name}", model.send, _size(model.folder))

    def end_other(self, run_id: str, status: Status, tags: Mapping[str, str]) -> None:
        """Tag and end a run whose own process may be gone, such as a child of this one."""
        values = {key: without_password(value) for key, value in tags.items() if value}

        def end(_: OpenRun) -> None:
            other = service.find_run(self.uri, run_id)
            other.send_tags(values)
            other.end(status)

        self._put(f"the end of run {run_id}", end)

    def end_children(self) -> None:
        """End as KILLED every child of this run that is still said to be running."""

        def end(run: OpenRun) -> None:
            for child in service.running_children(self.uri, run.run_id):
                service.find_run(self.uri, child).end("KILLED")

        self._put("the end of its children", end)

    def finish(self, status: Status = "FINISHED") -> None:
        """Send what is buffered and, if this tracker started the run, end it.

        It waits as long as things go through, and 10 s for a server that is away.
        """
        if not self._logger:
            return
        atexit.unregister(self.finish)
        if self._sampler:
            self._sampler.stop()
        end = Job(name="the end of the run", action=lambda: self._opened().end(status))
        if self._owns and status == "KILLED":  # first: `ray job stop` leaves 3 s
            self._logger.put(end, urgent=True)
        self._logger.close(last=end if self._owns and status != "KILLED" else None)

    def close(self) -> None:
        """Finish, for a tracker that attached."""
        self.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.finish()
        else:  # Ctrl-C and the SystemExit of a signal handler are no failures
            self.finish("FAILED" if issubclass(kind, Exception) else "KILLED")

    def _put(self, name: str, send: Callable[[OpenRun], None], size_bytes: int = 0) -> None:
        if self._logger:
            job = Job(name=name, action=lambda: send(self._opened()), size_bytes=size_bytes)
            self._logger.put(job)

    def _open(self) -> None:
        assert self._open_run
        self._run = self._open_run()

    def _opened(self) -> OpenRun:
        assert self._run, "the logger opens the run before anything else"
        return self._run

    def _log_system_metrics(self, metrics: dict[str, float]) -> None:
        if self._run:  # their step is the second of the run, so that a resumed run goes on
            step = max(0, round(time.time() - self._run.started_seconds))
            self.log_metrics(metrics, step)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        return None
    return number if math.isfinite(number) else None


def _key(name: str) -> str:
    # One bad name would make MLflow refuse a thousand metrics.
    return re.sub(r"[^\w\-. /:]", "_", name)[:_KEY_CHARACTERS]


def _param(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = without_password(text)
    return text if len(text) <= _PARAM_CHARACTERS else text[: _PARAM_CHARACTERS - 1] + "…"


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
