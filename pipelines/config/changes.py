"""What may change under one name, and what may not: the same for runs, sweeps and experiments."""

from collections.abc import Mapping
from typing import Any

from pipelines.config.run import MAY_CHANGE, REMOVED, RunConfig, TrainConfig, flatten


def changes(
    before: Mapping[str, Any], now: Mapping[str, Any], may_change: tuple[str, ...] = MAY_CHANGE
) -> list[str]:
    """What differs between two configs, or other nested mappings, and may not, in words."""
    old, new = flatten(before), flatten(now)
    for settings in (old, new):  # defaults that came later count as those before, as above
        settings["train.sync_batchnorm"] = settings.get("train.sync_batchnorm") or False
        if settings.get("train.best_metric") == TrainConfig().best_metric:
            settings["train.best_metric"] = "val/loss"
    # One that is gone counts where it was used.
    removed = dict.fromkeys(REMOVED[key] for key in REMOVED if old.pop(key, None))
    return [
        *(f"it is of an earlier version: {reason}" for reason in removed),
        *(
            f"{key} was {old.get(key, 'unknown')}, now {new.get(key, 'unknown')}"
            for key in sorted({*old, *new})
            if old.get(key) != new.get(key) and not key.startswith(may_change)
        ),
    ]


def with_defaults(before: Mapping[str, Any]) -> dict[str, Any]:
    """A config that an older version wrote, with the settings that it did not have."""
    return {
        group: {**values, **before.get(group, {})}
        for group, values in RunConfig().model_dump(mode="json").items()
    }
