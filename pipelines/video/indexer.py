"""`adassl data index`: walk, probe in parallel, write the index.

Later runs probe only files that are new or changed (size or time of change), and those whose probe
timed out or crashed, which may have been the machine's fault. What is found is kept in parts until
the index is written, so that a run that is killed goes on.
"""

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import joblib
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from pipelines.config.run import ClusterConfig
from pipelines.errors import UserError
from pipelines.progress import progress_bar
from pipelines.storage.folder import parent_and_name
from pipelines.storage.objects import stamp_of
from pipelines.video.given import Given, LabelSources, read_given, splits_of
from pipelines.video.index import SCHEMA, VideoIndex, load_index
from pipelines.video.killable import Moved
from pipelines.video.parts import Parts, table_of
from pipelines.video.probe import Check, Probe
from pipelines.video.probing import FileToProbe, Probed, probe_here
from pipelines.video.splits import NoVideosError, VideoFile, find_videos

RETRIED = "probe "
"""How the reasons begin that say nothing about the file."""

MOST_SECONDS = 86_400
SAMPLE_FROM_MIB = 64
"""Files above this are checked by a sample where nothing else is asked for."""

AskedCheck = Literal["auto", "full", "sample"]
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
        tables = Counter(table for each in usable.factors for table in dict.fromkeys(each))
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
    check: AskedCheck = "auto",
    cluster: ClusterConfig | None = None,
    console: Console | None = None,
) -> IndexSummary:
    """Probe the videos under some folders and write the index; Ctrl-C keeps what was probed.

    Args:
        paths: folders, walked to their depth, and files; or URIs of them.
        out: path or URI of the Parquet file; one of an earlier run is reused row by row.
        val_share: share of the videos for validation, where nothing tells their split.
        test_share: likewise for the test.
        timeout_seconds: time without a sign of life after which a probe is killed.
        num_workers: processes on this machine; by default one for each core.
        labels: where labels and splits are, beside the tables, lists and folders that are found.
        check: full: every frame of each file is decoded; sample: some, where that is sure to
            find the same; auto: a sample of files above `SAMPLE_FROM_MIB`. Rows that a sample gave
            are found anew where full is asked for.
        cluster: a Ray cluster whose nodes probe, each under the same paths; None: this machine.
        console: where to show progress; None: nowhere.

    Raises:
        ConfigError: if there is no such cluster.
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
    parts = Parts(folder, name)
    known = _known(out if folder.exists(name) else None, parts.tables)
    num_kept = len(parts.tables)
    stamps = {file.path: _stamp(file) for file in files}
    kept = _still_true(known, stamps, check)
    todo = {path: stamp for path, stamp in stamps.items() if path not in kept}
    probes = _probes(todo, check, timeout_seconds, num_workers, cluster)
    stopped: KeyboardInterrupt | None = None
    try:
        _probe_all(todo, parts, probes, console)
    except KeyboardInterrupt as error:
        stopped = error
    finally:
        parts.keep()
    skipped = [
        {"path": path, "size_bytes": 0, "mtime_ns": 0, "usable": False, "reason": reason}
        for path, reason in unusable.items()
    ]
    rows = [known.take(pa.array(list(kept.values()), pa.int64())), *parts.tables[num_kept:]]
    table = pa.concat_tables([*rows, table_of(skipped)]).sort_by("path")
    index = VideoIndex(table=_labelled(table, given, val_share=val_share, test_share=test_share))
    with folder.writing(name) as place:
        pq.write_table(index.table, place)
    parts.remove()
    if stopped:
        raise stopped
    if not len(index.select()):
        raise NoVideosError(f"no usable video in {', '.join(map(str, paths))}: {index.describe()}")
    return IndexSummary(
        index=index,
        num_probed=len(todo),
        num_reused=len(kept),
        num_dropped=len(set(known["path"].to_pylist()) - set(index.path)),
    )


def _probes(
    stamps: Mapping[str, Row],
    check: AskedCheck,
    timeout_seconds: float,
    num_workers: int | None,
    cluster: ClusterConfig | None,
) -> Generator[Moved[FileToProbe] | Probed, None, None]:
    """Probe files here or on a cluster."""
    files = [
        FileToProbe(path=path, check=_check_of(stamp["size_bytes"], check))
        for path, stamp in stamps.items()
    ]
    if cluster is None or not files:
        num_workers = num_workers or joblib.cpu_count()
        return probe_here(files, num_workers=num_workers, timeout_seconds=timeout_seconds)
    from pipelines.video.probing_on_ray import probe_on_cluster  # heavy: it imports Ray

    sizes = (stamp["size_bytes"] for stamp in stamps.values())
    sized = list(zip(files, sizes, strict=True))
    return probe_on_cluster(sized, cluster, timeout_seconds=timeout_seconds)


def _check_of(size_bytes: int, asked: AskedCheck) -> Check:
    if asked == "auto":
        return "sample" if size_bytes > SAMPLE_FROM_MIB << 20 else "full"
    return asked


def _probe_all(
    stamps: Mapping[str, Row],
    parts: Parts,
    events: Generator[Moved[FileToProbe] | Probed, None, None],
    console: Console | None,
) -> None:
    """Keep a row of each file as its probe ends, and show how it goes."""
    if not stamps:
        return
    bar = _ProbeBar(stamps, console)
    with bar.progress, closing(events):
        for event in events:
            if isinstance(event, Moved):
                bar.moved(event.item.path, event.share_done)
            else:
                row = _row(event, stamps[event.path])
                parts.add(row)
                bar.ended(row)
            parts.keep_sometimes()


def _row(probed: Probed, stamp: Row) -> Row:
    row = {"path": probed.path} | stamp
    return row | asdict(probed.found) | {"usable": isinstance(probed.found, Probe)}


class _ProbeBar:
    """Progress by bytes, since films and clips may lie side by side."""

    def __init__(self, stamps: Mapping[str, Row], console: Console | None) -> None:
        self.progress = progress_bar("indexing", console)
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
        self.num_frames += row.get("num_frames", 0)
        self.num_skipped += not row["usable"]
        self._show()

    def _show(self) -> None:
        seconds = self.progress.tasks[0].elapsed or 0.0
        rate = f", {self.num_frames / seconds:,.0f} frames/s" if seconds else ""
        text = f"{self.num_ended} of {len(self.sizes)} files, {self.num_skipped} skipped{rate}"
        done = self.bytes_ended + sum(self.under_way.values())
        self.progress.update(self.task, completed=done, text=text)


def _known(earlier: str | Path | None, parts: Sequence[pa.Table]) -> pa.Table:
    """Rows of the index that is to be replaced, and of a run that was killed; the last counts."""
    tables = list(parts)
    if earlier is not None and (index := load_index(earlier)).is_current:
        tables.insert(0, index.table.replace_schema_metadata(SCHEMA.metadata))
    table = pa.concat_tables([SCHEMA.empty_table(), *tables])
    last = {path: row for row, path in enumerate(table["path"].to_pylist())}
    return table.take(pa.array(list(last.values()), pa.int64()))


def _stamp(file: VideoFile) -> Row:
    try:
        return asdict(file.stamp or stamp_of(file.path))
    except OSError:  # a dangling link: its probe will say so
        return {"size_bytes": 0, "mtime_ns": 0}


def _still_true(known: pa.Table, stamps: Mapping[str, Row], check: AskedCheck) -> dict[str, int]:
    """The rows that need not be found anew, by path."""
    columns = ("path", "size_bytes", "mtime_ns", "reason", "check")
    kept = {}
    for row, values in enumerate(zip(*(known[c].to_pylist() for c in columns), strict=True)):
        path, size_bytes, mtime_ns, reason, checked = values
        if (
            stamps.get(path) == {"size_bytes": size_bytes, "mtime_ns": mtime_ns}
            and not (reason or "").startswith(RETRIED)
            and not (check == "full" and checked == "sample")
        ):
            kept[path] = row
    return kept


def _labelled(
    table: pa.Table, given: Mapping[str, Given], *, val_share: float, test_share: float
) -> pa.Table:
    """Write down splits and labels, of usable videos alone."""
    columns = (table[name].to_pylist() for name in ("path", "digest", "usable"))
    digests = {path: digest for path, digest, usable in zip(*columns, strict=True) if usable}
    splits = splits_of(given, digests, val_share=val_share, test_share=test_share)
    nothing = Given()
    paths = table["path"].to_pylist()
    known = [given.get(path, nothing) if path in digests else nothing for path in paths]
    new = {
        "split": [splits.get(path) for path in paths],
        "factors": [list(each.tables) for each in known],
        "label": [each.label for each in known],
        "group": [each.group for each in known],
    }
    for name, values in new.items():
        at, field = SCHEMA.get_field_index(name), SCHEMA.field(name)
        table = table.set_column(at, field, pa.array(values, field.type))
    return table.combine_chunks()
