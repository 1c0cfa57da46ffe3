"""Calls in processes that a time limit can kill.

decord can loop for ever on a bad container while it holds the GIL, and a decoder can crash: threads
and executors do not outlive either. Here each call runs in a worker of its own until it returns,
falls silent, or dies; a worker that is lost costs its one item and is replaced.
"""

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Tick = Callable[[float], None]
"""Says how far a call has come, 0 to 1, and that it is alive."""

STARTUP_SECONDS = 60.0
TICK_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Moved(Generic[Item]):
    """A call is still at it."""

    item: Item
    share_done: float


@dataclass(frozen=True, kw_only=True)
class Done(Generic[Item, Result]):
    """A call returned."""

    item: Item
    result: Result


@dataclass(frozen=True, kw_only=True)
class Lost(Generic[Item]):
    """A call raised, or ended its process: it was silent for too long, or crashed."""

    item: Item
    reason: str
    ended: bool = False


def run_killable(
    function: Callable[[Item, Tick], Result],
    items: Sequence[Item],
    *,
    num_workers: int,
    timeout_seconds: float,
) -> Generator[Moved[Item] | Done[Item, Result] | Lost[Item], None, None]:
    """Call a function on every item, in processes, and yield how each goes on and ends.

    Args:
        function: a module's own function; it calls its second argument now and then, at least once
            per `timeout_seconds`.
        items: one call each, in this order.
        num_workers: processes at once.
        timeout_seconds: silence after which a call is killed.
    """
    waiting = deque(items)
    workers: dict[Connection, _Worker] = {}
    try:
        while waiting or workers:
            while waiting and len(workers) < num_workers:
                worker = _Worker(function, timeout_seconds)
                worker.give(waiting.popleft())
                workers[worker.connection] = worker
            patience = min(w.deadline for w in workers.values()) - time.monotonic()
            ready = set(wait(list(workers), timeout=max(0.0, patience)))
            for connection, worker in list(workers.items()):
                event = worker.hear() if connection in ready else worker.check()
                if event is None:
                    continue
                yield event
                if isinstance(event, Moved):
                    continue
                if waiting and worker.process.is_alive():
                    worker.give(waiting.popleft())
                else:
                    workers.pop(connection).kill()
    finally:
        for worker in workers.values():
            worker.kill()


class _Worker:
    """One process and the item it works on."""

    def __init__(self, function: Callable[..., Any], timeout_seconds: float) -> None:
        # spawn: a fork of a process with threads (Ray, progress bars) may hang on their locks.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(function, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.timeout_seconds = timeout_seconds
        self.deadline = 0.0
        self.item: Any = None

    def give(self, item: Any) -> None:
        """Hand over the next item; a fresh process has to import first."""
        self.item = item
        self.connection.send(item)
        self.deadline = time.monotonic() + STARTUP_SECONDS + self.timeout_seconds

    def hear(self) -> Any:
        """What the process has said; its end of the pipe closes if it died."""
        try:
            kind, content = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            reason = f"probe crashed: {_exit(self.process.exitcode)}"
            return Lost(item=self.item, reason=reason, ended=True)
        self.deadline = time.monotonic() + self.timeout_seconds
        if kind == "moved":
            return Moved(item=self.item, share_done=content)
        if kind == "done":
            return Done(item=self.item, result=content)
        return Lost(item=self.item, reason=content)

    def check(self) -> Any:
        """Kill a process that has been silent for too long."""
        if time.monotonic() < self.deadline:
            return None
        self.kill()
        reason = f"probe timed out after {self.timeout_seconds:g} s"
        return Lost(item=self.item, reason=reason, ended=True)

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def _serve(function: Callable[..., Any], connection: Connection) -> None:
    """A worker's life: items in, ticks and results out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # FFmpeg's complaints: the reason is returned
    spoke = 0.0

    def tick(share_done: float) -> None:
        nonlocal spoke
        if time.monotonic() - spoke > TICK_SECONDS:
            connection.send(("moved", share_done))
            spoke = time.monotonic()

    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        spoke = 0.0
        tick(0.0)
        try:
            reply = ("done", function(item, tick))
        except Exception as error:  # any fault of one item is that item's reason
            reply = ("lost", f"probe failed: {type(error).__name__}: {error}")
        connection.send(reply)


def _exit(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
