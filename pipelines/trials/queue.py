"""What Tune asks for its next trial: every trial that has not ended, each once, setting by setting.

The order is a function of the store alone, so a sweep that was cut off, however hard, goes on with
the trials that are left: Tune itself is started anew each time and keeps nothing.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from ray.tune.search import Searcher

from pipelines.trials.records import TrialRecord, Value
from pipelines.trials.store import FAILURES, TrialStore

Decide = Callable[[int], dict[str, Value]]
"""The setting of a number."""


class TrialQueue(Searcher):
    """Hands out the trials of a sweep that are left to run."""

    def __init__(self, store: TrialStore, decide: Decide, *, first_seed: int) -> None:
        """Count the seeds of each setting from `first_seed`; `decide` makes settings to come."""
        super().__init__()
        self._store, self._decide, self._first_seed = store, decide, first_seed
        self._left = self._trials_left()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as in `save`."""
        return {}

    def suggest(self, trial_id: str) -> Any:
        """The next trial, as the config of a Tune trial, or that there is none."""
        trial = next(self._left, None)
        if trial is None:
            return Searcher.FINISHED
        self._store.write(replace(trial, state="running", reason="", started=time.time()))
        return {
            "name": trial.name,
            "params": dict(trial.params),
            "seed": trial.seed,
            "is_baseline": trial.is_baseline,
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: the callback writes down how a trial ended."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store holds it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the store holds it."""

    def _trials_left(self) -> Iterator[TrialRecord]:
        sweep = self._store.sweep
        assert sweep is not None
        for number in sweep.numbers:
            if number >= len(self._store.settings):
                self._store.add_setting(self._decide(number))
            for seed in range(self._first_seed, self._first_seed + sweep.seeds_of(number)):
                trial = self._store.trial(number, seed)
                if not trial.has_ended and trial.failures < FAILURES:
                    yield trial
