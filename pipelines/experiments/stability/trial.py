"""One training on moving digits, and what its encoder knew before it and knows after it."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch

from pipelines.evaluation import probes
from pipelines.evaluation.embed import embed, pairs_at_hand
from pipelines.evaluation.evaluate import factors_of
from pipelines.storage.runs import newest_state
from pipelines.training.learner import Learner
from pipelines.trials.trial import TrialJob, TrialRun, run_trial, train_on_videos
from pipelines.video.index import load_index

NUM_PAIRS = {"train": 1000, "val": 300, "test": 1000}
GEOMETRY = ("centre_norm", "sample_mean_norm", "residual_norm", "residual_spread", "rankme")
"""Figures of the training batches whose first and last values stand in the table."""
PROBED: tuple[tuple[str, str | list[str], probes.Kind], ...] = (
    ("digit", "digit", "class"),
    ("velocity", ["velocity_x", "velocity_y"], "value"),
)

_starts: dict[tuple[str, str], dict[str, float]] = {}
"""Probed in this process, by index and weights."""


def run_stability_trial(trial: Mapping[str, Any], *, job: TrialJob) -> None:
    """What Tune runs: the training job of `adassl train`, judged at both its ends."""

    def body(this: TrialRun) -> dict[str, float]:
        return train_on_videos(this, judge)

    run_trial(trial, job=job, body=body)


def judge(trial: TrialRun) -> dict[str, float]:
    """Probes on test videos of the encoder as it is and as it was, and where the centre was."""
    state = newest_state(trial.folder)
    assert state is not None
    torch.set_num_threads(1)
    learner = Learner(trial.config, torch.device("cpu"))
    figures = {f"start/{name}": value for name, value in _probed_at_start(learner).items()}
    first, last = state["history"][0], state["history"][-1]
    figures["test/collapse_alarm"] = last.get("alarm/collapse", 0.0)
    figures |= {f"start/{name}": first[f"train/{name}"] for name in GEOMETRY}
    learner.load_state_dict(state)
    return figures | {f"test/{name}": value for name, value in _probed(learner).items()}


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
    data = learner.config.data.model_copy(update={"views": "time"})
    splits = []
    for split, most in NUM_PAIRS.items():
        pairs = embed(learner, pairs_at_hand(data, split, most))
        splits.append((pairs, factors_of(pairs, load_index(data.index).select(split=split))))
    (fit, fit_labels), (choose, choose_labels), (test, test_labels) = splits
    figures = {}
    for name, columns, kind in PROBED:
        figures[name] = probes.linear_probe(
            fit.representation,
            fit_labels[columns].to_numpy(),
            test.representation,
            test_labels[columns].to_numpy(),
            kind=kind,
            validation=(choose.representation, choose_labels[columns].to_numpy()),
        ).score
    near = probes.knn_probe(
        fit.context,
        fit_labels["digit"].to_numpy(),
        test.context,
        test_labels["digit"].to_numpy(),
        kind="class",
    )
    return {**figures, "digit_knn_z": near.score}
