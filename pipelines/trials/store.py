"""A sweep's folder, from which it goes on whatever ended it.

OUT/NAME/sweep.json             what must not change under the name, and the parent run in MLflow
OUT/NAME/settings.json          the sampled values of each setting, in the order of their numbers
OUT/NAME/trials/003-s1/         a run's folder, and in it trial.json: how far the trial came
OUT/NAME/report/                leaderboard, pictures and the page

Only the sweep's driver writes the first two and trial.json; a trial writes its run's folder.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pipelines.config.run import ConfigError, flatten
from pipelines.storage.folder import Folder
from pipelines.trials.records import BASELINE, SweepRecord, TrialRecord, Value

FAILURES = 3
"""Commands in which a trial may fail before it is left alone."""
_MAY_CHANGE = (
    "num_settings",  # it may grow
    "tracking_uri",
    "mlflow_run_id",
    "config.data.index",  # of which the digest stays
    "config.alarms.",
    "config.cluster.",
    "config.tracking.",
)


class TrialStore:
    """What is known of a sweep, in memory and on disk alike."""

    def __init__(self, folder: Folder) -> None:
        """Read what is there."""
        self.folder = folder
        content = folder.read_json("sweep.json")
        self.sweep = SweepRecord(**content) if content else None
        settings: list[dict[str, Value]] = folder.read_json("settings.json") or []
        self.settings = settings
        self.trials: dict[str, TrialRecord] = {}
        for name in folder.child("trials").folders():
            found = self.trial_folder(name).read_json("trial.json")
            if found:
                self.trials[name] = TrialRecord.from_json(found)

    def register(self, sweep: SweepRecord) -> None:
        """Take the name for this sweep, or go on where the same sweep has it.

        Raises:
            ConfigError: if the name belongs to another, naming what differs.
        """
        if self.sweep is not None:
            changed = _difference(self.sweep, sweep)
            if changed:
                raise ConfigError(
                    f"{self.folder.name} was started as another sweep: {changed}. "
                    f"Give this one another --name, or delete {self.folder}"
                )
        self.keep(sweep)

    def keep(self, sweep: SweepRecord) -> None:
        """Write the sweep's record."""
        self.sweep = sweep
        self.folder.write_json("sweep.json", asdict(sweep))

    def add_setting(self, params: Mapping[str, Value]) -> None:
        """Write a setting down, before any trial of it is made."""
        self.settings.append(dict(params))
        self.folder.write_json("settings.json", self.settings)

    def write(self, trial: TrialRecord) -> None:
        """Write a trial's record."""
        self.trials[trial.name] = trial
        self.trial_folder(trial.name).write_json("trial.json", trial.to_json())

    def trial_folder(self, name: str) -> Folder:
        """A trial's folder."""
        return self.folder.child("trials", name)

    def trial(self, setting: int, seed: int) -> TrialRecord:
        """A trial's record, a new one where it never started."""
        assert self.sweep is not None
        name = trial_name(setting, seed, self.sweep.names)
        if name in self.trials:
            return self.trials[name]
        is_baseline = setting == BASELINE
        params = self.sweep.baseline if is_baseline else self.settings[setting]
        return TrialRecord(name=name, setting=setting, seed=seed, params=params or {})

    def all_trials(self) -> list[TrialRecord]:
        """Every trial that ever started, by its name, the baseline last."""
        return [self.trials[name] for name in sorted(self.trials)]


def trial_name(setting: int, seed: int, names: Sequence[str] = ()) -> str:
    """A trial's name: the name or number of its setting, base for the baseline's, and its seed."""
    if setting == BASELINE:
        return f"base-s{seed}"
    return f"{names[setting] if names else f'{setting:03}'}-s{seed}"


def _difference(before: SweepRecord, now: SweepRecord) -> str:
    old, new = _flat(before), _flat(now)
    changed = [
        f"{key} was {old.get(key)}, now {new.get(key)}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key) and not key.startswith(_MAY_CHANGE)
    ]
    if now.num_settings < before.num_settings:
        changed.append(f"num_settings was {before.num_settings}, now {now.num_settings}")
    return "; ".join(changed)


def _flat(sweep: SweepRecord) -> dict[str, Any]:
    return flatten(json.loads(json.dumps(asdict(sweep))))
