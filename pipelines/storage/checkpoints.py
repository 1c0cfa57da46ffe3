"""Checkpoints of a run: the newest and the best, each whole, wherever the run's folder is.

checkpoint_00000120/state.pt   tensors, numbers and strings alone
checkpoints.json               which one is the newest and which the best

A save writes the state, then names it, and only then removes what neither name needs any more: cut
off anywhere, it leaves the newest one that was named, whole. Nothing here knows of Ray, so that a
worker group and a plain process save and go on alike.
"""

import errno
import logging
import math
import pickle
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Literal

import torch

from pipelines.errors import UserError
from pipelines.storage.folder import Folder, StorageError

STATE_FILE, NAMES_FILE = "state.pt", "checkpoints.json"
_PREFIX = "checkpoint_"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_log = logging.getLogger(__name__)


class CheckpointError(UserError, RuntimeError):
    """A state that cannot be written or read; the message says what to do."""


class Checkpoints:
    """The checkpoints in a run's folder."""

    def __init__(self, folder: Folder) -> None:
        """Name the folder; nothing is read yet."""
        self._folder = folder

    def save(
        self,
        step: int,
        state: Mapping[str, Any],
        *,
        best_value: float,
        mode: str = "min",
        by: str = "",
    ) -> None:
        """Keep a state as the newest, and as the best if no value so far is lower, or higher.

        Of equal values the earlier stays the best; one that is no finite number never is.

        Raises:
            CheckpointError: if the state cannot be written; the one before stays as it was.
            StorageError: if the folder cannot be reached.
        """
        folder = f"{_PREFIX}{step:08d}"
        names = self._names()
        self._write(folder, state, names)
        newest = {"step": step, "folder": folder}
        best = names.get("best")
        if best is not None and best.get("by", "") != by:
            best = None  # by another metric, whose values do not compare
        sign = -1 if mode == "max" else 1
        if math.isfinite(best_value) and (best is None or sign * best_value < sign * best["value"]):
            best = {**newest, "value": float(best_value), **({"by": by} if by else {})}
        self._folder.write_json(NAMES_FILE, {"newest": newest, "best": best})
        self._prune(keep={folder, best["folder"] if best else folder})

    def step(self, which: Literal["newest", "best"] = "newest") -> int | None:
        """After how many steps the newest or the best was saved; None where there is none."""
        entry = self._names().get(which)
        return None if entry is None else int(entry["step"])

    def load(self, which: Literal["newest", "best"] | int = "newest") -> dict[str, Any] | None:
        """The newest state, the best, or that of a step; None where there is none.

        Raises:
            CheckpointError: if it is gone, damaged, or holds more than tensors, numbers and text.
        """
        step = which if isinstance(which, int) else self.step(which)
        if step is None:
            return None
        name = f"{_PREFIX}{step:08d}/{STATE_FILE}"
        place = self._folder.child(name)
        with self._folder.reading(name) as path:
            if path is None:
                raise CheckpointError(
                    f"{place} is gone, though {NAMES_FILE} names it: put it back, or delete "
                    f"{self._folder} and train anew"
                )
            try:
                return dict(torch.load(path, map_location="cpu", weights_only=True))
            except pickle.UnpicklingError:
                raise CheckpointError(
                    f"{place} is not loaded: it is damaged, or holds more than tensors, numbers "
                    "and text, which could run code"
                ) from None
            except (RuntimeError, EOFError) as error:
                raise CheckpointError(f"{place} is damaged: {error}") from None

    def _names(self) -> dict[str, Any]:
        return dict(self._folder.read_json(NAMES_FILE) or {})

    def _write(self, folder: str, state: Mapping[str, Any], names: Mapping[str, Any]) -> None:
        name = f"{folder}/{STATE_FILE}"
        try:
            with self._folder.writing(name) as path:
                torch.save(dict(state), path)
        except (StorageError, RuntimeError) as error:  # torch's word for a full disk is the latter
            in_use = [entry["folder"] for entry in names.values() if entry]
            if folder not in in_use:
                self._remove([folder])
            raise CheckpointError(self._why(name, error, state, names)) from error

    def _why(
        self, name: str, error: Exception, state: Mapping[str, Any], names: Mapping[str, Any]
    ) -> str:
        """What a failed save needed, and that the one before it is whole."""
        before = names.get("newest")
        intact = f"the checkpoint of step {before['step']} is whole" if before else "none was kept"
        number = getattr(error.__cause__, "errno", None)
        if isinstance(error, StorageError) and number not in _NO_ROOM:
            return f"{error}; {intact}"
        disk = self._folder.local or Path(gettempdir())
        needed, free = _megabytes(_num_bytes(state)), _megabytes(shutil.disk_usage(disk).free)
        return (
            f"cannot save {self._folder.child(name)}: it takes {needed}, and {free} are free at "
            f"{disk}. Make room for three of its size there; {intact} "
            f"({str(error).splitlines()[0]})"
        )

    def _prune(self, keep: set[str]) -> None:
        try:
            found = self._folder.folders()
        except StorageError as error:
            _log.warning("old checkpoints stay for now: %s", error)
            return
        self._remove(name for name in found if name.startswith(_PREFIX) and name not in keep)

    def _remove(self, folders: Iterable[str]) -> None:
        for folder in folders:
            try:
                self._folder.remove(folder)
            except StorageError as error:  # the next save tries again
                _log.warning("%s stays for now: %s", folder, error)


def _num_bytes(state: Any) -> int:
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, Mapping):
        return sum(map(_num_bytes, state.values()))
    if isinstance(state, list | tuple):
        return sum(map(_num_bytes, state))
    return 8


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB"
