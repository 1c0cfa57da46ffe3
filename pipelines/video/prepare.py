"""`adassl data prepare`: a library re-encoded once for training, on one machine or a Ray cluster.

Each task copies a few videos, one after another, in a process that can be killed: a decoder can
hang while it holds the GIL. A copy and its record are written as soon as it is made, so that a run
that was killed, or a task whose node was lost, makes none of them again.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.exceptions import RayError
from rich.console import Console

from pipelines.cluster import connected
from pipelines.config.run import ClusterConfig
from pipelines.numbers import plural
from pipelines.progress import progress_bar
from pipelines.storage.folder import Folder, StorageError
from pipelines.storage.lease import only_one
from pipelines.storage.objects import Stamp
from pipelines.video.copies import (
    INDEX,
    CopyJob,
    Made,
    NotCopied,
    NotWritten,
    PrepareError,
    Row,
    copy_row,
    failed_row,
    is_copy_of,
    keep_together,
    make_copy,
    names_of,
    records,
    register,
)
from pipelines.video.estimate import Estimate, estimated, expectation, refuse_full, size, work_of
from pipelines.video.index import SCHEMA, VideoIndex, load_index
from pipelines.video.killable import Done, Lost, Moved, run_killable
from pipelines.video.transcode import CopySettings, Source

TASK_SECONDS = (20.0, 120.0)
"""Work of a task: so much that its processes are worth starting, and so little that progress shows
and that the last ones end together. A longer video is a task of its own."""
TASKS_A_CPU = 8
"""Tasks for each CPU, if the videos are enough."""
RETRIES = 8
"""Times that a task is given to another node after its own was lost."""


@dataclass(frozen=True, kw_only=True)
class PrepareSummary:
    """What a run of `prepare` found and did."""

    index: VideoIndex
    made: list[Made]
    num_copied: int
    """Copies made by this run."""
    original_bytes: int
    """Of the originals of all copies."""

    def lines(self) -> list[str]:
        """The report: each video skipped with its reason, then what there is."""
        skipped = self.index.select(usable=False)
        reasons = zip(skipped.path, skipped.column("reason"), strict=True)
        usable = self.index.select()
        num_bytes = int(usable.column("size_bytes").sum())
        worst = min(self.made, key=lambda made: made.least_psnr)
        psnr = np.average(
            [made.mean_psnr for made in self.made],
            weights=[made.row["num_frames"] for made in self.made],
        )
        return [
            *(f"skipped {path}: {reason}" for path, reason in reasons),
            f"PSNR of luma {psnr:.1f} dB on average, at least {worst.least_psnr:.1f} dB "
            f"({worst.original})",
            f"{plural(len(usable), 'prepared video')}, {self.num_copied} of them new, "
            f"{len(skipped)} skipped · "
            f"{usable.num_frames.sum():,} frames, {size(num_bytes)}, where the originals have "
            f"{size(self.original_bytes)}",
        ]


def prepare(
    index: str | Path,
    out: str | Path,
    settings: CopySettings,
    *,
    timeout_seconds: float = 60.0,
    address: str | None = None,
    console: Console | None = None,
) -> PrepareSummary:
    """Copy the usable videos of an index and write OUT/videos.parquet; again, it goes on.

    Args:
        index: path or URI of the index of the originals.
        out: folder of the copies, a path or URI that every node can write.
        settings: of the encoder.
        timeout_seconds: time without a new frame after which a copy is given up.
        address: of a Ray cluster; None: RAY_ADDRESS, else a Ray of our own on this machine.
        console: where to show what is expected and how it goes; None: nowhere.

    Raises:
        PrepareError: if OUT holds copies with other settings, or has no room for these, or if no
            video could be copied.
        ConfigError: if another command writes to OUT, or the cluster does not let us in.
        IndexFileError: if the index cannot be read.
        StorageError: if OUT cannot be written, full disks included.
    """
    rows = load_index(index)
    originals = rows.select()
    folder = Folder(out)
    with only_one(folder):
        register(folder, settings)
        known = records(folder)
        made = {
            path: known[path]
            for path, digest in zip(originals.path, originals.column("digest"), strict=True)
            if path in known and is_copy_of(folder, known[path], digest)
        }
        names = names_of(list(originals.path), {path: known[path].name for path in known})
        jobs = [
            job_of(originals, row, name=names[path], out=folder, settings=settings)
            for row, path in enumerate(originals.path)
            if path not in made
        ]
        failed: dict[str, str] = {}
        try:
            if jobs:
                _copy_all(jobs, made, failed, folder, timeout_seconds, address, console)
        finally:  # Ctrl-C and a full disk too
            keep_together(folder)
        if not made:
            kinds = Counter(failed.values()).most_common(1)
            why = kinds[0][0] if kinds else "it has no usable video"
            raise PrepareError(f"no video of {index} could be copied: {why}")
        return _finish(originals, made, failed, folder, num_copied=len(jobs) - len(failed))


def _finish(
    originals: VideoIndex,
    made: Mapping[str, Made],
    failed: Mapping[str, str],
    out: Folder,
    *,
    num_copied: int,
) -> PrepareSummary:
    """Write the index of the copies."""
    rows: list[Row] = []
    original_bytes = 0
    for original in originals.table.to_pylist():
        path = original["path"]
        if path in made:
            rows.append(copy_row(out, made[path], original))
            original_bytes += original["size_bytes"]
        else:
            rows.append(failed_row(original, failed[path]))
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    with out.writing(INDEX) as file:
        pq.write_table(table, file)
    return PrepareSummary(
        index=VideoIndex(table=table),
        made=list(made.values()),
        num_copied=num_copied,
        original_bytes=original_bytes,
    )


def job_of(
    originals: VideoIndex, row: int, *, name: str, out: Folder, settings: CopySettings
) -> CopyJob:
    """The job of copying one video of an index."""
    source = Source(
        path=str(originals.path[row]),
        num_frames=int(originals.num_frames[row]),
        fps=float(originals.fps[row]),
        width=int(originals.width[row]),
        height=int(originals.height[row]),
        access=originals.access(row),
    )
    stamp = Stamp(
        size_bytes=int(originals.column("size_bytes")[row]),
        mtime_ns=int(originals.column("mtime_ns")[row]),
    )
    digest = str(originals.column("digest")[row])
    return CopyJob(
        source=source, digest=digest, stamp=stamp, name=name, out=str(out), settings=settings
    )


def _copy_all(
    jobs: Sequence[CopyJob],
    made: dict[str, Made],
    failed: dict[str, str],
    out: Folder,
    timeout_seconds: float,
    address: str | None,
    console: Console | None,
) -> None:
    """Add a record to `made`, or a reason to `failed`, for each job as it ends."""
    estimate = estimated(jobs, timeout_seconds)
    refuse_full(estimate, out)
    with connected(ClusterConfig(address=address)):
        cpus = _num_cpus()
        if console:
            line = expectation(jobs, estimate, cpus, out)
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        bar = _CopyBar(jobs, console)
        with bar.progress:
            for result in _run(_tasks(jobs, estimate, cpus), timeout_seconds):
                for path, end in result.items():
                    if isinstance(end, NotWritten):
                        raise StorageError(end.reason)
                    if isinstance(end, Made):
                        made[path] = end
                    else:
                        failed[path] = f"not copied: {end.reason}"
                    bar.ended(path, is_failed=path in failed)


Ends = dict[str, Made | NotCopied | NotWritten]
"""How the jobs of a task ended, by the original."""


def _run(tasks: Sequence[Sequence[CopyJob]], timeout_seconds: float) -> Iterator[Ends]:
    """Give the tasks to the cluster, some more at a time than it has CPUs."""
    copy_some = ray.remote(num_cpus=1, max_retries=RETRIES)(_copy_some)
    waiting = list(reversed(tasks))
    running: dict[Any, Sequence[CopyJob]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < 2 * _num_cpus() + 1:
                jobs = waiting.pop()
                running[copy_some.remote(jobs, timeout_seconds)] = jobs
            ended, _ = ray.wait(list(running), num_returns=1, timeout=1)
            for task in ended:
                jobs = running.pop(task)
                try:
                    yield ray.get(task)
                except RayError as error:
                    lost = NotCopied(reason=f"its task was lost: {type(error).__name__}")
                    yield {job.source.path: lost for job in jobs}
    finally:
        for task in running:
            ray.cancel(task, force=True)


def _copy_some(jobs: Sequence[CopyJob], timeout_seconds: float) -> Ends:
    """The body of a task."""
    ends: Ends = {}
    events = run_killable(make_copy, jobs, num_workers=1, timeout_seconds=timeout_seconds)
    with closing(events):
        for event in events:
            if isinstance(event, Moved):
                continue
            end = event.result if isinstance(event, Done) else NotCopied(reason=_why(event))
            ends[event.item.source.path] = end
            if isinstance(end, NotWritten):
                break
    return ends


def _why(lost: Lost[Any]) -> str:
    """What ended the process of a copy, in the words for that of a probe."""
    return lost.reason.removeprefix("probe ")


def _tasks(jobs: Sequence[CopyJob], estimate: Estimate | None, cpus: int) -> list[list[CopyJob]]:
    """Jobs in groups of about the same work, the longest first."""
    share = sum(map(work_of, jobs)) / (TASKS_A_CPU * cpus)
    if estimate:
        least, most = (sum(map(work_of, jobs)) * s / estimate.cpu_seconds for s in TASK_SECONDS)
        share = min(max(share, least), most)
    tasks: list[list[CopyJob]] = []
    filled = share
    for job in sorted(jobs, key=work_of, reverse=True):
        if filled + work_of(job) > share:
            tasks.append([])
            filled = 0.0
        tasks[-1].append(job)
        filled += work_of(job)
    return tasks


def _num_cpus() -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


class _CopyBar:
    """Progress by frames of the originals, in pixels of a frame."""

    def __init__(self, jobs: Sequence[CopyJob], console: Console | None) -> None:
        self.progress = progress_bar("preparing", console)
        self.jobs = {job.source.path: job for job in jobs}
        self.task = self.progress.add_task("", total=sum(map(work_of, jobs)), text="")
        self.num_ended = self.num_failed = self.num_frames = 0

    def ended(self, path: str, *, is_failed: bool) -> None:
        job = self.jobs[path]
        self.num_ended += 1
        self.num_failed += is_failed
        self.num_frames += 0 if is_failed else job.source.num_frames
        seconds = self.progress.tasks[0].elapsed or 0.0
        rate = f", {self.num_frames / seconds:,.0f} frames/s" if seconds else ""
        text = f"{self.num_ended} of {len(self.jobs)} videos, {self.num_failed} skipped{rate}"
        self.progress.update(self.task, advance=work_of(job), text=text)
