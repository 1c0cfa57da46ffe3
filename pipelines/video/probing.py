"""Probes of many files in processes of this machine that can be killed."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from pipelines.video.killable import Done, Lost, Moved, Tick, run_killable
from pipelines.video.probe import Check, Probe, Unusable, probe_video
from pipelines.video.sampled import probe_sampled


@dataclass(frozen=True, kw_only=True)
class FileToProbe:
    """A file, and how it is to be checked."""

    path: str
    check: Check
    try_decord: bool = True


@dataclass(frozen=True, kw_only=True)
class Probed:
    """What is known of a file in the end."""

    path: str
    found: Probe | Unusable


def probe_file(file: FileToProbe, tick: Tick) -> Probe | Unusable:
    """Check one file in the way that is asked for."""
    probe = probe_sampled if file.check == "sample" else probe_video
    return probe(file.path, tick, try_decord=file.try_decord)


def probe_here(
    files: Sequence[FileToProbe], *, num_workers: int, timeout_seconds: float
) -> Generator[Moved[FileToProbe] | Probed, None, None]:
    """Probe files in processes, and yield how each goes on and ends.

    Files on which decord hangs or crashes are probed again without it, at the end.

    Args:
        files: in this order.
        num_workers: processes at once.
        timeout_seconds: silence after which a probe is killed.
    """
    again: list[FileToProbe] = []
    for some in (files, again):
        events = run_killable(
            probe_file, some, num_workers=num_workers, timeout_seconds=timeout_seconds
        )
        with closing(events):
            for event in events:
                if isinstance(event, Moved):
                    yield event
                elif isinstance(event, Done):
                    yield Probed(path=event.item.path, found=event.result)
                elif _may_be_decord(event):
                    again.append(replace(event.item, try_decord=False))
                else:
                    yield Probed(path=event.item.path, found=Unusable(reason=event.reason))


def _may_be_decord(lost: Lost[FileToProbe]) -> bool:
    return lost.ended and lost.item.try_decord
