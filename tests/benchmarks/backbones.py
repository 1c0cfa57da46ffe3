"""Training steps per second of each backbone: `python -m tests.benchmarks.backbones`.

The method is that of the recipe `videos`, on pairs of noise that are in memory already.
"""

import time
from statistics import median
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from pipelines.config.run import with_overrides
from pipelines.recipes import recipe
from pipelines.training.device import fast_kernels
from pipelines.training.learner import Learner
from tests.benchmarks.step import batch_of

CASES: dict[str, dict[str, Any]] = {
    "conv3d": {},
    "conv3d_pooled": {},
    "resnet18": {},
    "resnet50": {},
    "frames_resnet18": {},
    "r2plus1d_18": {},
    "vit_ti": {},
    "vit_ti, half of the tokens": {"backbone.token_drop": 0.5},
    "vit_s": {},
    "vit_b": {},
}


def main(
    size: Annotated[int, typer.Option(help="Side of a frame in pixels.")] = 64,
    frames: Annotated[int, typer.Option(help="Frames of a clip.")] = 3,
    batch: Annotated[int, typer.Option(help="Pairs of a step.")] = 64,
    steps: Annotated[int, typer.Option(help="Steps of each that are timed.")] = 5,
    only: Annotated[str, typer.Option(help="Backbones whose names begin so.")] = "",
) -> None:
    """Print a table."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    threads = f"{torch.get_num_threads()} threads" if device.type == "cpu" else str(device)
    title = f"{batch} pairs of {frames} frames of {size} pixels, {threads}"
    table = Table("backbone", "million weights", "steps/s", title=title)
    for name, changes in CASES.items():
        if not name.startswith(only):
            continue
        changes = {
            "backbone.name": name.partition(",")[0],
            "backbone.hidden_dims": None,
            "data.frame_size": size,
            "data.frames_per_clip": frames,
            "train.global_batch_size": batch,
            **changes,
        }
        learner = Learner(with_overrides(recipe("videos"), changes), device)
        pairs, seconds = batch_of(learner.config, batch), []
        with fast_kernels(device, learner.config.train.precision):
            for number in range(steps + 2):
                began = time.perf_counter()
                learner.train_step(pairs)
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if number >= 2:
                    seconds.append(time.perf_counter() - began)
        count = sum(p.numel() for p in learner.method.encoder.backbone.parameters()) / 1e6
        table.add_row(name, f"{count:.1f}", f"{1 / median(seconds):.2f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
