"""`adassl data index`: walk, probe in parallel, write the index.

Later runs probe only files that are new or changed (size or time of change), and those whose probe
timed out or crashed, which may have been the machine's fault.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import joblib
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from pipelines.errors import UserError
from pipelines.storage.folder import Folder, parent_and_name
from pipelines.video.given import Given, LabelSources, read_given, splits_of
from pipelines.video.index import SCHEMA, VideoIndex, load_index
from pipelines.video.killable import Done, Lost, Moved, run_killable
from pipelines.video.probe import Probe, probe_video, probe_without_decord
from pipelines.video.splits import NoVideosError, VideoFile, find_videos

RETRIED = "probe "
"""How the reasons begin that say nothing about the file."""

MOST_SECONDS = 86_400

Row = dict[str, Any]


class IndexSettingError(UserError, ValueError):
    """A number that the indexer cannot work with."""


@dataclass(frozen=True, kw_only=True)
class IndexSummary:
    """What a run of the indexer found and did."""

    index: VideoIndex
    num_probed: int
    num_reused: int
    num_dropped: int
    """Rows of the earlier index whose file is gone or not asked for any more."""

    @property
    def num_files(self) -> int:
        """Rows."""
        return len(self.index)

    @property
    def num_usable(self) -> int:
        """Videos that can be trained on."""
        return len(self.index.select())

    @property
    def skip(self) -> list[tuple[str, str]]:
        """Path and reason of each file that cannot be used."""
        skipped = self.index.select(usable=False)
        return list(zip(skipped.path, skipped.column("reason"), strict=True))

    def lines(self) -> list[str]:
        """The report: each file skipped with its reason, then a line about all."""
        done = f"{self.num_probed} probed, {self.num_reused} unchanged, {self.num_dropped} dropped"
        skipped = [f"skipped {path}: {reason}" for path, reason in self.skip]
        return [*skipped, *self._labels(), f"{self.index.describe()} · {done}"]

    def _labels(self) -> list[str]:
        """Where labels were found."""
        usable = self.index.select()
        tables = Counter(table for each in usable.factors for table in each)
        lines = [f"labels of {count} videos: {table}" for table, count in tables.items()]
        classes = usable.labels()
        if classes:
            count = sum(classes.values())
            lines.append(f"labels of {count} videos: {len(classes)} classes of folders or lists")
        groups = {group for group in usable.table["group"].to_pylist() if group}
        return [*lines, f"{len(groups)} groups, each in one split"] if groups else lines


def build_index(
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    val_share: float = 0.1,
    test_share: float = 0.1,
    timeout_seconds: float = 30.0,
    num_workers: int | None = None,
    labels: LabelSources | None = None,
    console: Console | None = None,
) -> IndexSummary:
    """Probe the videos under some folders and write the index; Ctrl-C keeps what was probed.

    Args:
        paths: folders, walked to their depth, and files; or URIs of them.
        out: path or URI of the Parquet file; one of an earlier run is reused row by row.
        val_share: share of the videos for validation, where nothing tells their split.
        test_share: likewise for the test.
        timeout_seconds: time without a sign of life after which a probe is killed.
        num_workers: processes; by default one for each core.
        labels: where labels and splits are, beside the tables, lists and folders that are found.
        console: where to show progress; None: nowhere.

    Raises:
        IndexSettingError: for shares or a time limit that cannot be.
        NoVideosError: if a path is missing or unreadable, or nothing in them is a usable video.
        FactorsError: if a table of labels among the videos makes no sense.
        SplitListError: likewise for a split list.
        StorageError: if the index cannot be written.
    """
    if not (val_share >= 0 and test_share >= 0 and val_share + test_share < 1):
        raise IndexSettingError(
            f"val_share={val_share:g}, test_share={test_share:g}: neither may be negative, and "
            "together they must leave something to train on; 0.1 and 0.1 are usual"
        )
    if not 0 < timeout_seconds <= MOST_SECONDS:
        raise IndexSettingError(
            f"timeout_seconds={timeout_seconds:g}: a probe needs some time, and at most a day "
            f"({MOST_SECONDS}); 30 is usual"
        )
    files, unusable = find_videos(paths)
    given = read_given(files, labels or LabelSources())
    folder, name = parent_and_name(out)
    earlier = _earlier_rows(out) if folder.exists(name) else {}
    stamps = {file.path: _stamp(file) for file in files}
    rows = {path: earlier[path] for path in stamps if _still_true(earlier.get(path), stamps[path])}
    num_reused = len(rows)
    todo = {path: stamp for path, stamp in stamps.items() if path not in rows}
    try:
        _probe_all(todo, rows, timeout_seconds, num_workers or joblib.cpu_count(), console)
    finally:  # Ctrl-C too
        for path, reason in unusable.items():
            nothing = {"path": path, "size_bytes": 0, "mtime_ns": 0}
            rows[path] = dict.fromkeys(SCHEMA.names) | nothing | {"usable": False, "reason": reason}
        _label(rows, given, val_share=val_share, test_share=test_share)
        index = _write(rows, folder, name)
    if not len(index.select()):
        raise NoVideosError(f"no usable video in {', '.join(map(str, paths))}: {index.describe()}")
    return IndexSummary(
        index=index,
        num_probed=len(todo),
        num_reused=num_reused,
        num_dropped=len(earlier.keys() - rows.keys()),
    )


def _probe_all(
    stamps: Mapping[str, Row],
    rows: dict[str, Row],
    timeout_seconds: float,
    num_workers: int,
    console: Console | None,
) -> None:
    """Add a row for each file as its probe ends, and show how it goes."""
    if not stamps:
        return
    bar = _ProbeBar(stamps, console)
    with bar.progress:
        again: list[str] = []
        for probe, paths in ((probe_video, list(stamps)), (probe_without_decord, again)):
            events = run_killable(
                probe, paths, num_workers=num_workers, timeout_seconds=timeout_seconds
            )
            with closing(events):
                for event in events:
                    if isinstance(event, Moved):
                        bar.moved(event.item, event.share_done)
                    elif isinstance(event, Lost) and event.ended and probe is probe_video:
                        again.append(event.item)  # decord may hang or crash where PyAV does not
                    else:
                        rows[event.item] = _row(event, stamps[event.item])
                        bar.ended(rows[event.item])


def _row(event: Done[str, Any] | Lost[str], stamp: Row) -> Row:
    found = event.result if isinstance(event, Done) else event
    row = dict.fromkeys(SCHEMA.names) | {"path": event.item} | stamp
    if isinstance(found, Probe):
        return row | asdict(found) | {"usable": True}
    return row | {"usable": False, "reason": found.reason}


class _ProbeBar:
    """Progress by bytes, since films and clips may lie side by side."""

    def __init__(self, stamps: Mapping[str, Row], console: Console | None) -> None:
        columns = (
            TextColumn("indexing"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=console, disable=console is None)
        self.sizes = {path: max(1, stamp["size_bytes"]) for path, stamp in stamps.items()}
        self.task = self.progress.add_task("", total=sum(self.sizes.values()), text="")
        self.under_way: dict[str, float] = {}
        self.bytes_ended = self.num_ended = self.num_frames = self.num_skipped = 0

    def moved(self, path: str, share_done: float) -> None:
        self.under_way[path] = share_done * self.sizes[path]
        self._show()

    def ended(self, row: Row) -> None:
        self.under_way.pop(row["path"], None)
        self.bytes_ended += self.sizes[row["path"]]
        self.num_ended += 1
        self.num_frames += row["num_frames"] or 0
        self.num_skipped += not row["usable"]
        self._show()

    def _show(self) -> None:
        seconds = self.progress.tasks[0].elapsed or 0.0
        rate = f", {self.num_frames / seconds:,.0f} frames/s" if seconds else ""
        text = f"{self.num_ended} of {len(self.sizes)} files, {self.num_skipped} skipped{rate}"
        done = self.bytes_ended + sum(self.under_way.values())
        self.progress.update(self.task, completed=done, text=text)


def _earlier_rows(out: str | Path) -> dict[str, Row]:
    earlier = load_index(out)
    rows = {row["path"]: row for row in earlier.table.to_pylist()}
    return (
        rows if earlier.is_current else {path: row | {"mtime_ns": -1} for path, row in rows.items()}
    )


def _stamp(file: VideoFile) -> Row:
    if file.stamp is not None:
        return asdict(file.stamp)
    try:
        status = os.stat(file.path)
    except OSError:  # a dangling link: its probe will say so
        return {"size_bytes": 0, "mtime_ns": 0}
    return {"size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _still_true(row: Row | None, stamp: Row) -> bool:
    if row is None or (row["reason"] or "").startswith(RETRIED):
        return False
    return all(row[name] == value for name, value in stamp.items())


def _label(
    rows: Mapping[str, Row], given: Mapping[str, Given], *, val_share: float, test_share: float
) -> None:
    """Write down splits and labels, of usable videos alone."""
    digests = {path: row["digest"] for path, row in rows.items() if row["usable"]}
    splits = splits_of(given, digests, val_share=val_share, test_share=test_share)
    for path, row in rows.items():
        known = given.get(path, Given()) if row["usable"] else Given()
        row |= {"split": splits.get(path), "factors": list(known.tables)}
        row |= {"label": known.label, "group": known.group}


def _write(rows: Mapping[str, Row], folder: Folder, name: str) -> VideoIndex:
    table = pa.Table.from_pylist([rows[path] for path in sorted(rows)], schema=SCHEMA)
    with folder.writing(name) as path:
        pq.write_table(table, path)
    return VideoIndex(table=table)
