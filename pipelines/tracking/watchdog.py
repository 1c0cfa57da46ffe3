"""A process of its own that ends a run in MLflow when the one that should have is killed.

It waits at the other end of a pipe. A process that ends well says so first; where the pipe breaks
without a word (SIGKILL, no memory left, a stop on the way out), the run and its children are closed
as KILLED.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.tracking import service

_DONE = "done"
_ROOT = str(Path(__file__).parents[2])
_PAUSES_SECONDS = (0.0, 5.0, 10.0)
"""Before each look: trials outlive their driver for a moment, and one may just start its run."""


@contextmanager
def run_watchdog() -> Iterator[Callable[[str, str | None], None]]:
    """Yield what to call with a URI and a run id that must not stay RUNNING.

    To be entered before the run is started, so that it is left after the run has been ended.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", __name__],  # a package in this folder may have our name
        env={**os.environ, "PYTHONPATH": os.pathsep.join([_ROOT, *sys.path])},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # what is sent to our group, such as Ctrl-C, is not for it
    )
    pipe = process.stdin
    assert pipe

    def tell(words: str) -> None:
        with suppress(BrokenPipeError):
            pipe.write(words)
            pipe.flush()

    def guard(uri: str, run_id: str | None) -> None:
        if run_id:  # by the pipe, not as arguments that all can see: a URI may hold a password
            tell(f"{uri}\n{run_id}\n")
        process.wait()  # the one of whom it is an orphan

    try:
        yield guard
        tell(_DONE)
    finally:
        with suppress(BrokenPipeError):
            pipe.close()
        process.wait()


def main() -> None:
    """Wait for the word or for the silence."""
    if os.fork():
        return  # an orphan waits on: `ray job stop` ends all descendants of a job
    lines = sys.stdin.read().splitlines()
    if len(lines) != 2:  # no run to guard, or the last word was said
        return
    uri, run_id = lines
    service.import_mlflow()
    for number, pause in enumerate(_PAUSES_SECONDS):
        time.sleep(pause)
        try:
            is_running = service.find_run(uri, run_id).run.info.status == "RUNNING"
            if is_running and number:  # the same command goes on with it
                return
            own = [run_id] if is_running else []
            for each in [*service.running_children(uri, run_id), *own]:
                run = service.find_run(uri, each)
                run.send_tags({service.REASON: "the process that drove it is gone"})
                run.end("KILLED")
        except FileNotFoundError:
            return
        except Exception:  # a server that is away for a moment
            continue


if __name__ == "__main__":
    main()
