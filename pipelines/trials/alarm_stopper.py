"""Ending trials that have raised an alarm."""

from collections.abc import Collection
from typing import Any

from ray import tune

from pipelines.config.alarms import AlarmName
from pipelines.training.alarms import raised_in


class AlarmStopper(tune.Stopper):
    """Ends a trial that has raised one of some alarms: what has collapsed does not come back.

    Never the baseline, which the others are held against.
    """

    def __init__(self, names: Collection[AlarmName]) -> None:
        """The alarms that end a trial."""
        self._names = tuple(names)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether this report of a trial is its last."""
        return not result["is_baseline"] and bool(raised_in(result["metrics"], self._names))

    def stop_all(self) -> bool:
        """Never for the sake of one."""
        return False
