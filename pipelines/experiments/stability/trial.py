"""One training on moving digits, and what its encoder knew before it and knows after it."""

import hashlib
from collections.abc import Mapping
from typing import Any

from pipelines.evaluation import probes
from pipelines.experiments.digits import VELOCITY, embedded, probed, trained
from pipelines.training.learner import Learner
from pipelines.trials.trial import TrialJob, TrialRun, run_trial, train_on_videos

NUM_PAIRS = {"train": 1000, "val": 300, "test": 1000}
GEOMETRY = ("centre_norm", "sample_mean_norm", "residual_norm", "residual_spread", "rankme")
"""Metrics of the training batches whose first and last values are in the table."""

_starts: dict[tuple[str, str], dict[str, float]] = {}
"""Probed in this process, by index and weights."""


def run_stability_trial(trial: Mapping[str, Any], *, job: TrialJob) -> None:
    """What Tune runs: the training job of `adassl train`, evaluated at both its ends."""

    def body(this: TrialRun) -> dict[str, float]:
        return train_on_videos(this, judge)

    run_trial(trial, job=job, body=body)


def judge(trial: TrialRun) -> dict[str, float]:
    """Probes on test videos of the encoder as it is and as it was, and where the centre was."""
    learner, state = trained(trial)
    metrics = {f"start/{name}": value for name, value in _probed_at_start(learner).items()}
    first, last = state["history"][0], state["history"][-1]
    metrics["test/collapse_alarm"] = last.get("alarm/collapse", 0.0)
    metrics |= {f"start/{name}": first[f"train/{name}"] for name in GEOMETRY}
    learner.load_state_dict(state)
    return metrics | {f"test/{name}": value for name, value in _probed(learner).items()}


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
