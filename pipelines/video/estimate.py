"""What the copies of a library will take, from some frames of a few of its videos."""

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipelines.numbers import duration, plural
from pipelines.storage.folder import Folder
from pipelines.video.copies import CopyJob, PrepareError, checked_copy
from pipelines.video.killable import Done, Tick, run_killable
from pipelines.video.transcode import copy_size

SAMPLES, SAMPLE_FRAMES = 3, 64
"""Videos of which a window is copied for the estimate, and its frames."""
ROOM = 1.1
"""Free space that is asked for, as a multiple of the size expected."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What the copies still to be made will take."""

    num_bytes: float
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What the copy of a window took, and how large the window is."""

    seconds: float
    num_bytes: int
    read: int
    """Pixels of the original."""
    copied: int
    """Pixels of the copy."""


def estimated(jobs: Sequence[CopyJob], timeout_seconds: float) -> Estimate | None:
    """What all jobs will take, from windows of some of them; None if none can be copied."""
    by_work = sorted(jobs, key=work_of)
    chosen = np.linspace(0, len(jobs) - 1, SAMPLES + 2)[1:-1].round().astype(int)
    sampled = [by_work[n] for n in sorted(set(chosen.tolist()))]
    events = run_killable(
        copy_sample,
        sampled,
        num_workers=min(len(sampled), os.cpu_count() or 1),
        timeout_seconds=timeout_seconds,
    )
    with closing(events):
        found = [event.result for event in events if isinstance(event, Done)]
    if not found:
        return None
    bytes_a_pixel = sum(each.num_bytes for each in found) / sum(each.copied for each in found)
    seconds_a_pixel = sum(each.seconds for each in found) / sum(each.read for each in found)
    return Estimate(
        num_bytes=bytes_a_pixel * sum(map(_copied, jobs)),
        cpu_seconds=seconds_a_pixel * sum(map(work_of, jobs)),
    )


def copy_sample(job: CopyJob, tick: Tick) -> Sample:
    """Copy some frames from the middle of a video."""
    middle = job.source.num_frames // 2
    first = job.source.access.entry(middle)
    num_frames = min(SAMPLE_FRAMES, job.source.num_frames - first)
    job = replace(job, source=replace(job.source, first=first, num_frames=num_frames))
    with TemporaryDirectory(prefix="adassl-") as folder:
        path = Path(folder) / "sample.mp4"
        began = time.perf_counter()
        checked_copy(job, path, tick, try_decord=True)
        return Sample(
            seconds=time.perf_counter() - began,
            num_bytes=path.stat().st_size,
            read=work_of(job),
            copied=_copied(job),
        )


def work_of(job: CopyJob) -> int:
    """Pixels to be read."""
    return job.source.num_frames * job.source.width * job.source.height


def _copied(job: CopyJob) -> int:
    """Pixels to be written."""
    width, height = copy_size(job.source.width, job.source.height, job.settings.short_side)
    return job.source.num_frames * width * height


def _free_bytes(out: Folder) -> int | None:
    """Free space where the folder is; None where nobody says."""
    return shutil.disk_usage(out.local).free if out.local else None


def refuse_full(estimate: Estimate | None, out: Folder) -> None:
    """Refuse a disk that has no room for what is expected.

    Raises:
        PrepareError: saying how much it takes, and how much is free.
    """
    free = _free_bytes(out)
    if estimate and free is not None and estimate.num_bytes * ROOM > free:
        raise PrepareError(
            f"the copies will take about {size(estimate.num_bytes)}, and {out} has {size(free)} "
            "free: choose another disk or bucket, or a smaller --short-side"
        )


def expectation(jobs: Sequence[CopyJob], estimate: Estimate | None, cpus: int, out: Folder) -> str:
    """The line that is shown before the work begins."""
    frames = sum(job.source.num_frames for job in jobs)
    what = f"{plural(len(jobs), 'video')} to copy, {frames:,} frames"
    if estimate is None:
        return f"{what}; no estimate, for none of the videos tried could be copied"
    free = _free_bytes(out)
    room = f"; {size(free)} are free" if free is not None else ""
    return (
        f"{what}: about {size(estimate.num_bytes)}, {duration(estimate.cpu_seconds / cpus)} on "
        f"{plural(cpus, 'CPU')}{room}"
    )


def size(num_bytes: float) -> str:
    """Bytes in words."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.3g} TB"
