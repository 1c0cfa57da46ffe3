"""Small runs that end in a second: trained by a `Learner` alone, saved as any run is."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines import tracking
from pipelines.config.run import RunConfig, flatten, with_overrides
from pipelines.storage.runs import RunFolder
from pipelines.tracking import Tracker
from pipelines.training.learner import Learner
from pipelines.video.batch import PairBatch

FRAMES, SIDE = 4, 32
SMALL: dict[str, Any] = {
    "data.frame_size": SIDE,
    "data.frames_per_clip": FRAMES,
    "backbone.hidden_dims": (4, 8, 12),
    "method.projector_hidden_dims": (8,),
    "method.embedding_dim": 6,
    "method.latent_dim": 2,
    "method.latent_hidden_dims": (8,),
    "method.editor_hidden_dims": (8,),
    "train.global_batch_size": 4,
    "train.checkpoint_every": 2,
}


def pairs(channels: int = 3, seed: int = 0) -> PairBatch:
    """Four pairs of noise."""
    rng = np.random.default_rng(seed)
    shape = (4, FRAMES, SIDE, SIDE, channels)
    context, target = (rng.integers(0, 256, shape).astype(np.uint8) for _ in range(2))
    numbers = np.arange(4)
    return PairBatch(
        row=numbers, video=numbers, start=numbers, context=context, target=target, surrogate=None
    )


def small_run(
    where: Path,
    *,
    index: Path | None = None,
    values: tuple[float, ...] = (1.0, 2.0, 1.5),
    mlflow: bool | str = False,
    digest: str = "d" * 32,
    changes: Mapping[str, Any] | None = None,
) -> tuple[RunFolder, Learner]:
    """A run with a checkpoint every two steps, of these values of its best metric.

    `mlflow` is a tracking URI, or True for SQLite beside the run.

    Returns:
        Its folder, and its learner as it ended.
    """
    torch.manual_seed(0)
    settings = {**SMALL, "train.steps": 2 * len(values), **(changes or {})}
    if index is not None:
        settings["data.index"] = str(index)
    config = with_overrides(RunConfig(), settings)
    run = RunFolder(where)
    record = run.register(config, digest)
    learner = Learner(config, torch.device("cpu"))
    history: list[dict[str, float]] = []
    for number, value in enumerate(values):
        for step in (0, 1):
            learner.train_step(pairs(config.data.channels, seed=2 * number + step))
        entry = {"val/next_clip_nats": value, "train/loss": 1.0, "train/ssl": 1.0}
        history.append({"step": float(learner.step), **entry})
        state = {**learner.state_dict(), "history": list(history)}
        by = config.train.best_metric
        run.checkpoints.save(learner.step, state, best_value=value, mode="max", by=by)
    run.add_to_summary(
        {**history[-1], "test/digit/linear_accuracy": 0.75, "test/latent_use/00": 0.5}
    )
    if mlflow:
        uri = mlflow if isinstance(mlflow, str) else tracking.default_uri(where.parent)
        with Tracker.start(uri, "pairs", where.name) as tracker:
            tracker.log_params(flatten(config.model_dump(mode="json")))
            assert tracker.run_id
            run.keep(replace(record, tracking_uri=uri, mlflow_run_id=tracker.run_id))
    learner.method.eval()
    return run, learner
