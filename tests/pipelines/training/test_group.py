"""What the training refuses and decides before any worker starts."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.cluster import Demand
from pipelines.config.run import ConfigError, RunConfig, TrainConfig, with_overrides
from pipelines.storage.runs import RunFolder
from pipelines.tracking import Tracker
from pipelines.training.group import train
from pipelines.training.worker import best_value

CPU = Demand(num_workers=2, cpus_per_worker=1.0, gpus_per_worker=0, num_decoders=2)


def test_synchronised_batchnorm_without_gpus_is_refused(tmp_path: Path) -> None:
    config = with_overrides(RunConfig(), {"train.sync_batchnorm": True})
    tracker = Tracker.attach(f"sqlite:///{tmp_path}/mlflow.db", None)
    with pytest.raises(ConfigError, match="needs GPUs"):
        train(config, RunFolder(tmp_path / "run"), CPU, tracker)


@pytest.mark.parametrize(
    ("name", "metrics", "expected"),
    [
        ("val/loss", {"train/loss": 2.0, "val/loss": 1.0}, 1.0),
        ("val/loss", {"train/loss": 2.0}, 2.0),
        ("train/alignment", {"train/loss": 2.0, "train/alignment": 0.5}, 0.5),
    ],
)
def test_the_best_is_by_the_metric_asked_for(
    name: str, metrics: dict[str, Any], expected: float
) -> None:
    assert best_value(TrainConfig(best_metric=name), metrics) == expected


def test_a_best_metric_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"train.best_metric=val/los is none of .*val/loss"):
        best_value(TrainConfig(best_metric="val/los"), {"train/loss": 2.0, "val/loss": 1.0})
