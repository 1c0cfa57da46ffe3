"""What r and the surrogate add to a training step of the small 3D CNN, on one thread."""

import time
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.console import Console

from pipelines.config.run import RunConfig, with_overrides
from pipelines.recipes import recipe
from pipelines.training.learner import Learner
from pipelines.video.batch import PairBatch

BATCH, STEPS = 64, 12

CASES: dict[str, dict[str, Any]] = {
    "no_r": {"method.latent": "none", "data.surrogate": False},
    "r": {"data.surrogate": False},
    "r_surrogate": {},
}


def bench_step(*, rounds: int, console: Console) -> dict[str, float]:
    """Shares of a step, from steps of the cases taken in turn; the same editor without r is 1."""
    torch.set_num_threads(1)
    configs = {
        name: with_overrides(recipe("moving-digits"), changes) for name, changes in CASES.items()
    }
    learners = {name: Learner(c, torch.device("cpu")) for name, c in configs.items()}
    batches = {name: batch_of(config) for name, config in configs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in CASES}
    for number in range(STEPS * rounds):
        for name, learner in learners.items():
            began = time.perf_counter()
            learner.train_step(batches[name])
            if number >= 5:
                seconds[name].append(time.perf_counter() - began)
    console.print(f"{STEPS * rounds} steps of each case in turn", highlight=False)
    figures = _seconds_of_metrics(learners["r"], batches["r"])
    no_r, r, r_surrogate = (np.asarray(seconds[name]) for name in CASES)
    return {
        "latent_share_of_step": float(median(r / no_r)) - 1,
        "surrogate_share_of_step": float(median(r_surrogate / r)) - 1,
        "step_seconds": float(median(r)),
        "diagnostics_share_of_step": figures / configs["r"].train.log_every / float(median(r)),
    }


def _seconds_of_metrics(learner: Learner, batch: PairBatch) -> float:
    """The median time of the figures that a logged step gives; a run logs one in `log_every`."""
    output, seconds = learner.train_step(batch), []
    for _ in range(STEPS):
        began = time.perf_counter()
        learner.metrics(output)
        seconds.append(time.perf_counter() - began)
    return float(median(seconds))


def batch_of(config: RunConfig, size: int = BATCH) -> PairBatch:
    """Pairs of noise."""
    channels, frames, height, width = config.data.view_shape
    shape = (3, size, frames, height, width, channels)
    views = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return PairBatch(
        row=np.arange(size),
        video=np.arange(size),
        start=np.zeros(size, np.int64),
        context=views[0],
        target=views[1],
        surrogate=views[2] if config.data.surrogate else None,
    )
