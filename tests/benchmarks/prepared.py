"""Streams from 1080p files with a key frame every 250 frames, and from their prepared copies."""

from pathlib import Path

from rich.console import Console

from pipelines.video.prepare import prepare
from pipelines.video.transcode import CopySettings
from tests.benchmarks.footage import large_footage
from tests.benchmarks.streams import STEADY, StreamRun, ray_up, schedule_of

SIDES = (64, 128)
"""Of the frames that training asks for, pixels."""
BATCH = 4


def bench_prepared(folder: Path, *, console: Console) -> dict[str, float]:
    """Pairs/s of copies against those of their originals, in turn, at each size."""
    originals = large_footage(folder, console)
    metrics: dict[str, float] = {}
    with ray_up():
        summary = prepare(
            folder / "large.parquet",
            folder / "large_copies",
            CopySettings(short_side=max(SIDES)),
            console=console,
        )
        for side in SIDES:
            before, after = (
                StreamRun(schedule_of(index, batch=BATCH, frame_size=side)).measure(STEADY).pairs
                for index in (originals, summary.index)
            )
            metrics[f"prepared_over_originals_{side}px"] = after / before
            metrics[f"prepared_pairs_per_second_{side}px"] = after
    copied = int(summary.index.column("size_bytes").sum())
    return metrics | {"prepared_share_of_bytes": copied / summary.original_bytes}
