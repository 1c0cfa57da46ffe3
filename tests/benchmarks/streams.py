"""Frames into a trainer's tensors: our stream, its limit, and other ways, in turn."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import get_args

import psutil
import ray
import torch
from rich.console import Console

from pipelines.cluster import quiet_ray
from pipelines.config.data import DataConfig
from pipelines.recipes import recipe
from pipelines.video.batch import PairBatch
from pipelines.video.decode import read_window
from pipelines.video.frames import Access, Decoder, resized_shape
from pipelines.video.index import VideoIndex
from pipelines.video.schedule import Schedule
from pipelines.video.stream import PairStream, Share, WindowDecoder
from tests.benchmarks.footage import footage, large_footage
from tests.benchmarks.rivals import (
    BATCH,
    former_windows_pairs,
    map_style_pairs,
    read_videos_pairs,
)

SECONDS = 6.0
"""Length of each measurement, in the steady state."""
STEADY = 10_000
"""A batch, or a window, by which no window is short any more."""
CORES = max(1, os.cpu_count() or 1)


PairsBy = Callable[..., int]
"""A rival of `rivals`: pairs that one process makes of an index within some seconds."""


@dataclass(frozen=True)
class Rates:
    """What one measurement saw, per second."""

    frames: float
    pairs: float


def bench_streams(folder: Path, *, rounds: int, console: Console) -> dict[str, float]:
    """The figures of the stream."""
    index = footage(folder, console)
    schedule = schedule_of(index)
    names = ("decode", "stream", "former", "map", "read_videos", "decord", "pyav")
    rates: dict[str, list[Rates]] = {name: [] for name in names}
    firsts, memory, busy = [], [], []
    stream = StreamRun(schedule)
    with ray_up(), ProcessPoolExecutor(CORES, mp_context=get_context("spawn")) as pool:
        for number in range(rounds):
            console.print(f"round {number + 1} of {rounds}", highlight=False)
            firsts.append(first_batch_seconds(index, seed=number))
            rates["decode"].append(decode_only(pool, schedule, start=STEADY + number * 1000))
            rates["stream"].append(stream.measure(STEADY + number * 100_000))
            memory.append(stream.peak_mib)
            busy.append(stream.cpu_shares)
            rates["former"].append(
                rival(pool, former_windows_pairs, index, schedule.config, seed=number)
            )
            rates["map"].append(rival(pool, map_style_pairs, index, schedule.config, seed=number))
            rates["read_videos"].append(read_videos(folder / "videos", schedule.config))
            for decoder in get_args(Decoder):
                rates[decoder].append(read_by(pool, index, schedule.config, decoder))
        twice = StreamRun(schedule_of(index, reuse=2))
        twice.measure(STEADY, seconds=SECONDS / 2)
        others = {
            **short_run(pool, index, "224px", frame_size=224, moments_per_video=4),
            **short_run(pool, large_footage(folder, console), "1080p", batch=4),
        }
    return {
        "pairs_per_decoded_frame": stream.pairs_per_decoded_frame,
        "pairs_per_decoded_frame_reuse_2": twice.pairs_per_decoded_frame,
        "stream_share_of_decode_only": _ratio(rates, "stream", "decode", "frames"),
        "stream_over_former_windows": _ratio(rates, "stream", "former", "pairs"),
        "stream_over_read_videos": _ratio(rates, "stream", "read_videos", "pairs"),
        "stream_over_map_style": _ratio(rates, "stream", "map", "pairs"),
        "pyav_over_decord": _ratio(rates, "pyav", "decord", "frames"),
        "first_batch_seconds": median(firsts),
        "decoded_frames_unused_share": stream.unused_share,
        "peak_memory_mib": max(memory),
        "stream_pairs_per_second": median(r.pairs for r in rates["stream"]),
        "stream_frames_per_second": median(r.frames for r in rates["stream"]),
        "decode_only_frames_per_second": median(r.frames for r in rates["decode"]),
        **{f"stream_cpu_share_{kind}": median(shares[kind] for shares in busy) for kind in busy[0]},
        **others,
    }


@contextmanager
def ray_up() -> Iterator[None]:
    """A Ray of our own with room for the decoders."""
    quiet_ray()
    ray.init(
        num_cpus=2 * CORES + 1,
        include_dashboard=False,
        logging_config=ray.LoggingConfig(log_level="ERROR"),
    )
    try:
        yield
    finally:
        ray.shutdown()


def schedule_of(index: VideoIndex, *, seed: int = 0, batch: int = BATCH, **data: int) -> Schedule:
    """The recipe for any folder of videos, with pairs of frames, as the other ways give them.

    One pair of each window in a batch, for that mixes videos most.
    """
    changes = {"index": "", "frames_per_clip": 1, "crop": "center", "moments_per_video": 1, **data}
    config = recipe("videos").data.model_copy(update=changes)
    return Schedule(index, config, seed=seed, global_batch_size=batch)


def short_run(
    pool: ProcessPoolExecutor, index: VideoIndex, name: str, *, batch: int = BATCH, **data: int
) -> dict[str, float]:
    """The main figures on other footage or at another size, measured once."""
    schedule = schedule_of(index, batch=batch, **data)
    stream = StreamRun(schedule)
    rates = {
        "decode": decode_only(pool, schedule, start=STEADY, seconds=SECONDS),
        "stream": stream.measure(STEADY),
        "former": rival(pool, former_windows_pairs, index, schedule.config, seed=0),
    }
    return {
        f"pairs_per_decoded_frame_{name}": stream.pairs_per_decoded_frame,
        f"stream_share_of_decode_only_{name}": rates["stream"].frames / rates["decode"].frames,
        f"stream_over_former_windows_{name}": rates["stream"].pairs / rates["former"].pairs,
        f"stream_pairs_per_second_{name}": rates["stream"].pairs,
        f"peak_memory_mib_{name}": stream.peak_mib,
    }


def first_batch_seconds(index: VideoIndex, *, seed: int) -> float:
    """From the start of a new run's stream, actors included, to its first batch as tensors."""
    began = time.perf_counter()
    stream = PairStream(schedule_of(index, seed=seed), range(50_000), Share(num_decoders=CORES))
    with closing(iter(stream)) as batches:
        _to_tensors(next(batches))
        return time.perf_counter() - began


def _ratio(rates: dict[str, list[Rates]], one: str, other: str, unit: str) -> float:
    """Median over the rounds of the ratio within a round: the machine's mood cancels out."""
    pairs = zip(rates[one], rates[other], strict=True)
    return float(median(getattr(a, unit) / getattr(b, unit) for a, b in pairs))


def decode_only(
    pool: ProcessPoolExecutor, schedule: Schedule, *, start: int, seconds: float = SECONDS
) -> Rates:
    """The limit: the windows of the schedule, decoded in plain processes and thrown away."""
    begin = time.perf_counter()
    tasks = [pool.submit(_decode_for, schedule, start + i, CORES, seconds) for i in range(CORES)]
    frames = sum(task.result() for task in tasks)
    return Rates(frames=frames / (time.perf_counter() - begin), pairs=0.0)


def _decode_for(schedule: Schedule, first: int, stride: int, seconds: float) -> int:
    decoder, frames, number = WindowDecoder(schedule), 0, first
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        decoded = decoder.decode(number).frames
        assert decoded is not None
        frames, number = frames + len(decoded), number + stride
    return frames


class StreamRun:
    """The stream, with what it takes."""

    def __init__(self, schedule: Schedule) -> None:
        """Measure nothing yet."""
        self.schedule = schedule
        self.peak_mib = self.unused_share = self.pairs_per_decoded_frame = 0.0
        self.cpu_shares: dict[str, float] = {}

    def measure(self, start: int, *, seconds: float = SECONDS) -> Rates:
        """Batches for some seconds, from one on by which the windows have their full length.

        The filling of the lanes, with which a run that goes on begins, is left out.
        """
        stream = PairStream(self.schedule, range(start, start + 50_000), Share(num_decoders=CORES))
        with closing(iter(stream)) as batches:
            _to_tensors(next(batches))
            before, cpu = replace(stream.counts), cpu_seconds()
            began, last_look, self.peak_mib, pairs = time.perf_counter(), 0.0, 0.0, 0
            while (elapsed := time.perf_counter() - began) < seconds:
                pairs += len(_to_tensors(next(batches))[0])
                if elapsed - last_look > seconds / 3:
                    last_look, self.peak_mib = elapsed, max(self.peak_mib, private_mib())
        after, counts = cpu_seconds(), stream.counts
        self.cpu_shares = {k: (after[k] - cpu[k]) / (elapsed * CORES) for k in after}
        frames = counts.frames_shipped - before.frames_shipped
        decoded = counts.frames_decoded - before.frames_decoded
        self.unused_share = 1 - frames / decoded
        self.pairs_per_decoded_frame = (counts.pairs_due - before.pairs_due) / decoded
        return Rates(frames=frames / elapsed, pairs=pairs / elapsed)


def _to_tensors(batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(batch.context), torch.from_numpy(batch.target)


def rival(
    pool: ProcessPoolExecutor, pairs_by: PairsBy, index: VideoIndex, data: DataConfig, *, seed: int
) -> Rates:
    """Pairs that another way gives, in as many processes."""
    task = partial(pairs_by, index, data, seconds=SECONDS)
    began = time.perf_counter()
    pairs = sum(pool.map(task, range(seed * CORES, (seed + 1) * CORES)))
    return Rates(frames=0.0, pairs=pairs / (time.perf_counter() - began))


def read_by(
    pool: ProcessPoolExecutor, index: VideoIndex, data: DataConfig, decoder: Decoder
) -> Rates:
    """The beginnings of the files by one of our decoders, in plain processes."""
    task = partial(_read_by, index, data.frame_size, decoder)
    began = time.perf_counter()
    frames = sum(pool.map(task, range(CORES)))
    return Rates(frames=frames / (time.perf_counter() - began), pairs=0.0)


def _read_by(index: VideoIndex, side: int, decoder: Decoder, first: int) -> int:
    num_frames, frames, row = 100, 0, first
    end = time.perf_counter() + SECONDS / 2
    while time.perf_counter() < end:
        video = row % len(index)
        width, height = resized_shape(index.width[video], index.height[video], side)
        access = Access(decoder=decoder, seek="start")
        read_window(
            index.path[video],
            first=0,
            num_frames=num_frames,
            width=width,
            height=height,
            access=access,
        )
        frames, row = frames + num_frames, row + CORES
    return frames


def read_videos(folder: Path, data: DataConfig) -> Rates:
    """Ray Data's own reader, from its first batch on."""
    batches = read_videos_pairs(folder, data)
    next(batches)
    began, pairs = time.perf_counter(), 0
    for size in batches:
        pairs += size
        if time.perf_counter() - began > SECONDS:
            break
    return Rates(frames=0.0, pairs=pairs / (time.perf_counter() - began))


def cpu_seconds() -> dict[str, float]:
    """CPU time so far of the decoders, of this process, and of the rest of Ray."""
    me = psutil.Process()
    spent = {"decoders": 0.0, "trainer": sum(me.cpu_times()[:2]), "ray": 0.0}
    for child in me.children(recursive=True):
        try:
            kind = "decoders" if "MapWorker" in " ".join(child.cmdline()) else "ray"
            spent[kind] += sum(child.cpu_times()[:2])
        except psutil.Error:
            continue
    return spent


def private_mib() -> float:
    """Memory of this process and Ray's, without the rivals', and the object store."""
    me = psutil.Process()
    total = 0
    for process in [me, *me.children(recursive=True)]:
        try:
            if "multiprocessing" not in " ".join(process.cmdline()):
                total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 2**20
