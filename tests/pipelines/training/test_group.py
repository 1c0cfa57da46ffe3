"""What the training refuses and decides before any worker starts."""

from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import RayActorError

from pipelines.cluster import Demand
from pipelines.config.run import ConfigError, RunConfig, TrainConfig, with_overrides
from pipelines.storage.checkpoints import CheckpointError
from pipelines.storage.remote import StorageError
from pipelines.storage.runs import RunFolder
from pipelines.tracking import Tracker
from pipelines.training.group import StopAtRepeating, repeats, train
from pipelines.training.learner import DivergedError
from pipelines.training.worker import best_value
from pipelines.video.pairs import TooManyFailuresError
from pipelines.video.splits import NoVideosError

CPU = Demand(num_workers=2, cpus_per_worker=1.0, gpus_per_worker=0, num_decoders=2)


def test_synchronised_batchnorm_without_gpus_is_refused(tmp_path: Path) -> None:
    config = with_overrides(RunConfig(), {"train.sync_batchnorm": True})
    tracker = Tracker.attach(f"sqlite:///{tmp_path}/mlflow.db", None)
    with pytest.raises(ConfigError, match="needs GPUs"):
        train(config, RunFolder(tmp_path / "run"), CPU, tracker)


@pytest.mark.parametrize(
    ("name", "metrics", "expected"),
    [
        ("val/loss", {"train/loss": 2.0, "val/loss": 1.0}, ("min", 1.0)),
        ("min:val/loss", {"train/loss": 2.0, "val/loss": 1.0}, ("min", 1.0)),
        ("max:val/r2", {"train/loss": 2.0, "val/r2": 0.5}, ("max", 0.5)),
        ("max:val/r2", {"train/loss": 2.0}, ("min", 2.0)),
        ("max:train/rankme", {"train/loss": 2.0, "train/rankme": 7.0}, ("max", 7.0)),
    ],
)
def test_the_best_is_by_the_metric_asked_for(
    name: str, metrics: dict[str, Any], expected: tuple[str, float]
) -> None:
    assert best_value(TrainConfig(best_metric=name), metrics) == expected


def test_a_best_metric_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"train.best_metric=val/los is none of .*val/loss"):
        best_value(TrainConfig(best_metric="val/los"), {"train/loss": 2.0, "val/loss": 1.0})
    for name in ("most:val/loss", "max:", ""):
        with pytest.raises(ConfigError, match=r"write it as max:val/next_clip_nats"):
            with_overrides(RunConfig(), {"train.best_metric": name})


@pytest.mark.parametrize(
    ("error", "repeating"),
    [
        (ConfigError("a setting"), True),
        (DivergedError("a loss"), True),
        (TooManyFailuresError("missing videos"), True),
        (NoVideosError("no videos"), True),
        (ValueError("a shape"), True),
        (CheckpointError("a full disk"), False),
        (StorageError("a store that is away"), False),
        (RuntimeError("connection closed by peer"), False),
        (RayActorError(), False),
    ],
    ids=lambda case: type(case).__name__,
)
def test_what_would_repeat_is_not_tried_again(error: Exception, repeating: bool) -> None:
    assert repeats(error) == repeating
    if repeating:
        with pytest.raises(type(error)):
            StopAtRepeating().after_exception(None, {1: error})
    else:
        StopAtRepeating().after_exception(None, {1: error})
