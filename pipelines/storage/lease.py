"""One command at a time in a folder: a lease that a killed one does not leave behind.

On this machine's file systems the lease is a lock (`flock`) on OUT/NAME/.lease, which the system
lets go with the process. Where there is none (S3, some network file systems) it is the same file
with a counter that its owner raises; who finds that it stands still takes the lease over, at once
if the owner was a process of this machine that is gone.
"""

import errno
import fcntl
import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from pipelines.config.run import ConfigError
from pipelines.storage.folder import Folder, StorageError

FILE = ".lease"
BEAT_SECONDS = 5.0
"""Between two beats of an owner."""
STILL_SECONDS = 20.0
"""A lease whose counter has not changed for so long is nobody's."""
SETTLE_SECONDS = 2.0
"""After which of two who write a lease at once both see whose has stayed."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@contextmanager
def only_one(folder: Folder) -> Iterator[None]:
    """Hold a folder's lease while the block lasts.

    Raises:
        ConfigError: naming the process that has it.
        StorageError: if the folder cannot be written.
    """
    file = _locked(folder) if folder.local else None
    if file is not None:
        with os.fdopen(file, "w"):  # closing it lets go of the lock
            yield
        return
    owner = _Owner(folder)
    try:
        yield
    finally:
        owner.let_go()


def _locked(folder: Folder) -> int | None:
    """The descriptor of the locked file; None where the file system has no locks."""
    assert folder.local is not None
    path: Path = folder.local / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        said = os.read(file, 4096)
        os.close(file)
        if error.errno in _NO_LOCKS:
            return None
        if not isinstance(error, BlockingIOError):
            raise StorageError(f"cannot lock {path}: {error.strerror}") from error
        raise _refusal(folder, json.loads(said or b"{}")) from None
    os.truncate(file, 0)
    os.write(file, json.dumps(_myself()).encode())
    return file


class _Owner:
    """The owner of a lease that is kept by a counter."""

    def __init__(self, folder: Folder) -> None:
        """Take the lease, or take it over."""
        self._folder, self._id, self._beat = folder, uuid.uuid4().hex, 0
        found = self._read()
        if found and not _is_dead(found):
            self._watch(found)
        self._write()
        time.sleep(SETTLE_SECONDS)
        now = self._read()
        if now and now["id"] != self._id:
            raise _refusal(folder, now)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True, name="lease")
        self._thread.start()

    def let_go(self) -> None:
        """Leave the folder to others."""
        self._ended.set()
        self._thread.join()
        found = self._read()
        if found and found["id"] == self._id:
            with suppress(StorageError):
                self._folder.remove(FILE)

    def _watch(self, found: dict[str, Any]) -> None:
        """Wait until it is known whether the owner still lives; the clocks of two machines differ.

        Raises:
            ConfigError: if it does.
        """
        print(
            f"{self._folder.name} was last used by {_words(found)}: waiting {STILL_SECONDS:.0f} s "
            "to see whether that command still runs",
            flush=True,
        )
        deadline = time.monotonic() + STILL_SECONDS
        while time.monotonic() < deadline:
            time.sleep(1)
            now = self._read()
            if now is None:
                return
            if (now["id"], now["beat"]) != (found["id"], found["beat"]):
                raise _refusal(self._folder, now)

    def _keep(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with suppress(StorageError):  # the next beat may come through
                found = self._read()
                if found and found["id"] != self._id:
                    print(f"{self._folder} was taken over by {_words(found)}", flush=True)
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
                self._write()

    def _read(self) -> dict[str, Any] | None:
        try:
            content: dict[str, Any] | None = self._folder.read_json(FILE)
        except StorageError:  # half written, where writing is not all or nothing
            return None
        return content if content and "id" in content else None

    def _write(self) -> None:
        self._beat += 1
        self._folder.write_json(FILE, {**_myself(), "id": self._id, "beat": self._beat})


def _refusal(folder: Folder, owner: dict[str, Any]) -> ConfigError:
    return ConfigError(
        f"{folder.name} is in use by {_words(owner)}. Wait until it has ended, stop it, or give "
        "this command another --name"
    )


def _words(owner: dict[str, Any]) -> str:
    if "pid" not in owner:
        return "another command"
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(owner["started"]))
    return f"another command (process {owner['pid']} on {owner['host']}, since {since})"


def _myself() -> dict[str, Any]:
    me = psutil.Process()
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": me.pid,
        "started": me.create_time(),
    }


def _machine() -> str:
    """What tells this machine, since when it is up, and this container from all others."""
    parts = [socket.gethostname(), str(uuid.getnode())]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _is_dead(owner: dict[str, Any]) -> bool:
    """Whether an owner is known to be gone: it was a process of this machine."""
    if owner["machine"] != _machine():
        return False
    try:
        process = psutil.Process(owner["pid"])
        return bool(
            abs(process.create_time() - owner["started"]) > 1
            or process.status() == psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return True
