"""Iterating ahead of the use, in a thread."""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any

NEWS_SECONDS = 60.0
"""Between lines that say that no batch has come."""
CLOSE_SECONDS = 30.0
"""Longest wait for the decoders to stop when a stream is left before its end."""


class Ahead(Iterator[Any]):
    """Iterates in a thread, at most `depth` items ahead; errors come out where they are due.

    It begins at once, and ends when it is closed or nobody holds it any more.
    """

    def __init__(self, items: Generator[Any, None, None], depth: int) -> None:
        """Start the thread."""
        self._ready: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._worker = threading.Thread(  # it must not hold on to self
            target=_feed, args=(items, self._ready, self._stopped), daemon=True, name="pairs-ahead"
        )
        self._worker.start()

    def __next__(self) -> Any:
        if self._stopped.is_set():
            raise StopIteration
        kind, item = self._wait()
        if kind == "item":
            return item
        self.close()
        if kind == "error":
            raise item
        raise StopIteration

    def _wait(self) -> tuple[str, Any]:
        waited = 0.0
        while True:
            try:
                return self._ready.get(timeout=NEWS_SECONDS)
            except queue.Empty:
                waited += NEWS_SECONDS
                print(
                    f"no batch for {waited:.0f} s: either the decoders find no free CPU, which "
                    "`ray status` shows, or the videos' storage does not answer",
                    flush=True,
                )

    def close(self) -> None:
        """Stop, and wait until the decoders are released."""
        self._stopped.set()
        self._worker.join(CLOSE_SECONDS)

    def __del__(self) -> None:
        self.close()


def _feed(
    items: Generator[Any, None, None],
    ready: "queue.Queue[tuple[str, Any]]",
    stopped: threading.Event,
) -> None:
    def put(kind: str, item: Any) -> None:
        while not stopped.is_set():
            try:
                return ready.put((kind, item), timeout=0.2)
            except queue.Full:
                continue

    try:
        for item in items:
            put("item", item)
            if stopped.is_set():
                return
        put("end", None)
    except BaseException as error:  # handed to the consumer, who raises it
        put("error", error)
    finally:
        items.close()
