"""Clips a second that a library is embedded at, against decoding them alone in the same graph.

`python -m tests.benchmarks.embed`. 48 videos of 300 frames at 320×240, a clip of 3 frames at 64
pixels each second, the encoder of `adassl train`; on two CPUs, in turn, from the first block that
comes to the last. Beside it: decoders and encoders in pools of their own, which is what a cluster
with GPUs gets, here on CPUs. The share by processor time is the one to go by on a busy machine.
"""

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated

import pyarrow as pa
import ray
import torch
import typer
from ray.data import Dataset
from rich.console import Console
from rich.table import Table

from pipelines.cluster import connected
from pipelines.config.run import ClusterConfig
from pipelines.library.actors import ClipDecoder, DecodingEncoder, WindowEncoder
from pipelines.library.embed import Given, Pools, on_cpus, on_gpus
from pipelines.library.encode import encoder_of
from pipelines.recipes import recipe
from pipelines.training.learner import Learner
from pipelines.video.clips import ClipSchedule
from pipelines.video.stream import run_blocks
from tests.benchmarks.footage import footage

NUM_CPUS = 2
TIMES = 4
"""That each video is read in a measurement."""
WINDOWS_OF_A_BLOCK = 2


class OnlyDecoding(DecodingEncoder):
    """An actor that decodes what the other embeds."""

    def __call__(self, block: pa.Table) -> pa.Table:
        """The table of `embedded` without embeddings."""
        numbers = self._decode(block)["number"].to_pylist()
        video = [self._schedule.window(n).video for n in numbers for _ in range(self._clips(n))]
        return pa.table({"video": pa.array(video, pa.int64())})

    @property
    def _schedule(self) -> ClipSchedule:
        schedule = self._decode._schedule
        assert isinstance(schedule, ClipSchedule)
        return schedule

    def _clips(self, number: int) -> int:
        return len(self._schedule.window(number).starts)


def bench_embed(
    folder: Path, *, stride_seconds: float, rounds: int, console: Console
) -> dict[str, float]:
    """The metrics of embedding."""
    config = recipe("videos")
    schedule = ClipSchedule(footage(folder, console), config.data, stride_seconds=stride_seconds)
    encoder = encoder_of(Learner(config, torch.device("cpu")))
    with connected(ClusterConfig()):
        given: Given = (schedule, ray.put(encoder), "both", "float16")
        pools = Pools(decoders=NUM_CPUS, encoders=0)
        apart = Pools(decoders=NUM_CPUS - 1, encoders=1)
        graphs: dict[str, Callable[[Dataset], Dataset]] = {
            "embed": partial(on_cpus, pools, given),
            "decode": partial(on_cpus, pools, given, actor=OnlyDecoding),
            "apart": partial(on_gpus, apart, given, num_gpus=0),
        }
        share = _share_by_cpu_time(given)
        rates: dict[str, list[float]] = {name: [] for name in graphs}
        for _ in range(rounds):
            for name, graph in graphs.items():
                rates[name].append(_rate(schedule, graph))
                console.print(f"{name}: {rates[name][-1]:.0f} clips/s", highlight=False)
    pairs = zip(rates["embed"], rates["decode"], strict=True)
    return {
        "embed_clips_per_second": median(rates["embed"]),
        "embed_decode_only_clips_per_second": median(rates["decode"]),
        "embed_share_of_decode_only": median(one / other for one, other in pairs),
        "embed_share_by_cpu_time": share,
        "embed_apart_clips_per_second": median(rates["apart"]),
    }


def _share_by_cpu_time(given: Given) -> float:
    """What decoding takes of a processor's time, of decoding and encoding: whatever else runs."""
    torch.set_num_threads(1)
    decode, encode = ClipDecoder(given[0]), WindowEncoder(*given)
    shares = []
    for first in range(0, given[0].num_windows - 3, 4):
        began = time.process_time()
        decoded = decode(pa.table({"number": list(range(first, first + 4))}))
        between = time.process_time()
        encode(decoded)
        shares.append((between - began) / (time.process_time() - began))
    return median(shares)


def _rate(schedule: ClipSchedule, graph: Callable[[Dataset], Dataset]) -> float:
    numbers = list(range(schedule.num_windows)) * TIMES
    blocks = [
        numbers[at : at + WINDOWS_OF_A_BLOCK] for at in range(0, len(numbers), WINDOWS_OF_A_BLOCK)
    ]
    num_clips = 0
    with closing(run_blocks(blocks, graph)) as tables:
        next(tables)
        began = time.perf_counter()
        for table in tables:
            num_clips += table.num_rows
    return num_clips / (time.perf_counter() - began)


def main(
    folder: Annotated[Path, typer.Option(help="Where the benchmark's videos are kept.")] = Path(
        "bench"
    ),
    stride: Annotated[float, typer.Option(help="Seconds between two clips.")] = 1.0,
    rounds: Annotated[int, typer.Option(help="Times each speed is measured, in turn.")] = 3,
) -> None:
    """Print a table."""
    console = Console()
    table = Table("metric", "value", title=f"a clip every {stride:g} s, {NUM_CPUS} CPUs")
    found = bench_embed(folder, stride_seconds=stride, rounds=rounds, console=console)
    for name, value in found.items():
        table.add_row(name, f"{value:.4g}")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
