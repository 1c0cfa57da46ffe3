"""Delivery in the background to a service that may be away: in order, bounded, never raising.

    put(job), add(items) ──► [jobs] [items, the oldest dropped when full] ──► one thread ──► service

When a delivery fails, the thread asks whether the service is there. If it is, the delivery itself
is at fault: it is tried twice more and left out. If it is not, everything waits, and is sent when
the service is back.
"""

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_log = logging.getLogger(__name__)

_TRIES_WHILE_REACHABLE = 3
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 15.0
_STALL_SECONDS, _SLOWEST_BYTES_PER_SECOND = 10.0, 1e6


@dataclass(frozen=True, kw_only=True)
class Job:
    """Something to do that a warning can name; it must be safe to do twice.

    Attributes:
        name: as it reads in "the encoder was left out".
        action: raises if it did not work.
        size_bytes: of what it uploads, so that a slow upload is not taken for a dead service.
    """

    name: str
    action: Callable[[], None]
    size_bytes: int = 0


class AsyncLogger(Generic[T]):
    """Sends jobs and streams of small items to one service.

    Args:
        service: its name, for warnings.
        connect: done before everything else; if it is left out, so is all the rest.
        send: delivers items, at most `batch_size` at a time.
        is_reachable: whether the service answers at all.
        capacity: most items that wait; what comes on top pushes out the oldest.
    """

    def __init__(
        self,
        service: str,
        *,
        connect: Callable[[], None],
        send: Callable[[list[T]], None],
        is_reachable: Callable[[], bool],
        capacity: int = 100_000,
        batch_size: int = 1000,
        interval_seconds: float = 1.0,
    ) -> None:
        self._service, self._send, self._is_reachable = service, send, is_reachable
        self._capacity, self._batch_size, self._interval = capacity, batch_size, interval_seconds
        self._jobs: deque[Job] = deque([Job(name="the run", action=connect)])
        self._items: deque[T] = deque()
        self._last: Job | None = None
        self._in_hand: Job | None = None
        self._changed = threading.Condition()
        self._closing = self._gave_up = self._away = False
        self._progress_at = time.monotonic()
        self.connected = False
        self.last_error = ""
        """What the service said to the last delivery that failed."""
        self.num_dropped = 0
        self.opened = threading.Event()
        """Set when connecting has worked or been left out for good."""
        self._thread = threading.Thread(target=self._run, name=f"log to {service}", daemon=True)
        self._thread.start()

    def put(self, job: Job, *, urgent: bool = False) -> None:
        """Queue a job behind the others, or before them."""
        with self._changed:
            if not self._gave_up:
                (self._jobs.appendleft if urgent else self._jobs.append)(job)
                self._changed.notify()

    def add(self, items: Iterable[T]) -> None:
        """Queue items."""
        with self._changed:
            if self._gave_up:
                return
            self._items.extend(items)
            overflow = len(self._items) - self._capacity
            for _ in range(overflow):
                self._items.popleft()
            if overflow > 0 and not self.num_dropped:
                _log.warning(
                    "%s does not keep up: the buffer of %d metrics is full, the oldest are dropped "
                    "(they are in the run folder)",
                    self._service,
                    self._capacity,
                )
            self.num_dropped += max(0, overflow)
            self._changed.notify()

    def close(self, *, last: Job | None = None) -> None:
        """Send what waits, then `last`; give up when nothing has moved for 10 s."""
        with self._changed:
            if self._closing or self._gave_up:
                return
            self._closing, self._last = True, last
            self._progress_at = time.monotonic()
            self._changed.notify()
        while self._thread.is_alive():
            self._thread.join(0.05)
            with self._changed:
                size = self._in_hand.size_bytes if self._in_hand and not self._away else 0
                allowed = _STALL_SECONDS + size / _SLOWEST_BYTES_PER_SECOND
                if time.monotonic() - self._progress_at > allowed:
                    self._gave_up = True
                    self._changed.notify()
                    break
        self._say_what_is_missing()

    def _run(self) -> None:
        self.connected = self._deliver(self._jobs.popleft())
        if not self.connected:
            self._forget_all()
        self.opened.set()
        while job := self._next():
            self._deliver(job)

    def _forget_all(self) -> None:
        with self._changed:
            if not self._gave_up:  # the service refused the run: nothing has a place to go to
                self._gave_up, self._last = True, None
                self._jobs.clear()
                self._items.clear()

    def _next(self) -> Job | None:
        with self._changed:
            if self._gave_up:
                return None
            self._changed.wait_for(lambda: self._jobs or self._items or self._closing)
            if not self._jobs:  # let items gather, so that a second's worth is one request
                self._changed.wait_for(lambda: self._jobs or self._closing, self._interval)
            if self._gave_up:
                return None
            if self._jobs:
                return self._jobs.popleft()
            if not self._items:
                job, self._last = self._last, None
                return job
            batch = [self._items.popleft() for _ in range(min(self._batch_size, len(self._items)))]
        return Job(name=f"{len(batch)} metrics", action=partial(self._send, batch))

    def _deliver(self, job: Job) -> bool:
        failures, pause, self._in_hand = 0, _FIRST_PAUSE_SECONDS, job
        while not self._gave_up:
            try:
                job.action()
            except Exception as error:
                self.last_error = " ".join(f"{error}".split()) or type(error).__name__
                self.last_error = without_password(self.last_error)
                reachable = self._is_reachable()
                self._note(reachable, error)
                failures = failures + 1 if reachable else 0
                if failures == _TRIES_WHILE_REACHABLE:
                    why = brief(error)
                    _log.warning("%s refused %s; left out: %s", self._service, job.name, why)
                    self._moved()
                    return False
            else:
                self._note(True)
                self._moved()
                return True
            self._wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        return False

    def _moved(self) -> None:
        with self._changed:
            self._in_hand, self._progress_at = None, time.monotonic()

    def _note(self, reachable: bool, error: Exception | None = None) -> None:
        if error and not reachable and not self._away:
            _log.warning(
                "%s is away; the run goes on without it: its metrics stay in the run folder and "
                "are sent when it is back (%s)",
                self._service,
                brief(error),
            )
        if reachable and self._away:
            _log.warning("%s is back; %d metrics wait for it", self._service, len(self._items))
        self._away = not reachable

    def _wait(self, seconds: float) -> None:
        with self._changed:
            closing = self._closing  # closing cuts a long wait short, once
            self._changed.wait_for(
                lambda: self._gave_up or self._closing != closing,
                _FIRST_PAUSE_SECONDS if closing else seconds,
            )

    def _say_what_is_missing(self) -> None:
        with self._changed:
            jobs = [job.name for job in (self._in_hand, *self._jobs, self._last) if job]
            if self._items:
                jobs.append(f"{len(self._items)} metrics")
        if jobs:
            _log.warning("%s never got %s", self._service, ", ".join(jobs))
        if self.num_dropped:
            _log.warning("%s: %d metrics were dropped", self._service, self.num_dropped)


def brief(error: Exception) -> str:
    """One short line of an error, without passwords."""
    text = without_password(" ".join(f"{error}".split())) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"


def without_password(text: str) -> str:
    """The text with the user and password of every URI in it blotted out."""
    return re.sub(r"://[^/@\s]*:[^/@\s]*@", "://***@", text)


def without_passwords(tree: Any) -> Any:
    """A config in which `without_password` went over every URI: for pages, which are passed on."""
    if isinstance(tree, Mapping):
        return {key: without_passwords(value) for key, value in tree.items()}
    return without_password(tree) if isinstance(tree, str) and "://" in tree else tree
