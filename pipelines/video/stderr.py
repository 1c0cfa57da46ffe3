"""Standard error that goes nowhere for a moment, for libraries in C++ that write to it directly."""

import os
import threading


class _WithoutStderr:
    """A context manager that any number of threads may enter at once."""

    def __init__(self) -> None:
        self._lock, self._depth, self._kept = threading.Lock(), 0, -1

    def __enter__(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._kept = os.dup(2)
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 2)
                os.close(nowhere)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                os.dup2(self._kept, 2)
                os.close(self._kept)


without_stderr = _WithoutStderr()
