"""Weights of a backbone to start from: of a run, a checkpoint, or a file that others wrote."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adassl.safetensors import read_safetensors
from pipelines.config.run import ConfigError
from pipelines.storage.checkpoints import NAMES_FILE, STATE_FILE
from pipelines.storage.folder import parent_and_name
from pipelines.storage.runs import RunFolder, best_state, newest_state

_FILES = (STATE_FILE, "model.safetensors", "pytorch_model.bin")
"""What a folder of weights holds."""
_WITHIN = ("method", "state_dict", "model")
"""Keys of a checkpoint under which the weights may stand."""
_BEFORE = ("encoder.backbone.", "backbone.", "module.", "")
"""Beginnings of the names of a backbone's weights, the longest first."""


def backbone_weights(where: str) -> dict[str, Tensor]:
    """The weights of a backbone by name.

    Files are read as data: safetensors, or torch's format with `weights_only`.

    Args:
        where: the folder of a run, whose best checkpoint counts, else its newest; a folder with
            state.pt, model.safetensors or pytorch_model.bin; or such a file. A path or a URI.

    Raises:
        ConfigError: if there is none, or it holds no weights.
        CheckpointError: if the checkpoint of a run cannot be read.
        StorageError: if the place cannot be reached.
    """
    run = RunFolder(where)
    if run.folder.exists(NAMES_FILE):
        state = best_state(run) or newest_state(run)
        return _of_backbone(where, state or {})
    for name in _FILES:
        if run.folder.exists(name):
            return _read(f"{where.rstrip('/')}/{name}")
    return _read(where)


def _read(where: str) -> dict[str, Tensor]:
    folder, name = parent_and_name(where)
    with folder.reading(name) as file:
        if file is None or not file.is_file():
            raise ConfigError(
                f"{where}: no run, checkpoint or weights; name a run's folder, a checkpoint, or a "
                f"folder with {' or '.join(_FILES)}"
            )
        return _of_backbone(where, _load(where, file))


def _load(where: str, file: Path) -> Mapping[str, Any]:
    if where.endswith(".safetensors"):
        try:
            return read_safetensors(file)
        except ValueError as error:
            raise ConfigError(f"{where}: not loaded: {error}") from None
    try:
        return dict(torch.load(file, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"{where}: not loaded: it is damaged, or holds more than tensors, numbers and text, "
            f"which could run code ({reason})"
        ) from error


def _of_backbone(where: str, state: Mapping[str, Any]) -> dict[str, Tensor]:
    for key in _WITHIN:
        if isinstance(state.get(key), Mapping):
            state = state[key]
            break
    for before in _BEFORE:
        found = {
            name.removeprefix(before): value
            for name, value in state.items()
            if name.startswith(before) and isinstance(value, Tensor)
        }
        if found:
            return found
    raise ConfigError(f"{where}: holds no weights of a backbone")
