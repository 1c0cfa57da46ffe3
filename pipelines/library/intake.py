"""What comes from the cluster while `adassl embed` runs: named, counted, written, shown."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from pipelines.library.entries import Entries
from pipelines.library.parts import PartWriter
from pipelines.progress import progress_bar
from pipelines.video.clips import ClipSchedule


class Intake:
    """Takes what comes from the cluster: names each clip, writes it, counts what failed."""

    def __init__(
        self,
        schedule: ClipSchedule | Entries,
        done: Mapping[int, set[int]],
        writer: PartWriter,
        skipped: Mapping[str, str],
    ) -> None:
        """Begin.

        Args:
            schedule: of the clips, or the entries.
            done: of videos of which parts hold some clips, the first frames of those.
            writer: of the parts.
            skipped: what is left out from the first, with the reason.
        """
        self._schedule, self._done, self._writer = schedule, done, writer
        self.skipped = dict(skipped)
        self.num_new = self.num_skipped = 0

    def take(self, tables: Iterator[pa.Table], show: Callable[[int, int], None]) -> None:
        """Take all; what came before an error or Ctrl-C is written too."""
        try:
            for table in tables:
                self._take(table)
                show(self.num_new + self.num_skipped, self.num_skipped)
        finally:
            self._writer.write()

    def _take(self, table: pa.Table) -> None:
        video, start = (table[name].to_numpy() for name in ("video", "start"))
        pairs = zip(video.tolist(), start.tolist(), strict=True)
        is_new = np.array([s not in self._done.get(v, ()) for v, s in pairs], bool)
        failed = pc.is_valid(table["error"]).to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(is_new & failed):
            path = str(self._schedule.index.path[video[row]])
            self.skipped.setdefault(path, table["error"][int(row)].as_py())
            self.num_skipped += 1
        kept = is_new & ~failed
        if kept.any():
            self._writer.add(self._rows(table.filter(pa.array(kept))))
            self.num_new += int(kept.sum())

    def _rows(self, table: pa.Table) -> pa.Table:
        """The clips as they are written."""
        index, length = self._schedule.index, self._schedule.config.frames_per_clip
        video, start = (table[name].to_numpy() for name in ("video", "start"))
        of_video = index.table.select(["path", "digest", "split"]).take(pa.array(video))
        return pa.table(
            {
                "path": of_video["path"],
                "digest": of_video["digest"],
                "split": of_video["split"],
                "start_frame": pa.array(start, pa.int64()),
                "start_seconds": pa.array(start / index.fps[video], pa.float64()),
                "end_seconds": pa.array((start + length) / index.fps[video], pa.float64()),
                **{name: table[name] for name in ("h", "z") if name in table.column_names},
            }
        )


@contextmanager
def progress(
    total: int, console: Console | None, unit: str
) -> Iterator[Callable[[int, int], None]]:
    """A bar; what it yields takes how many clips have ended, and how many of them failed.

    `unit` is what they are, in the plural.
    """
    bar = progress_bar("embedding", console)
    task = bar.add_task("", total=total, text="starting")
    first: list[tuple[float, int]] = []

    def show(ended: int, failed: int) -> None:
        now = time.monotonic()
        first.append((now, ended))
        since, before = first[0]
        rate = f", {(ended - before) / (now - since):,.0f} {unit}/s" if ended > before else ""
        text = f"{ended:,} of {total:,} {unit}, {failed:,} skipped{rate}"
        bar.update(task, completed=ended, text=text)

    with bar:
        yield show
