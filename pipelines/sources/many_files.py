"""Writing many small files by several processes, with progress: what the generators share."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

import joblib
from rich.console import Console

from pipelines.progress import count, progress_bar

Task = TypeVar("Task")


def write_files(
    tasks: Sequence[Task],
    write: Callable[[Sequence[Task]], int],
    *,
    tasks_at_once: int,
    what: str,
    unit: str,
    num_workers: int | None,
    console: Console | None,
) -> None:
    """Carry out tasks, some at a time in each process.

    Args:
        tasks: what `write` takes, one a file.
        write: a function of a module; returns how many files it wrote.
        tasks_at_once: of one call of `write`.
        what: the title of the bar.
        unit: files, in the plural.
        num_workers: processes; None: one for each core; 1: this one.
        console: where to show progress; None: nowhere.
    """
    chunks = [tasks[at : at + tasks_at_once] for at in range(0, len(tasks), tasks_at_once)]
    with (
        progress_bar(what, console) as progress,
        _mapped(write, chunks, num_workers or joblib.cpu_count()) as written,
    ):
        progress.add_task("", total=len(tasks), text="starting")
        for num_files in written:
            count(progress, unit, num_files)


@contextmanager
def _mapped(
    write: Callable[[Sequence[Task]], int], chunks: list[Sequence[Task]], num_workers: int
) -> Iterator[Iterator[int]]:
    if num_workers == 1 or len(chunks) < 2:
        yield map(write, chunks)
        return
    # spawn: a fork of a process with threads (the progress bar's) may hang on their locks.
    pool = ProcessPoolExecutor(min(num_workers, len(chunks)), mp_context=get_context("spawn"))
    try:
        yield pool.map(write, chunks)
    finally:
        pool.shutdown(cancel_futures=True)
