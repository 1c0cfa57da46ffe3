"""Where the centre is before the first step, measured as validation measures it at the end."""

import numpy as np
import pytest
import torch

from adassl import diagnostics
from pipelines.config.run import with_overrides
from pipelines.evaluation.embed import DecodedPairs
from pipelines.experiments import catalogue
from pipelines.experiments.stability import trial as stability
from pipelines.training.learner import Learner
from pipelines.video.batch import PairBatch


def test_the_centre_at_the_start_is_not_that_of_empty_running_statistics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = catalogue.load("stability", quick=False).config
    config = with_overrides(config, {"data.frame_size": 16, "train.precision": "float32"})
    random = np.random.default_rng(0)
    clips = random.integers(0, 256, (2, 32, 3, 16, 16, 1), np.uint8)
    rows = np.arange(32)
    batch = PairBatch(
        row=rows, video=rows, start=rows, context=clips[0], target=clips[1], surrogate=None
    )

    def decoded(*_: object) -> DecodedPairs:
        return DecodedPairs(rows=None, num_pairs=32, batches=[batch])  # type: ignore[arg-type]

    monkeypatch.setattr(stability, "pairs_at_hand", decoded)

    learner = Learner(config, torch.device("cpu"))
    with_empty_statistics = learner.validate([batch])["centre_norm"]
    learner.method.train()
    with torch.no_grad():
        output = learner.method(learner.views(batch), step=0)
    by_batch = float(diagnostics.centre_norm(torch.cat([output.context, output.target])))
    found = stability._geometry_at_start(Learner(config, torch.device("cpu")))
    assert found["centre_norm"] == pytest.approx(by_batch, abs=0.02)
    assert with_empty_statistics > by_batch + 0.1
