"""What a trial of an experiment has trained, to be evaluated in its process."""

from collections.abc import Mapping
from typing import Any

import torch

from pipelines.storage.runs import newest_state
from pipelines.training.learner import Learner
from pipelines.trials.trial import TrialRun


def trained(trial: TrialRun) -> tuple[Learner, Mapping[str, Any]]:
    """A fresh learner of a trial's config, and the state that it was trained to."""
    state = newest_state(trial.folder)
    assert state is not None
    torch.set_num_threads(1)
    return Learner(trial.config, torch.device("cpu")), state
