"""The Ray Data graph: window numbers → decoding actors → windows, in order → pairs.

    blocks of window numbers   a segment of the run at a time, however long the run
    a fixed pool of actors     reads each window's frames in order, resized, uint8
    the trainer's process      takes the blocks in order and cuts pairs by index

Each training worker runs a graph of its own over the windows that are its by arithmetic, so that
what it gets depends on nothing but the schedule.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy, DataContext, Dataset, ExecutionResources
from ray.data._internal.execution.execution_callback import ExecutionCallback

from pipelines.config.data import DataConfig
from pipelines.storage.folder import StorageError
from pipelines.storage.objects import is_remote
from pipelines.video.ahead import Ahead
from pipelines.video.batch import DecodedWindow, PairBatch, StreamCounts
from pipelines.video.decode import read_window
from pipelines.video.frames import DecodeError, resized_shape
from pipelines.video.index import VideoIndex
from pipelines.video.pairs import PairCutter
from pipelines.video.remote_file import RemoteFile, window_ranges
from pipelines.video.schedule import Schedule, Window
from pipelines.video.stderr import without_stderr

FRAMES_PER_BLOCK = 2048
"""Frames that one decoding task reads, if it reads several windows: enough for its fixed cost not
to count."""
BYTES_PER_BLOCK = 2**26
"""Bytes of those frames, likewise; half of the size at which Ray Data splits blocks."""
BLOCKS_PER_BATCH = 4
"""Decoding tasks of each decoder, at least, among which the windows of the first batch are shared
out, if there are so many."""
BLOCKS_PER_SEGMENT = 512
"""Decoding tasks of one Ray Data execution: each delays its start by a millisecond. A run is as
many executions as it needs, so that what Ray keeps of each task does not grow with the run; the
pool of actors starts anew with each."""
STORE_BYTES = 2**29
"""Most bytes of decoded frames in Ray's object store for one stream."""
PAUSE_SECONDS = 0.03
"""Between two turns of Ray Data's scheduler."""
BATCHES_AHEAD = 2
WINDOWS_AHEAD = 8
"""Windows whose bytes an actor fetches at once, of videos that are objects."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """Which part of every global batch a worker takes, and what it may use to decode it."""

    rank: int = 0
    num_workers: int = 1
    num_decoders: int = 1


class Windows(Protocol):
    """What says which frames a window holds: a schedule of pairs, or of clips."""

    index: VideoIndex
    config: DataConfig

    def window(self, number: int) -> Window:
        """Window t, a function of t alone."""


class PairStream:
    """One worker's batches of a run of global batches; iterate once, then read `counts`."""

    def __init__(self, schedule: Schedule, batches: range, share: Share) -> None:
        """Start nothing yet: decoding begins with the iteration."""
        self.schedule, self.batch_numbers, self.share = schedule, batches, share
        self._cutter = PairCutter(schedule, rank=share.rank, num_workers=share.num_workers)

    @property
    def counts(self) -> StreamCounts:
        """What went through so far."""
        return self._cutter.counts

    def __iter__(self) -> "Ahead":
        """Start decoding; the batches come in order, cut ahead of their use in a thread."""
        windows = decoded_windows(self.schedule, self.batch_numbers, self.share)
        return Ahead(self._cutter.batches(windows, self.batch_numbers), BATCHES_AHEAD)


def pairs_here(schedule: Schedule, batches: range, share: Share) -> list[PairBatch]:
    """All of a few small batches, decoded at once by threads of this process."""
    cutter = PairCutter(schedule, rank=share.rank, num_workers=share.num_workers)
    decoder = WindowDecoder(schedule)
    turns = schedule.turns(batches, rank=share.rank, num_workers=share.num_workers)
    numbers = [number for begun in turns for number in begun.number.tolist()]
    with ThreadPoolExecutor(share.num_decoders) as threads:
        windows = (window for window in threads.map(decoder.decode, numbers))  # to be closed
        return list(cutter.batches(windows, batches))


def decoded_windows(
    schedule: Schedule, batches: range, share: Share
) -> Generator[DecodedWindow, None, None]:
    """Decode on the Ray cluster the windows that one worker needs, in order of need."""
    blocks = window_blocks(schedule, batches, share)
    while segment := list(islice(blocks, BLOCKS_PER_SEGMENT)):
        yield from decoded_blocks(schedule, segment, share.num_decoders)


def window_blocks(schedule: Schedule, batches: range, share: Share) -> Iterator[list[int]]:
    """Numbers of the windows that one worker needs, as each decoding task reads them."""
    lanes = schedule.num_lanes // share.num_workers
    most = max(1, lanes // (BLOCKS_PER_BATCH * share.num_decoders))
    block: list[int] = []
    filled = 0.0
    for turns in schedule.turns(batches, rank=share.rank, num_workers=share.num_workers):
        frames, nbytes = schedule.most_frames(turns.number)
        parts = np.maximum(frames / FRAMES_PER_BLOCK, nbytes / BYTES_PER_BLOCK)
        for number, part in zip(turns.number.tolist(), parts.tolist(), strict=True):
            if block and (filled + part > 1 or len(block) == most):
                yield block
                block, filled = [], 0.0
            block.append(number)
            filled += part
    if block:
        yield block


def decoded_blocks(
    schedule: Windows, blocks: list[list[int]], num_decoders: int
) -> Generator[DecodedWindow, None, None]:
    """Decode blocks of window numbers by the actors of one Ray Data execution, in order."""
    pool = decoder_pool(schedule.index, min(num_decoders, len(blocks)))
    with closing(mapped_blocks(blocks, WindowDecoder, schedule, pool)) as tables:
        for table in tables:
            yield from windows_of(table)


def mapped_blocks(
    blocks: list[list[int]], decoder: type, about: Any, pool: ActorPoolStrategy
) -> Generator[pa.Table, None, None]:
    """What the actors of one Ray Data execution make of blocks of numbers, in order.

    Args:
        blocks: a task each.
        decoder: the actor: made from `about`, from a table with the column `number` to a table.
        about: what a number means.
        pool: how many actors.
    """

    def decoded(numbers: Dataset) -> Dataset:
        return numbers.map_batches(
            decoder,
            fn_constructor_args=(about,),
            compute=pool,
            num_cpus=1,
            batch_size=None,
            batch_format="pyarrow",
        )

    return run_blocks(blocks, decoded)


def run_blocks(
    blocks: list[list[int]], graph: Callable[[Dataset], Dataset], store_bytes: int = STORE_BYTES
) -> Generator[pa.Table, None, None]:
    """What a graph makes of blocks of window `number`s in one Ray Data execution, in order.

    At most so many bytes lie in Ray's object store.
    """
    context = DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.execution_options.resource_limits = ExecutionResources(object_store_memory=store_bytes)
    context.enable_progress_bars = False
    context.issue_detectors_config.detectors = []  # they take a decoder's memory for a leak
    context.custom_execution_callback_classes = [Pauses]
    with DataContext.current(context):
        numbers = ray.data.from_blocks(
            [pa.table({"number": pa.array(block, pa.int64())}) for block in blocks]
        )
        tables: Any = iter(graph(numbers).iter_batches(batch_size=None, batch_format="pyarrow"))
    with closing(tables):  # else the actors stay until somebody collects the garbage
        with without_stderr:  # Ray notes there that it may start the pool's actors again
            first = next(tables)
        yield from chain([first], tables)


class Pauses(ExecutionCallback):
    """Lets Ray Data's scheduler rest after each turn.

    It waits for a task that has output or a place for a new one. While the trainer is behind, so
    that neither output may be read nor a task be started, it does not wait at all (Ray 2.60): its
    thread then takes half a core of the training's process, and Python's lock with it.
    """

    def on_execution_step(self, executor: Any) -> None:
        """After a turn of the scheduler."""
        time.sleep(PAUSE_SECONDS)


def pin_data_actors_here() -> None:
    """Let Ray Data make, on this process's node, the few actors that it has once per cluster.

    It pins them (for autoscaling, for the places of actors, for statistics) to the node of whoever
    streams first, and no stream of any node survives the loss of that one. So the driver streams
    first: its own node has to live anyway.
    """
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    with DataContext.current(context):
        table = ray.data.from_blocks([pa.table({"number": [0]})])
        nothing = table.map_batches(
            _Nothing,
            compute=ActorPoolStrategy(size=1),
            num_cpus=0,
            batch_size=None,
            batch_format="pyarrow",
        )
        with without_stderr:
            list(nothing.iter_batches(batch_size=None, batch_format="pyarrow"))


class _Nothing:
    """An actor of a pool that passes blocks on."""

    def __call__(self, block: pa.Table) -> pa.Table:
        """The same block."""
        return block


class Files(Protocol):
    """What is decoded: videos, or the files of a table."""

    @property
    def is_remote(self) -> bool:
        """Whether some are objects."""


def decoder_pool(videos: Files, size: int) -> ActorPoolStrategy:
    """A fixed number of actors; where videos are objects, each fetches one block ahead."""
    if not videos.is_remote:
        return ActorPoolStrategy(size=size)
    return ActorPoolStrategy(
        size=size, max_concurrent_calls_per_actor=2, enable_true_multi_threading=True
    )


class WindowDecoder:
    """An actor of the decoding pool: from window numbers to their frames.

    Of videos that are objects, the bytes of all windows of a block are fetched while others are
    decoded: those before them, and those of the block before, whose call runs in another thread.
    """

    def __init__(self, schedule: Windows) -> None:
        """Keep the schedule: a window is a function of its number."""
        self._schedule = schedule
        self._fetching = ThreadPoolExecutor(WINDOWS_AHEAD, thread_name_prefix="windows-ahead")
        self._decoding = threading.Lock()

    def __call__(self, block: pa.Table) -> pa.Table:
        """Decode the windows of one block."""
        numbers = block["number"].to_pylist()
        if not self._schedule.index.is_remote:
            return _table_of([self.decode(number) for number in numbers])
        ahead = [self._fetching.submit(self.fetch, number) for number in numbers]
        with self._decoding:  # one core is this actor's
            return _table_of(
                [self.decode(n, file.result()) for n, file in zip(numbers, ahead, strict=True)]
            )

    def fetch(self, number: int) -> RemoteFile | DecodeError | None:
        """The video of a window with the bytes that it needs, or why they cannot be had.

        None where the video is a file.
        """
        window = self._schedule.window(number)
        path = str(self._schedule.index.path[window.video])
        if not is_remote(path):
            return None
        access = self._schedule.index.access(window.video)
        file = RemoteFile(path, access)
        try:
            file.fetch(window_ranges(path, access, window.first, window.num_frames))
        except DecodeError as error:
            return error
        except FileNotFoundError:
            return DecodeError(path, "no such file")
        except StorageError as error:
            return DecodeError(path, str(error))
        return file

    def decode(self, number: int, fetched: RemoteFile | DecodeError | None = None) -> DecodedWindow:
        """Read one window; a file that fails gives the reason in place of frames."""
        index, config = self._schedule.index, self._schedule.config
        window = self._schedule.window(number)
        video = window.video
        width = height = config.frame_size
        if config.crop != "none":
            stored = int(index.width[video]), int(index.height[video])
            width, height = resized_shape(*stored, config.frame_size)
        access = index.access(video)
        file = fetched or self.fetch(number)
        try:
            if isinstance(file, DecodeError):
                raise file
            frames = read_window(
                file or str(index.path[video]),
                first=window.first,
                num_frames=window.num_frames,
                width=width,
                height=height,
                grayscale=config.grayscale,
                access=access,
            )
        except DecodeError as error:
            return DecodedWindow(number=number, frames=None, decoded_frames=0, error=error.reason)
        cost = access.decoded_frames(window.first, window.num_frames)
        return DecodedWindow(
            number=number,
            frames=frames,
            decoded_frames=cost,
            requests=file.requests if file else 0,
            bytes_fetched=file.bytes_fetched if file else 0,
        )


def _table_of(windows: list[DecodedWindow]) -> pa.Table:
    """Windows as a block: the frames of each as one run of bytes, with their shape beside it."""
    empty = np.empty((0, 0, 0, 0), np.uint8)
    frames = [empty if w.frames is None else w.frames for w in windows]
    offsets = np.concatenate([[0], np.cumsum([f.nbytes for f in frames])]).astype(np.int64)
    parts = [f.reshape(-1) for f in frames]
    data = np.concatenate(parts) if len(parts) > 1 else parts[0]
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.table(
        {
            "number": pa.array([w.number for w in windows], pa.int64()),
            "decoded_frames": pa.array([w.decoded_frames for w in windows], pa.int64()),
            "error": pa.array([w.error for w in windows], pa.string()),
            "requests": pa.array([w.requests for w in windows], pa.int64()),
            "bytes_fetched": pa.array([w.bytes_fetched for w in windows], pa.int64()),
            "shape": pa.array([list(f.shape) for f in frames], pa.list_(pa.int32(), 4)),
            "frames": pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(windows), buffers),
        }
    )


def windows_of(table: pa.Table) -> Iterator[DecodedWindow]:
    """The windows of a block; the frames are views of its bytes."""
    names = ("number", "decoded_frames", "error", "requests", "bytes_fetched")
    shapes = table["shape"].to_pylist()
    for row, values in enumerate(table.select(names).to_pylist()):
        data = table["frames"][row].as_buffer()
        frames = None if values["error"] else np.frombuffer(data, np.uint8).reshape(shapes[row])
        yield DecodedWindow(frames=frames, **values)
