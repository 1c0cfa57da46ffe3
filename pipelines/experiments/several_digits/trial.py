"""One training on scenes of one to three digits, evaluated for each digit by itself.

Probes are fitted on training videos, their regularisation is chosen on validation videos, and the
test videos are used once, at the end. Nothing of it reaches the encoder.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.config.run import RunConfig, with_overrides
from pipelines.evaluation.evaluate import label_free
from pipelines.evaluation.probes import Kind
from pipelines.experiments.digits import VELOCITY, Splits, embedded, probed
from pipelines.experiments.moving_digits.trial import CHANGE
from pipelines.experiments.several_digits.alone import future_metrics
from pipelines.experiments.trained import trained
from pipelines.sources.moving_digits import column_of
from pipelines.trials.trial import TASK, TrialJob, TrialRun, run_trial, train_on_videos

NUM_PAIRS = {"train": 2000, "val": 600, "test": 1500}
DIGITS, HIDDEN = f"{TASK}digits", f"{TASK}editor_hidden_dim"
"""The settings that name the split that judges, how many digits a scene has, and the size of the
editor's hidden layer."""
PROBED: Mapping[str, tuple[Sequence[str], Sequence[str], Kind]] = {
    "digit": (("representation",), ("digit",), "class"),
    "velocity": (("representation",), VELOCITY, "value"),
    "change_pair": (("context", "target"), CHANGE, "value"),
    "change_edited": (("edited",), CHANGE, "value"),
    "change_latent": (("context", "latent"), CHANGE, "value"),
}
"""Metric → what is read, what is asked of each digit, and of which kind it is."""


def run_several_digits_trial(trial: Mapping[str, Any], *, job: TrialJob) -> None:
    """What Tune runs: train on scenes of the trial's number of digits, and evaluate."""

    def body(this: TrialRun) -> dict[str, float]:
        config = config_of(this.config, this.task)
        return train_on_videos(this.with_config(config), judge)

    run_trial(trial, job=job, body=body)


def config_of(config: RunConfig, task: Mapping[str, Any]) -> RunConfig:
    """The config of a trial, with the index of its scenes and the size of its editor."""
    return with_overrides(
        config,
        {
            "data.index": config.data.index.replace("{digits}", str(task["digits"])),
            "method.editor_hidden_dims": [int(task["editor_hidden_dim"])],
        },
    )


def judge(trial: TrialRun) -> dict[str, float]:
    """Probes of each digit, and futures that vary one digit alone, on the split of the trial.

    The score, by which settings are chosen, is the mean over the digits of what h knows of class
    and velocity and (z, r), or (z, z+) where there is no r, of the change.
    """
    learner, state = trained(trial)
    learner.load_state_dict(state)
    split, num_digits = trial.split, int(trial.task["digits"])
    needed = {name: NUM_PAIRS[name] for name in dict.fromkeys(("train", "val", split))}
    found = embedded(learner, needed)
    splits = {**found, "test": found[split]}
    metrics = {**label_free(splits["test"].pairs), **probe_metrics(splits, num_digits)}
    change = metrics.get("change_latent", metrics["change_pair"])
    metrics["score"] = float(np.mean([metrics["digit"], metrics["velocity"], change]))
    if split == "test" and splits["test"].pairs.latent is not None:
        metrics |= future_metrics(
            learner, splits, num_digits, trial.folder, trial.config.train.seed
        )
    return {f"{split}/{name}": value for name, value in metrics.items()}


def probe_metrics(splits: Splits, num_digits: int) -> dict[str, float]:
    """Scores of linear probes for each digit, `digit_1` and so on, and their means, `digit`."""
    metrics: dict[str, float] = {}
    for name, (sources, asked, kind) in PROBED.items():
        if "latent" in sources and splits["train"].pairs.latent is None:
            continue
        scores = [
            probed(splits, sources, [column_of(each, number) for each in asked], kind).score
            for number in range(1, num_digits + 1)
        ]
        metrics |= {f"{name}_{number}": score for number, score in enumerate(scores, 1)}
        metrics[name] = float(np.mean(scores))
    return metrics
