"""One training on moving digits, and what its encoder knew before it and knows after it."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from pipelines.evaluation import probes
from pipelines.evaluation.embed import pairs_at_hand
from pipelines.experiments.digits import VELOCITY, embedded, probed
from pipelines.experiments.trained import trained
from pipelines.training.learner import Learner
from pipelines.trials.trial import TrialJob, TrialRun, run_trial, train_on_videos

NUM_PAIRS = {"train": 1000, "val": 300, "test": 1000}
GEOMETRY = ("centre_norm", "sample_mean_norm", "residual_norm", "rankme")
"""Metrics of validation pairs, of the fresh encoder too."""

_starts: dict[tuple[str, str], dict[str, float]] = {}
"""Probed in this process, by index and weights."""


def run_stability_trial(trial: Mapping[str, Any], *, job: TrialJob) -> None:
    """What Tune runs: the training job of `adassl train`, evaluated at both its ends."""

    def body(this: TrialRun) -> dict[str, float]:
        return train_on_videos(this, judge)

    run_trial(trial, job=job, body=body)


def judge(trial: TrialRun) -> dict[str, float]:
    """Probes on test videos of the encoder as it is and as it was, and where the centre was.

    The centre of the trained encoder is that of the last validation (`val/centre_norm`).
    """
    learner, state = trained(trial)
    start = {**_probed_at_start(learner), **_geometry_at_start(learner)}
    learner.load_state_dict(state)
    return {
        **{f"start/{name}": value for name, value in start.items()},
        "test/collapse_alarm": state["history"][-1].get("alarm/collapse", 0.0),
        **{f"test/{name}": value for name, value in _probed(learner).items()},
    }


def _geometry_at_start(learner: Learner) -> dict[str, float]:
    """Of validation pairs under the fresh encoder, as `validate` measures the trained one.

    The running statistics of a fresh BatchNorm are those of no data (mean 0, variance 1): they are
    first taken from the same pairs. This learner must not train on.
    """
    pairs = pairs_at_hand(learner.config.data, "val", NUM_PAIRS["val"]).batches
    for module in learner.method.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            module.momentum = None  # the mean over all batches
    learner.method.train()
    with torch.no_grad():
        for batch in pairs:
            learner.method(learner.views(batch), step=0, generator=torch.Generator().manual_seed(0))
    found = learner.validate(pairs)
    return {name: found[name] for name in GEOMETRY}


def _probed_at_start(learner: Learner) -> dict[str, float]:
    """By the weights, for all methods begin with the encoder of their seed."""
    weights = learner.method.encoder.state_dict().values()
    digest = hashlib.sha256(b"".join(w.numpy().tobytes() for w in weights)).hexdigest()
    key = learner.config.data.index, digest
    if key not in _starts:
        _starts[key] = _probed(learner)
    return _starts[key]


def _probed(learner: Learner) -> dict[str, float]:
    """What the encoder knows of test videos: digit and velocity from h, the digit from unit z."""
    splits = embedded(learner, NUM_PAIRS)
    train, _, test = splits.values()
    near = probes.knn_probe(
        train.pairs.context,
        train.labels("digit"),
        test.pairs.context,
        test.labels("digit"),
        kind="class",
    )
    return {
        "digit": probed(splits, ["representation"], ["digit"], "class").score,
        "velocity": probed(splits, ["representation"], VELOCITY, "value").score,
        "digit_knn_z": near.score,
    }
