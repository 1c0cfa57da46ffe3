"""`adassl embed`: every clip of a library at a stride, through a run's encoder, into Parquet.

Of a table of pairs every entry, which the same actors read and encode (see `entries`). Of videos:

    window numbers      of the clips that no part holds yet
    decoding actors     read each window in order and keep the frames that clips hold, uint8
    encoding actors     one for each GPU; without GPUs each decoder encodes what it decoded
    this process        names the clips and writes them, a part at a time

Only rows of embeddings come to this process, some MB a second for a large cluster, so that it alone
writes: a part is whole or not there, and no retried task writes a clip twice.
"""

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, Dataset
from rich.console import Console

from adassl.encoder import Encoder
from pipelines.cluster import connected, joins
from pipelines.config.run import ClusterConfig, ConfigError
from pipelines.evaluation.evaluate import restored
from pipelines.library.actors import ClipDecoder, DecodingEncoder, Precision, WindowEncoder
from pipelines.library.encode import What, encoder_of, encoders_of, weights_digest
from pipelines.library.entries import Entries, EntryEncoder, entries_of
from pipelines.library.intake import Intake, progress
from pipelines.library.parts import (
    SKIPPED,
    TOKENIZER,
    Known,
    Manifest,
    PartWriter,
    adopt,
    register,
)
from pipelines.numbers import plural
from pipelines.pairs.plan import Index, find
from pipelines.pairs.table import PairTable
from pipelines.storage.folder import Folder, absolute
from pipelines.storage.lease import only_one
from pipelines.storage.runs import RunFolder
from pipelines.training.learner import Learner
from pipelines.video.clips import ClipSchedule
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
        num_unusable: videos, or rows of a table, that the index itself skips.
        seconds: that decoding and encoding took, the start of the actors included.
        is_table: whether entries of a table of pairs were embedded, not clips of videos.
    """

    folder: Folder
    num_clips: int
    num_new: int
    num_others: int
    skipped: Mapping[str, str]
    num_skipped: int
    num_unusable: int
    seconds: float
    is_table: bool = False

    def lines(self) -> list[str]:
        """The report: the first videos that were skipped, then what there is."""
        named = [f"skipped {path}: {reason}" for path, reason in self.skipped.items()]
        more = len(named) - SHOWN
        clip, clips, video, index = "clip", "clips", "video", "index"
        if self.is_table:
            clip, clips, video, index = "entry", "entries", "entry", "table"
        others = f", {self.num_others} that the {index} lacks" if self.num_others else ""
        rate = f", {self.num_new / self.seconds:,.0f} {clips}/s" if self.num_new else ""
        lost = ""
        if self.skipped:
            lost = f" · skipped: {plural(len(self.skipped), video)}"
            if self.num_skipped and not self.is_table:
                lost += f" ({plural(self.num_skipped, clip)})"
        if self.num_unusable:
            lost += f" · the {index} skips {plural(self.num_unusable, 'row')}"
        return [
            *named[:SHOWN],
            *([f"… and {more} more in {self.folder}/{SKIPPED}"] if more > 0 else []),
            f"{plural(self.num_clips, clip)}, {self.num_new} of them new{rate}{others}{lost}",
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
        index: path or URI of the index of the library, or of a table of pairs, which need not be
            the run's.
        out: folder of the embeddings, a path or URI that this process can write.
        stride_seconds: between the starts of two clips of a video.
        what: "h", "z" or both; where entries are read by two encoders, "z" alone.
        precision: of the numbers that are written.
        checkpoint: newest or best.
        videos_root: the folder that holds the videos, or files, now.
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
    library = _library(learner, index, videos_root)
    schedule: ClipSchedule | Entries
    unit = "clips"
    if isinstance(library, PairTable):
        schedule = entries_of(learner.config, library)
        videos, unit = schedule.index, "entries"
        encoders = encoders_of(learner)[: 1 + int(schedule.side.max())]
        if len(encoders) > 1 and what != "z":
            raise ConfigError(
                f"--what {what}: two encoders read this table, and their representations do not "
                "compare; --what z embeds its entries in one space"
            )
    else:
        videos = library.select()
        schedule = ClipSchedule(videos, learner.config.data, stride_seconds=stride_seconds)
        encoders = [encoder_of(learner)]
    skipped = {left.path: left.reason for left in schedule.left_out}
    if not schedule.num_clips:
        why = next(iter(skipped.values()), "it has no usable video")
        raise ConfigError(f"no clip of {index} can be embedded: {why}")
    place = Folder(absolute(str(out)))
    manifest = Manifest(
        run=str(folder),
        checkpoint=checkpoint,
        step=learner.step,
        fingerprint=learner.config.fingerprint(),
        weights=weights_digest(*encoders),
        index=index,
        stride_seconds=stride_seconds,
        frames_per_clip=learner.config.data.frames_per_clip,
        what=what,
        precision=precision,
        **_about(library),
    )
    with only_one(place):
        register(place, manifest)
        if isinstance(schedule, Entries) and schedule.table.tokenizer is not None:
            place.write_text(TOKENIZER, schedule.table.tokenizer)
        known = adopt(place, videos)
        numbers, done = missing(schedule, known)
        left = schedule.num_clips - sum(len(known.starts.get(p, ())) for p in schedule.index.path)
        intake = Intake(schedule, done, PartWriter(place, known.num_parts), skipped)
        seconds = 0.0
        if len(numbers):
            with connected(ClusterConfig(address=address)):
                if joins(ClusterConfig(address=address)):
                    pin_data_actors_here()
                tables = embedded(schedule, numbers, encoders, what, precision)
                began = time.monotonic()
                with closing(tables), progress(left, console, unit) as show:
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
        num_unusable=len(library.select(usable=False)),
        seconds=seconds,
        is_table=isinstance(library, PairTable),
    )


def missing(schedule: ClipSchedule | Entries, known: Known) -> tuple[Integers, dict[int, set[int]]]:
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
    assert isinstance(schedule, ClipSchedule)  # entries are there or not
    of_partial = schedule.windows_of(list(done)).tolist()
    whole = {n for n in of_partial if _is_done(schedule.window(n), done)}
    return np.array([n for n in numbers.tolist() if n not in whole], np.int64), done


def _is_done(window: Window, done: Mapping[int, set[int]]) -> bool:
    return done[window.video].issuperset((window.first + window.starts).tolist())


def embedded(
    schedule: ClipSchedule | Entries,
    numbers: Integers,
    encoders: Sequence[Encoder],
    what: What,
    precision: Precision,
) -> Generator[pa.Table, None, None]:
    """Clips of some windows on the connected Ray cluster, as tables in order.

    Columns: `video`, its row in the index of the schedule; `start`, the clip's first frame;
    `error`, null or why it has no embedding; `h` and `z`, missing where no clip has any.
    """
    found = ray.cluster_resources()
    gpus, cpus = int(found.get("GPU", 0)), max(1, int(found.get("CPU", 1)))
    blocks = list(schedule.blocks(numbers))
    # what is put is sent once a node, not once an actor
    is_table = isinstance(schedule, Entries)
    kept, shared = (
        (ray.put(schedule), ray.put(list(encoders))) if is_table else (None, ray.put(encoders[0]))
    )
    for at in range(0, len(blocks), BLOCKS_PER_SEGMENT):
        some = blocks[at : at + BLOCKS_PER_SEGMENT]
        if isinstance(schedule, Entries):
            size = gpus or min(cpus, len(some))
            graph = partial(of_table, size, gpus > 0, (kept, shared, what, precision))
            yield from run_blocks(some, graph)
            continue
        given = (schedule, shared, what, precision)
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


def of_table(size: int, on_gpus: bool, given: tuple[Any, ...], numbers: Dataset) -> Dataset:
    """Read and encode entries of a table in the same actors."""
    return numbers.map_batches(
        EntryEncoder,
        fn_constructor_args=given,
        compute=ActorPoolStrategy(size=size),
        num_cpus=1,
        num_gpus=1 if on_gpus else 0,
        **_WHOLE_BLOCKS,
    )


def _about(library: Index) -> dict[str, Any]:
    """What a manifest says of a table."""
    if not isinstance(library, PairTable):
        return {}
    about = library.about
    return {"kinds": dict(about.kinds), "tokenizer": about.tokenizer_digest}


def _library(learner: Learner, index: str, videos_root: str | None) -> Index:
    """Videos or a table, their files where they are now.

    Those not there fail one by one, unless most.
    """
    changes = {"index": index, "videos_root": videos_root, "max_failed_share": MOST_MISSING}
    return find(learner.config.data.model_copy(update=changes))
