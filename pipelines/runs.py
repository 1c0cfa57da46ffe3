"""A run's folder: its config, which MLflow run it is, its checkpoints, figures and summary.

OUT/NAME/config.json        the resolved config
OUT/NAME/run.json           fingerprints of config and data, and the MLflow run
OUT/NAME/checkpoint_*/      state.pt (tensors, numbers and strings alone), written by Ray Train
OUT/NAME/figures/*.png
OUT/NAME/summary.json       the final figures, flat
"""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray.train
import torch

from pipelines.config import ConfigError, RunConfig, flatten, parse

STATE_FILE = "state.pt"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What must not change under one name, and where MLflow keeps the run."""

    fingerprint: str
    data_digest: str
    tracking_uri: str | None = None
    mlflow_run_id: str | None = None


class RunFolder:
    """The folder of one named run."""

    def __init__(self, path: Path) -> None:
        """Name the folder; nothing is made yet."""
        self.path = path.absolute()

    @property
    def figures(self) -> Path:
        """Where the pictures are."""
        folder = self.path / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def claim(self, config: RunConfig, data_digest: str) -> RunRecord:
        """Take the name for this config, or go on where the same config has it already.

        Raises:
            ConfigError: if the name belongs to another config or other data.
        """
        record = self.record()
        if record is None:
            self.path.mkdir(parents=True, exist_ok=True)
            record = RunRecord(fingerprint=config.fingerprint(), data_digest=data_digest)
            self.keep(record)
        elif record.fingerprint != config.fingerprint():
            raise ConfigError(
                f"{self.path.name} was started with another config: "
                f"{self._difference(config)}. Give this one another --name, or delete {self.path}"
            )
        elif record.data_digest != data_digest:
            raise ConfigError(
                f"{self.path.name} was started on other videos (index digest "
                f"{record.data_digest}, now {data_digest}). Give this run another --name"
            )
        write_json(self.path / "config.json", config.model_dump(mode="json"))
        return record

    def record(self) -> RunRecord | None:
        """What the folder says of itself; None where no run was started."""
        path = self.path / "run.json"
        return RunRecord(**json.loads(path.read_text())) if path.exists() else None

    def keep(self, record: RunRecord) -> None:
        """Write the record."""
        write_json(self.path / "run.json", asdict(record))

    def config(self) -> RunConfig:
        """The config that the run was made with.

        Raises:
            ConfigError: if there is no run in the folder.
        """
        path = self.path / "config.json"
        if not path.exists():
            raise ConfigError(
                f"{self.path} holds no run: no config.json; see `adassl train --help`"
            )
        return parse(json.loads(path.read_text()))

    def add_to_summary(self, figures: Mapping[str, Any]) -> Path:
        """Merge figures into summary.json."""
        path = self.path / "summary.json"
        before = json.loads(path.read_text()) if path.exists() else {}
        write_json(path, {**before, **figures})
        return path

    def _difference(self, config: RunConfig) -> str:
        old = flatten(json.loads((self.path / "config.json").read_text()))
        new = flatten(config.model_dump(mode="json"))
        skip = ("cluster.", "tracking.")
        changed = [
            f"{key} was {old.get(key)}, now {value}"
            for key, value in new.items()
            if old.get(key) != value and not key.startswith(skip)
        ]
        return "; ".join(changed) or "settings this version no longer knows"


def newest_state(folder: RunFolder) -> dict[str, Any] | None:
    """The state in the newest checkpoint, None where there is none yet."""
    return _state_of(folder, newest=True)


def best_state(folder: RunFolder) -> dict[str, Any] | None:
    """The state in the best checkpoint by `train.best_metric`."""
    return _state_of(folder, newest=False)


def save_state(state: Mapping[str, Any], folder: Path) -> None:
    """Write a state of tensors, numbers, strings and containers of them."""
    torch.save(dict(state), folder / STATE_FILE)


def load_state(folder: Path) -> dict[str, Any]:
    """Read a state back without running anything that it may hold."""
    state: dict[str, Any] = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
    return state


def write_json(path: Path, content: Any) -> None:
    """Write at once or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(handle, "w") as file:
        json.dump(content, file, indent=2)
    os.replace(temporary, path)


def _state_of(folder: RunFolder, *, newest: bool) -> dict[str, Any] | None:
    try:
        result = ray.train.Result.from_path(str(folder.path))
    except RuntimeError:  # Ray's word for: no checkpoint was written
        return None
    checkpoint = result.checkpoint if newest else result.get_best_checkpoint("best", "min")
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as path:
        return load_state(Path(path))
