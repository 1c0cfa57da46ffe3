"""Results of an experiment whose metrics are known."""

from collections.abc import Callable, Mapping

import numpy as np

from pipelines.experiments.arm import Arm
from pipelines.experiments.grid import Experiment
from pipelines.experiments.results import Results
from pipelines.trials.records import TrialRecord

Metrics = Mapping[str, float]


def results_of(
    experiment: Experiment,
    metrics: Callable[[Arm], Metrics],
    changes: Mapping[str, Metrics] | None = None,
) -> Results:
    """Three seeds of each arm, with a little noise; the metrics of some arms changed by name."""
    trials = []
    for number, arm in enumerate(experiment.arms):
        known = {**metrics(arm), **(changes or {}).get(arm.name, {})}
        for seed in range(3):
            noise = np.random.default_rng([number, seed])
            values = {
                key: value if "alarm" in key else value + 0.001 * noise.normal()
                for key, value in known.items()
            }
            record = TrialRecord(
                name=f"{arm.name}-s{seed}",
                setting=number,
                seed=seed,
                params={},
                state="finished",
                seconds=30.0,
                metrics=values,
            )
            trials.append(record)
    return Results.of(experiment.arms, trials, num_trials=experiment.num_trials)
