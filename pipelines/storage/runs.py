"""A run's folder: its config, which MLflow run it is, its checkpoints, figures and summary.

OUT/NAME/config.json        the resolved config
OUT/NAME/run.json           fingerprints of config and data, and the MLflow run
OUT/NAME/checkpoints.json   which checkpoint is the newest and which the best
OUT/NAME/checkpoint_*/      state.pt (tensors, numbers and strings alone)
OUT/NAME/figures/*.png
OUT/NAME/summary.json       the final metrics, flat
"""

import atexit
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.config.changes import changes, with_defaults
from pipelines.config.run import ConfigError, RunConfig, parse
from pipelines.storage.checkpoints import Checkpoints
from pipelines.storage.folder import Folder
from pipelines.storage.lease import only_one

_CONFIG, _RECORD, _SUMMARY = "config.json", "run.json", "summary.json"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What must not change under one name, and where MLflow keeps the run."""

    fingerprint: str
    data_digest: str
    tracking_uri: str | None = None
    mlflow_run_id: str | None = None


class RunFolder:
    """The folder of one named run, at a path or a URI."""

    def __init__(self, where: str | Path | Folder) -> None:
        """Name the folder; nothing is made yet.

        Raises:
            StorageError: for a URI that cannot work.
        """
        self.folder = Folder(where)
        self.checkpoints = Checkpoints(self.folder)

    def __str__(self) -> str:
        return self.folder.uri

    @property
    def name(self) -> str:
        """The run's name."""
        return self.folder.name

    @property
    def figures(self) -> Path:
        """Where pictures are drawn: the run's own folder, or one beside it until `publish`."""
        folder = self._local / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def publish(self) -> None:
        """Send what was drawn to the run's folder, if that is elsewhere."""
        if self.folder.local is None:
            for picture in sorted(self.figures.iterdir()):
                self.folder.put(picture, f"figures/{picture.name}")

    def register(self, config: RunConfig, data_digest: str) -> RunRecord:
        """Take the name for this config, or go on where the same config has it already.

        Raises:
            ConfigError: if the name belongs to another config or other data.
            StorageError: if the folder cannot be written.
        """
        now, before, record = config.model_dump(mode="json"), self._config(), self.record()
        if before is None or record is None:
            record = RunRecord(fingerprint=config.fingerprint(), data_digest=data_digest)
        else:
            refuse_changes(
                self.folder, [*changes(before, now), *data_changes(record.data_digest, data_digest)]
            )
        self.folder.write_json(_CONFIG, now)
        self.keep(record)
        return record

    @contextmanager
    def registered(self, config: RunConfig, data_digest: str) -> Iterator[RunRecord]:
        """Register, and let no other command train here while the block lasts.

        Raises:
            ConfigError: as `register`, and where another command is at it.
        """
        with only_one(self.folder):
            yield self.register(config, data_digest)

    def record(self) -> RunRecord | None:
        """What the folder says of itself; None where no run was started."""
        content = self.folder.read_json(_RECORD)
        return None if content is None else RunRecord(**content)

    def keep(self, record: RunRecord) -> None:
        """Write the record."""
        self.folder.write_json(_RECORD, asdict(record))

    def config(self) -> RunConfig:
        """The config that the run was made with.

        Raises:
            ConfigError: if there is no run in the folder.
        """
        content = self._config()
        if content is None:
            raise ConfigError(f"{self} holds no run: no {_CONFIG}; see `adassl train --help`")
        return parse(content)

    def summary(self) -> dict[str, Any]:
        """The final metrics; empty while there are none."""
        return dict(self.folder.read_json(_SUMMARY) or {})

    def add_to_summary(self, metrics: Mapping[str, Any]) -> Path:
        """Merge metrics into summary.json; returns it as a local file, to be read later."""
        merged = {**self.summary(), **metrics}
        self.folder.write_json(_SUMMARY, merged)
        if self.folder.local is None:
            Folder(self._local).write_json(_SUMMARY, merged)
        return self._local / _SUMMARY

    @cached_property
    def _local(self) -> Path:
        """The folder itself, or a stand-in for as long as the process lives.

        MLflow's background thread may read files until the very end.
        """
        if self.folder.local:
            return self.folder.local
        staging = Path(tempfile.mkdtemp(prefix="adassl-"))
        atexit.register(shutil.rmtree, staging, ignore_errors=True)
        return staging

    def _config(self) -> dict[str, Any] | None:
        """As it was written, with the defaults of settings that did not exist then."""
        content = self.folder.read_json(_CONFIG)
        return None if content is None else with_defaults(content)


def refuse_changes(folder: Folder, changed: Sequence[str]) -> None:
    """Let a run, a sweep or an experiment go on under its name only as what it was started as.

    Raises:
        ConfigError: naming what has changed and may not.
    """
    if changed:
        raise ConfigError(
            f"{folder.name} was started with other settings: {'; '.join(changed)}. "
            f"Give this one another --name, or delete {folder}"
        )


def data_changes(before: str, now: str) -> list[str]:
    """The digests of the two indexes, where they differ, in words."""
    return [] if before == now else [f"the videos were others (index digest {before}, now {now})"]


def last_metrics(history: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The newest value of every metric of a history."""
    merged: dict[str, float] = {}
    for entry in history:
        merged |= entry
    return merged


def newest_state(folder: RunFolder) -> dict[str, Any] | None:
    """The state in the newest checkpoint, None where there is none yet."""
    return folder.checkpoints.load("newest")


def best_state(folder: RunFolder) -> dict[str, Any] | None:
    """The state in the best checkpoint by `train.best_metric`, None where there is none yet."""
    return folder.checkpoints.load("best")
