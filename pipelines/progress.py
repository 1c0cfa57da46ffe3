"""The bar of what takes long: how far it is, in words too, and the time left."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


def progress_bar(what: str, console: Console | None) -> Progress:
    """A bar whose tasks need a `text`, such as "3 of 7 files, 20 frames/s".

    Args:
        what: is done, such as "indexing".
        console: where it is shown; None: nowhere.
    """
    return Progress(
        TextColumn(what),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(),
        console=console,
        disable=console is None,
    )


def count(progress: Progress, unit: str, number: int) -> None:
    """So many more are done of the only task: "20 of 70 videos, 3 videos/s"."""
    task = progress.tasks[0]
    done = task.completed + number
    rate = done / max(task.elapsed or 0.0, 1e-3)
    text = f"{done:,.0f} of {task.total or 0:,.0f} {unit}, {rate:,.0f} {unit}/s"
    progress.update(task.id, completed=done, text=text)
