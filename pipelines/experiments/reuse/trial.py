"""One training, and what its encoder knows of labelled test videos."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipelines.config.run import with_overrides
from pipelines.evaluation.embed import embed, pairs_at_hand
from pipelines.evaluation.factors import CHANGE, factors_of
from pipelines.evaluation.questions import questions
from pipelines.experiments.trained import trained
from pipelines.recipes import recipe
from pipelines.trials.trial import TASK, TrialJob, TrialRun, run_trial, train_on_videos
from pipelines.video.moved import find_indexed

INDEX = f"{TASK}index"
"""The setting that names which videos an arm trains on."""
NUM_PAIRS = {"train": 1200, "test": 800}


def run_reuse_trial(trial: Mapping[str, Any], *, job: TrialJob) -> None:
    """What Tune runs: the training job of `adassl train`, and probes of its encoder."""

    def body(this: TrialRun) -> dict[str, float]:
        group = str(this.task["index"])
        index = this.config.data.index.replace("{group}", group)
        config = with_overrides(this.config, {"data.index": index, **settings_of(group)})
        return train_on_videos(this.with_config(config), judge)

    run_trial(trial, job=job, body=body)


def settings_of(group: str) -> dict[str, Any]:
    """What the videos of a group need: those of one's own what the recipe for any videos has."""
    if group == "digits":
        return {}
    any_videos = recipe("videos")
    names = ("gap", "gap_unit", "crop", "grayscale", "start_multiple")
    return {
        **{f"data.{name}": getattr(any_videos.data, name) for name in names},
        "backbone.name": any_videos.backbone.name,
        "optim.learning_rate": any_videos.optim.learning_rate,
    }


def judge(trial: TrialRun) -> dict[str, float]:
    """Linear probes of h: accuracy of classes, R² of values, those below 0 as 0.

    The score is the mean over classes and values; changes of values, which h cannot know, are left
    out.
    """
    learner, state = trained(trial)
    learner.load_state_dict(state)
    same = {"reuse": 1, "moments_per_video": 1, "shuffle_memory_mib": 1024}  # decoded once for all
    data = learner.config.data.model_copy(update=same)
    index = find_indexed(data)
    sides = {}
    for split, most in NUM_PAIRS.items():
        pairs = embed(learner, pairs_at_hand(data, split, most))
        sides[split] = pairs, factors_of(pairs, index.select(split=split))
    (train, known), (test, factors) = sides.values()
    found: dict[str, float] = {}
    for asked in questions(known, factors):
        answer = asked.linear(train.representation, test.representation, groups=train.path)
        found |= {name: max(0.0, value) for name, value in answer.items() if CHANGE not in name}
    final = state["history"][-1]
    return {
        "test/score": float(np.mean(list(found.values()))),
        **{f"test/{name}": value for name, value in found.items()},
        "stream/decoded_frames_per_pair": 1 / final["data/pairs_per_decoded_frame"],
    }
