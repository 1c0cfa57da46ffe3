"""A process of its own that ends a run in MLflow when the one that should have is killed.

It waits at the other end of a pipe. A process that ends in order says so first; where the pipe
breaks without a word (SIGKILL, no memory left), the run and its children are closed as KILLED.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipelines.tracking import service

_DONE = "done"


@contextmanager
def guardian() -> Iterator[Callable[[str, str | None], None]]:
    """Yield what to call with a URI and a run id that must not stay RUNNING.

    To be entered before the run is started, so that it is left after the run has been ended.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # what is sent to our group, such as Ctrl-C, is not for it
    )
    pipe = process.stdin
    assert pipe

    def guard(uri: str, run_id: str | None) -> None:
        if run_id:  # by the pipe, not as arguments that all can see: a URI may hold a password
            pipe.write(f"{uri}\n{run_id}\n")
            pipe.flush()

    try:
        yield guard
    finally:
        try:
            process.communicate(_DONE, timeout=10)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()


def main() -> None:
    """Wait for the word or for the silence."""
    lines = sys.stdin.read().splitlines()
    if len(lines) != 2:  # no run to guard, or the last word was said
        return
    uri, run_id = lines
    service.import_mlflow()
    for each in [*service.running_children(uri, run_id), run_id]:
        run = service.find_run(uri, each)
        run.send_tags({"adassl.reason": "the process that drove it was killed"})
        run.end("KILLED")


if __name__ == "__main__":
    main()
