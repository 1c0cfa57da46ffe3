"""What an experiment compares: a method under a condition."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.trials.records import Value

Settings = Mapping[str, Value]
"""Values at dotted keys of the config, and at `task.` keys those of the experiment."""

PLAIN: Settings = {"method.latent": "none", "method.editor": "identity"}
"""The objective as published."""
NO_R: Settings = {"method.latent": "none"}
"""The control: the same editor, fed with the context alone."""
LOW_RANK: Settings = {"method.editor": "low_rank"}


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One method under one condition.

    Attributes:
        group: the table that it stands in, such as "complex".
        method: its short name within the group, such as "adassl-v".
        title: its name in tables and figures.
        settings: what it changes of the experiment's config.
        num_seeds: seeds, where not as many as the experiment's.
    """

    group: str
    method: str
    title: str
    settings: Settings
    num_seeds: int | None = None

    @property
    def name(self) -> str:
        """Of its trials' folders and runs."""
        return f"{self.group}.{self.method}"
