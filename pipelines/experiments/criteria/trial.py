"""One training, judged with labels as the experiments on its videos judge theirs."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipelines.config.run import RunConfig, with_overrides
from pipelines.experiments.moving_digits.trial import judge as judge_digits
from pipelines.experiments.real_video.trial import AUGMENTED
from pipelines.experiments.real_video.trial import judge as judge_robot
from pipelines.recipes import recipe, settings_of
from pipelines.trials.trial import TrialJob, TrialRun, run_trial, train_on_videos

TARGETS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "digits": {
        "h": ("digit/linear", "velocity/linear"),
        "change": ("change_edited/linear",),
        "mean": ("digit/linear", "velocity/linear", "change_edited/linear"),
    },
    "robot": {
        "h": ("arm/h", "hand/h"),
        "change": ("change/edited",),
        "mean": ("arm/h", "hand/h", "change/edited"),
    },
}
"""What a setting is judged by with labels: means of test metrics, those below 0 taken as 0."""
FORECAST = "forecast/energy"
"""A loss, where futures are sampled and their true distribution is known."""
TARGET = "test/target/"
OF_BOTH = ("index", "moments_per_video")
"""Settings of the data that are the trial's own, not those of the recipe for its videos."""


def run_judged_trial(trial: Mapping[str, Any], *, job: TrialJob) -> None:
    """What Tune runs: the training job of `adassl train`, and probes with labels."""

    def body(this: TrialRun) -> dict[str, float]:
        group = str(this.task["index"])
        index = this.config.data.index.replace("{group}", group)
        config = with_overrides(this.config, {"data.index": index})
        if group == "robot":
            config = as_videos(config, this.task)
        return train_on_videos(this.with_config(config), judge)

    run_trial(trial, job=job, body=body)


def as_videos(config: RunConfig, task: Mapping[str, Any]) -> RunConfig:
    """A setting with the data and the encoder of the recipe `videos` in place of the digits'."""
    own = {name: getattr(config.data, name) for name in OF_BOTH}
    any_videos = recipe("videos")
    data = any_videos.data.model_copy(update=own)
    changed = config.model_copy(update={"data": data, "backbone": any_videos.backbone})
    views = settings_of(AUGMENTED[str(task["views"])])
    return with_overrides(changed, {"method.surrogate_form": "both", **views})


def judge(trial: TrialRun) -> dict[str, float]:
    """What the experiment on the same videos measures, and from it `test/target/…`."""
    group = str(trial.task["index"])
    metrics = {"digits": judge_digits, "robot": judge_robot}[group](trial)
    targets = {
        name: float(np.mean([max(0.0, metrics[f"test/{part}"]) for part in parts]))
        for name, parts in TARGETS[group].items()
    }
    if f"test/{FORECAST}" in metrics:
        targets["forecast"] = -metrics[f"test/{FORECAST}"]
    return metrics | {f"{TARGET}{name}": value for name, value in targets.items()}
