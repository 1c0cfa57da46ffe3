"""`adassl embed`: every clip of a library at a stride, through a run's encoder, into Parquet.

    window numbers      of the clips that no part holds yet
    decoding actors     read each window in order and keep the frames that clips hold, uint8
    encoding actors     one for each GPU; without GPUs each decoder encodes what it decoded
    this process        names the clips and writes them, a part at a time

Only rows of embeddings come to this process, some MB a second for a large cluster, so that it alone
writes: a part is whole or not there, and no retried task writes a clip twice.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.data import ActorPoolStrategy, Dataset
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from adassl.encoder import Encoder
from pipelines.cluster import connected, joins
from pipelines.config.run import ClusterConfig, ConfigError
from pipelines.evaluation.evaluate import restored
from pipelines.library.actors import ClipDecoder, DecodingEncoder, Precision, WindowEncoder
from pipelines.library.encode import What, encoder_of, weights_digest
from pipelines.library.parts import SKIPPED, Known, Manifest, PartWriter, adopt, register
from pipelines.numbers import plural
from pipelines.storage.folder import Folder, absolute
from pipelines.storage.lease import only_one
from pipelines.storage.runs import RunFolder
from pipelines.training.learner import Learner
from pipelines.video.clips import ClipSchedule
from pipelines.video.index import VideoIndex
from pipelines.video.moved import find_indexed
from pipelines.video.schedule import Window
from pipelines.video.stream import (
    BLOCKS_PER_SEGMENT,
    BYTES_PER_BLOCK,
    STORE_BYTES,
    decoder_pool,
    pin_data_actors_here,
    run_blocks,
)
from pipelines.video.tiles import Integers

MOST_MISSING = 0.5
"""Share of the videos that may not be where the index has them; else the library was moved."""
SHOWN = 10
"""Skipped videos that are named on the terminal."""


@dataclass(frozen=True, kw_only=True)
class EmbedSummary:
    """What a run of `embed` found and did.

    Attributes:
        folder: of the embeddings.
        num_clips: in the library now, embedded by this run or before.
        num_new: embedded by this run.
        num_others: of videos that the index lacks, embedded before.
        skipped: path to reason, of videos of which this run could not embed every clip.
        num_skipped: clips of them.
        num_unusable: videos that the index itself skips.
        seconds: that decoding and encoding took, the start of the actors included.
    """

    folder: Folder
    num_clips: int
    num_new: int
    num_others: int
    skipped: Mapping[str, str]
    num_skipped: int
    num_unusable: int
    seconds: float

    def lines(self) -> list[str]:
        """The report: the first videos that were skipped, then what there is."""
        named = [f"skipped {path}: {reason}" for path, reason in self.skipped.items()]
        more = len(named) - SHOWN
        others = f", {self.num_others} of videos that the index lacks" if self.num_others else ""
        rate = f", {self.num_new / self.seconds:,.0f} clips/s" if self.num_new else ""
        lost = ""
        if self.skipped:
            clips = f" ({plural(self.num_skipped, 'clip')})" if self.num_skipped else ""
            lost = f" · skipped: {plural(len(self.skipped), 'video')}{clips}"
        if self.num_unusable:
            lost += f" · the index skips {plural(self.num_unusable, 'file')}"
        return [
            *named[:SHOWN],
            *([f"… and {more} more in {self.folder}/{SKIPPED}"] if more > 0 else []),
            f"{plural(self.num_clips, 'clip')}, {self.num_new} of them new{rate}{others}{lost}",
            f"embeddings  {self.folder}",
        ]


def embed(
    run: str | Path | RunFolder,
    index: str | Path,
    out: str | Path,
    *,
    stride_seconds: float = 1.0,
    what: What = "both",
    precision: Precision = "float16",
    checkpoint: str = "newest",
    videos_root: str | None = None,
    address: str | None = None,
    console: Console | None = None,
) -> EmbedSummary:
    """Embed the clips of an index that OUT does not hold yet; again, it goes on.

    Args:
        run: folder of a training, a path or a URI.
        index: path or URI of the index of the library, which need not be the run's.
        out: folder of the embeddings, a path or URI that this process can write.
        stride_seconds: between the starts of two clips of a video.
        what: "h", "z" or both.
        precision: of the numbers that are written.
        checkpoint: newest or best.
        videos_root: the folder that holds the videos now.
        address: of a Ray cluster; None: RAY_ADDRESS, else a Ray of our own on this machine.
        console: where to show how it goes; None: nowhere.

    Raises:
        ConfigError: if there is no such run or checkpoint, nothing to embed, OUT holds other
            embeddings or another command writes there, or the cluster does not let us in.
        IndexFileError: if the index cannot be read.
        StorageError: if OUT cannot be written, full disks included.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder(run)
    learner = restored(folder, checkpoint)
    index = absolute(str(index))
    videos = _videos(learner, index, videos_root)
    schedule = ClipSchedule(videos.select(), learner.config.data, stride_seconds=stride_seconds)
    skipped = {left.path: left.reason for left in schedule.left_out}
    if not schedule.num_clips:
        why = next(iter(skipped.values()), "it has no usable video")
        raise ConfigError(f"no clip of {index} can be embedded: {why}")
    encoder = encoder_of(learner)
    place = Folder(absolute(str(out)))
    manifest = Manifest(
        run=str(folder),
        checkpoint=checkpoint,
        step=learner.step,
        fingerprint=learner.config.fingerprint(),
        weights=weights_digest(encoder),
        index=index,
        stride_seconds=stride_seconds,
        frames_per_clip=learner.config.data.frames_per_clip,
        what=what,
        precision=precision,
    )
    with only_one(place):
        register(place, manifest)
        known = adopt(place, videos.select())
        numbers, done = missing(schedule, known)
        left = schedule.num_clips - sum(len(known.starts.get(p, ())) for p in schedule.index.path)
        intake = _Intake(schedule, done, PartWriter(place, known.num_parts), skipped)
        seconds = 0.0
        if len(numbers):
            with connected(ClusterConfig(address=address)):
                if joins(ClusterConfig(address=address)):
                    pin_data_actors_here()
                tables = embedded(schedule, numbers, encoder, what, precision)
                began = time.monotonic()
                with closing(tables), _progress(left, console) as show:
                    intake.take(tables, show)
                seconds = time.monotonic() - began
        place.write_json(SKIPPED, intake.skipped)
    there = set(videos.path)
    if not known.num_clips + intake.num_new:
        path, reason = next(iter(intake.skipped.items()))
        raise ConfigError(f"no clip of {index} could be embedded; {path}: {reason}")
    return EmbedSummary(
        folder=place,
        num_clips=known.num_clips + intake.num_new,
        num_new=intake.num_new,
        num_others=sum(len(of) for path, of in known.starts.items() if path not in there),
        skipped=intake.skipped,
        num_skipped=intake.num_skipped,
        num_unusable=len(videos.select(usable=False)),
        seconds=seconds,
    )


def missing(schedule: ClipSchedule, known: Known) -> tuple[Integers, dict[int, set[int]]]:
    """Numbers of the windows with clips that no part holds.

    And of the videos of which the parts hold some, the first frames of those.
    """
    fresh: list[int] = []
    done: dict[int, set[int]] = {}
    for row, (path, due) in enumerate(
        zip(schedule.index.path, schedule.clips_per_video.tolist(), strict=True)
    ):
        held = known.starts.get(path, ())
        if len(held) < due:
            fresh.append(row)
            if len(held):
                done[row] = set(map(int, held))
    numbers = schedule.windows_of(fresh)
    if not done:
        return numbers, done
    of_partial = schedule.windows_of(list(done)).tolist()
    whole = {n for n in of_partial if _is_done(schedule.window(n), done)}
    return np.array([n for n in numbers.tolist() if n not in whole], np.int64), done


def _is_done(window: Window, done: Mapping[int, set[int]]) -> bool:
    return done[window.video].issuperset((window.first + window.starts).tolist())


def embedded(
    schedule: ClipSchedule,
    numbers: Integers,
    encoder: Encoder,
    what: What,
    precision: Precision,
) -> Generator[pa.Table, None, None]:
    """Clips of some windows on the connected Ray cluster, as tables in order.

    Columns: `video`, its row in the index of the schedule; `start`, the clip's first frame;
    `error`, null or why it has no embedding; `h` and `z`, missing where no clip has any.
    """
    shared = ray.put(encoder)  # once a node, not once an actor
    found = ray.cluster_resources()
    gpus, cpus = int(found.get("GPU", 0)), max(1, int(found.get("CPU", 1)))
    given = (schedule, shared, what, precision)
    blocks = list(schedule.blocks(numbers))
    for at in range(0, len(blocks), BLOCKS_PER_SEGMENT):
        some = blocks[at : at + BLOCKS_PER_SEGMENT]
        if gpus:
            pools = Pools(decoders=min(max(1, cpus - gpus), len(some)), encoders=gpus)
            ahead = 2 * (pools.decoders + pools.encoders) * BYTES_PER_BLOCK
            yield from run_blocks(some, partial(on_gpus, pools, given), max(STORE_BYTES, ahead))
        else:
            pools = Pools(decoders=min(cpus, len(some)), encoders=0)
            yield from run_blocks(some, partial(on_cpus, pools, given))


@dataclass(frozen=True, kw_only=True)
class Pools:
    """How many actors decode, and how many others encode."""

    decoders: int
    encoders: int


Given = tuple[ClipSchedule, Any, What, Precision]
"""What an encoding actor is made of: the encoder as a reference."""
_WHOLE_BLOCKS: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow"}


def on_cpus(
    pools: Pools, given: Given, numbers: Dataset, *, actor: type[DecodingEncoder] = DecodingEncoder
) -> Dataset:
    """Decode and encode in the same actors: no frame travels, and no pool waits for the other."""
    return numbers.map_batches(
        actor,
        fn_constructor_args=given,
        compute=decoder_pool(given[0].index, pools.decoders),
        num_cpus=1,
        **_WHOLE_BLOCKS,
    )


def on_gpus(pools: Pools, given: Given, numbers: Dataset, *, num_gpus: float = 1) -> Dataset:
    """Decode on the CPUs, encode on the GPUs."""
    decoded = numbers.map_batches(
        ClipDecoder,
        fn_constructor_args=given[:1],
        compute=decoder_pool(given[0].index, pools.decoders),
        num_cpus=1,
        **_WHOLE_BLOCKS,
    )
    return decoded.map_batches(
        WindowEncoder,
        fn_constructor_args=given,
        compute=ActorPoolStrategy(size=pools.encoders),
        num_gpus=num_gpus,
        **_WHOLE_BLOCKS,
    )


class _Intake:
    """Takes what comes from the cluster: names each clip, writes it, counts what failed."""

    def __init__(
        self,
        schedule: ClipSchedule,
        done: Mapping[int, set[int]],
        writer: PartWriter,
        skipped: Mapping[str, str],
    ) -> None:
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


def _videos(learner: Learner, index: str, videos_root: str | None) -> VideoIndex:
    """The videos of an index where they are now; those not there fail one by one, unless most."""
    changes = {"index": index, "videos_root": videos_root, "max_failed_share": MOST_MISSING}
    return find_indexed(learner.config.data.model_copy(update=changes))


@contextmanager
def _progress(total: int, console: Console | None) -> Iterator[Callable[[int, int], None]]:
    """A bar; what it yields takes how many clips have ended, and how many of them failed."""
    columns = (
        TextColumn("embedding"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, disable=console is None)
    task = bar.add_task("", total=total, text="starting")
    first: list[tuple[float, int]] = []

    def show(ended: int, failed: int) -> None:
        now = time.monotonic()
        first.append((now, ended))
        since, before = first[0]
        rate = f", {(ended - before) / (now - since):,.0f} clips/s" if ended > before else ""
        text = f"{ended:,} of {total:,} clips, {failed:,} skipped{rate}"
        bar.update(task, completed=ended, text=text)

    with bar:
        yield show
