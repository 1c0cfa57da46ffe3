"""Frames into a trainer's tensors: our stream, its limit, and two other ways, in turn."""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import get_args

import psutil
import ray
import torch
from rich.console import Console

from pipelines.cluster import quiet_ray
from pipelines.config.run import DataConfig
from pipelines.recipes import recipe
from pipelines.video.batch import PairBatch
from pipelines.video.decode import read_window
from pipelines.video.frames import Access, Decoder, resized_shape
from pipelines.video.index import VideoIndex
from pipelines.video.schedule import Schedule
from pipelines.video.stream import PairStream, Share, WindowDecoder
from tests.benchmarks.footage import footage
from tests.benchmarks.rivals import BATCH, map_style_pairs, read_videos_pairs

SECONDS = 6.0
"""Length of each measurement, in the steady state."""
CORES = max(1, os.cpu_count() or 1)


@dataclass(frozen=True)
class Rates:
    """What one measurement saw, per second."""

    frames: float
    pairs: float


def bench_streams(folder: Path, *, rounds: int, console: Console) -> dict[str, float]:
    """The figures of the stream."""
    index = footage(folder, console)
    # The recipe for any folder of videos, with pairs of frames, as the other ways give them.
    data = recipe("videos").data.model_copy(update={"index": "", "frames_per_clip": 1})
    schedule = Schedule(index, data, seed=0, global_batch_size=BATCH)
    quiet_ray()
    ray.init(
        num_cpus=2 * CORES + 1,
        include_dashboard=False,
        logging_config=ray.LoggingConfig(log_level="ERROR"),
    )
    names = ("decode", "stream", "map", "read_videos", "decord", "pyav")
    rates: dict[str, list[Rates]] = {name: [] for name in names}
    firsts, memory, busy = [], [], []
    stream = StreamRun(schedule)
    with ProcessPoolExecutor(CORES, mp_context=get_context("spawn")) as pool:
        for number in range(rounds):
            console.print(f"round {number + 1} of {rounds}", highlight=False)
            rates["decode"].append(decode_only(pool, schedule, start=number * 1000))
            rates["stream"].append(stream.measure(number))
            firsts.append(stream.first_seconds)
            memory.append(stream.peak_mib)
            busy.append(stream.cpu_shares)
            rates["map"].append(map_style(pool, index, schedule, seed=number))
            rates["read_videos"].append(read_videos(folder / "videos", data))
            for decoder in get_args(Decoder):
                rates[decoder].append(read_by(pool, index, data, decoder))
    ray.shutdown()
    return {
        "stream_share_of_decode_only": _ratio(rates, "stream", "decode", "frames"),
        "stream_over_map_style": _ratio(rates, "stream", "map", "pairs"),
        "stream_over_read_videos": _ratio(rates, "stream", "read_videos", "pairs"),
        "pyav_over_decord": _ratio(rates, "pyav", "decord", "frames"),
        "first_batch_seconds": median(firsts),
        "decoded_frames_unused_share": stream.unused_share,
        "peak_memory_mib": max(memory),
        "stream_pairs_per_second": median(r.pairs for r in rates["stream"]),
        "stream_frames_per_second": median(r.frames for r in rates["stream"]),
        "decode_only_frames_per_second": median(r.frames for r in rates["decode"]),
        **{f"stream_cpu_share_{kind}": median(shares[kind] for shares in busy) for kind in busy[0]},
    }


def _ratio(rates: dict[str, list[Rates]], one: str, other: str, unit: str) -> float:
    """Median over the rounds of the ratio within a round: the machine's mood cancels out."""
    pairs = zip(rates[one], rates[other], strict=True)
    return float(median(getattr(a, unit) / getattr(b, unit) for a, b in pairs))


def decode_only(pool: ProcessPoolExecutor, schedule: Schedule, *, start: int) -> Rates:
    """The limit: the windows of the schedule, decoded in plain processes and thrown away."""
    begin = time.perf_counter()
    tasks = [pool.submit(_decode_for, schedule, start + i, CORES, SECONDS) for i in range(CORES)]
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
        self.first_seconds = self.peak_mib = self.unused_share = 0.0
        self.cpu_shares: dict[str, float] = {}

    def measure(self, number: int) -> Rates:
        """Batches for some seconds after the first, with the shuffle_window's filling left out."""
        start = 100_000 * number
        stream = PairStream(self.schedule, range(start, start + 50_000), Share(num_decoders=CORES))
        began = time.perf_counter()
        batches = iter(stream)
        _to_tensors(next(batches))
        self.first_seconds = time.perf_counter() - began
        for batch in islice(batches, 2 * self.schedule.config.pairs_per_window):
            _to_tensors(batch)
        frames, pairs, cpu = stream.counts.frames_shipped, 0, cpu_seconds()
        began, last_look, self.peak_mib = time.perf_counter(), 0.0, 0.0
        while (elapsed := time.perf_counter() - began) < SECONDS:
            _to_tensors(next(batches))
            pairs += BATCH
            if elapsed - last_look > SECONDS / 3:
                last_look, self.peak_mib = elapsed, max(self.peak_mib, private_mib())
        after = cpu_seconds()
        self.cpu_shares = {k: (after[k] - cpu[k]) / (elapsed * CORES) for k in after}
        self.unused_share = stream.counts.unused_share
        return Rates(
            frames=(stream.counts.frames_shipped - frames) / elapsed, pairs=pairs / elapsed
        )


def _to_tensors(batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(batch.context), torch.from_numpy(batch.target)


def map_style(
    pool: ProcessPoolExecutor, index: VideoIndex, schedule: Schedule, *, seed: int
) -> Rates:
    """What a map-style data set does, in as many processes."""
    task = partial(map_style_pairs, index, schedule.config, seconds=SECONDS)
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
    """Memory of this process and Ray's that they share with nobody, and the object store."""
    me = psutil.Process()
    total = 0
    for process in [me, *me.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 2**20
