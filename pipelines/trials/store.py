"""A sweep's folder, from which it goes on whatever ended it.

OUT/NAME/sweep.json             what must not change under the name, and the parent run in MLflow
OUT/NAME/settings.json          the sampled values of each setting, in the order of their numbers
OUT/NAME/trials/003-s1/         a run's folder, and in it trial.json: how far the trial came
OUT/NAME/report/                leaderboard, pictures and the page

Only the sweep's driver writes the first two and trial.json; a trial writes its run's folder.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.config.changes import changes, with_defaults
from pipelines.storage.folder import Folder
from pipelines.storage.runs import data_changes, refuse_changes
from pipelines.trials.records import BASELINE, SweepRecord, TrialRecord, Value

FAILURES = 3
"""Commands in which a trial may fail before it is left alone."""
_MAY_CHANGE = ("num_settings", "tracking_uri", "mlflow_run_id", "data_digest", "config")
"""Of a sweep's record: apart from it come the data and the config, as for runs; more settings may
be added."""


class TrialStore:
    """What is known of a sweep, in memory and on disk alike."""

    def __init__(self, folder: Folder) -> None:
        """Read what is there."""
        self.folder = folder
        content = folder.read_json("sweep.json")
        self.sweep = SweepRecord.from_json(content) if content else None
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
            refuse_changes(self.folder, _changes(self.sweep, sweep))
        self.keep(sweep)

    def keep(self, sweep: SweepRecord) -> None:
        """Write the sweep's record."""
        self.sweep = sweep
        self.folder.write_json("sweep.json", sweep.to_json())

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
        name = trial_name(setting, seed, self.sweep.setting_names)
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


def _changes(before: SweepRecord, now: SweepRecord) -> list[str]:
    fewer = now.num_settings < before.num_settings
    return [
        *changes(_fixed(before), _fixed(now), _MAY_CHANGE),
        *([f"num_settings was {before.num_settings}, now {now.num_settings}"] if fewer else []),
        *changes(with_defaults(before.config), with_defaults(now.config)),
        *data_changes(before.data_digest, now.data_digest),
    ]


def _fixed(sweep: SweepRecord) -> dict[str, Any]:
    """The record without the reasons for its ranges, which are only words."""
    content = sweep.to_json()
    for range_ in content["sampled"].values():
        range_.pop("why", None)
    return content
