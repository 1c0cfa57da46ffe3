"""How a training goes, on the driver's screen: a live bar on a terminal, plain lines elsewhere."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

import ray
from ray.train import UserCallback
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from pipelines.numbers import duration, number

_SHOWN = ("train/loss", "train/ssl", "train/kl", "train/l0", "train/beta", "val/loss")
_CLOSING_SECONDS = 5.0


def progress_line(
    step: int, total: int, metrics: Mapping[str, float], *, seconds_left: float | None
) -> str:
    """One line: step, loss and its terms, pairs per second, waiting for data, time left."""
    parts = [f"step {step}/{total}", _terms(metrics), f"left {duration(seconds_left)}"]
    return "  ".join(parts)


def _terms(metrics: Mapping[str, float]) -> str:
    terms = [
        f"{name.removeprefix('train/')} {number(metrics[name], '.4g')}"
        for name in _SHOWN
        if name in metrics
    ]
    terms.append(f"{number(metrics.get('time/pairs_per_second'), '.0f')} pairs/s")
    terms.append(f"waiting for data {number(metrics.get('time/data_wait_share'), '.0%')}")
    return "  ".join(terms)


class ProgressDisplay:
    """Shows each report of one training; a context manager, for the bar to end with it."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        """`total` steps; unset, the console is standard output."""
        self._total, self._console = total, console or Console()
        self._is_warm = False
        self._bar = Progress(
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("left {task.fields[left]}"),
            console=self._console,
        )
        self._task = self._bar.add_task("", total=total, left=duration(None))
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            # What others print meanwhile appears above the bar.
            self._live = Live(self._bar, console=self._console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, step: int, metrics: Mapping[str, float]) -> None:
        """The metrics of a logged step."""
        # The first steps' time is that of starting the decoders.
        seconds = metrics.get("time/step_seconds", 0.0)
        left = (self._total - step) * seconds if self._is_warm else None
        self._is_warm = True
        if self._live:
            self._bar.update(self._task, completed=step, left=duration(left))
            self._live.update(Group(Text(_terms(metrics), overflow="fold"), self._bar))
            return
        line = progress_line(step, self._total, metrics, seconds_left=left)
        print(line, file=self._console.file, flush=True)


class SendReports(UserCallback):
    """Sends the first worker's reports from Ray Train's controller to the driver's queue."""

    def __init__(self, queue: Queue) -> None:
        """The queue that the driver reads."""
        self._queue = queue

    def after_report(self, run_context: Any, metrics: Sequence[Any], checkpoint: Any) -> None:
        """A report; a step with a checkpoint has two, of which the first is enough."""
        if not metrics[0]["is_validation"]:
            with suppress(Exception):  # what is not shown does no harm
                self._queue.put(metrics[0])


@contextmanager
def shown(total: int) -> Iterator[UserCallback]:
    """Show the reports of a training of `total` steps that has the callback."""
    # On the driver's own node, which has to live anyway: lost with another, nothing more was shown.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
    with ProgressDisplay(total) as display:
        thread = threading.Thread(target=_show_all, args=(queue, display), daemon=True)
        thread.start()
        try:
            yield SendReports(queue)
        finally:
            with suppress(Exception):  # Ray may be gone
                queue.put(None, timeout=_CLOSING_SECONDS)
                thread.join(_CLOSING_SECONDS)
                queue.shutdown(force=True)


def _show_all(queue: Queue, display: ProgressDisplay) -> None:
    with suppress(Exception):
        while (report := queue.get()) is not None:
            display.show(int(report["step"]), report)
