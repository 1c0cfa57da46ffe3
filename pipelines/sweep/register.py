"""What is settled before a sweep starts anything: its options hold, and the name is its own."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from pipelines import tracking
from pipelines.config.run import ConfigError, RunConfig, with_overrides
from pipelines.sweep.pruning import Scheduler
from pipelines.sweep.settings import Search, num_settings
from pipelines.trials.records import SweepRecord
from pipelines.trials.store import TrialStore
from pipelines.video.plan import plan
from tune_spaces import Choice, Space


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """How a space is searched."""

    space_name: str
    num_trials: int | None = None
    num_seeds: int = 2
    search: Search = "tpe"
    scheduler: Scheduler = "asha"
    max_concurrent: int | None = None


def register(
    config: RunConfig, space: Space, options: SweepOptions, store: TrialStore
) -> SweepRecord:
    """Check everything that can be checked before Ray starts, and take the name."""
    _check(config, space, options)
    videos = plan(config)
    _check_metric(space.metric, options, has_validation=videos.val is not None)
    for line in videos.lines():
        print(line, flush=True)
    record = SweepRecord(
        space=options.space_name,
        metric=space.metric,
        mode=space.mode,
        sampled={key: _range_json(range_) for key, range_ in space.sampled.items()},
        baseline=space.baseline,
        first=space.first,
        search=options.search,
        scheduler=options.scheduler,
        num_settings=num_settings(space, options.search, options.num_trials, options.num_seeds),
        num_seeds=options.num_seeds,
        config=config.model_dump(mode="json"),
        data_digest=videos.digest,
        tracking_uri=tracking.resolve_uri(config.tracking.uri, store.folder.parent.local),
        mlflow_run_id=store.sweep.mlflow_run_id if store.sweep else None,
    )
    store.register(record)
    return record


def _check(config: RunConfig, space: Space, options: SweepOptions) -> None:
    """Every setting that may come up makes a config that holds."""
    for point in [*space.first, *space.grid(), *([space.baseline] if space.baseline else [])]:
        try:
            with_overrides(config, point)
        except ConfigError as error:
            raise ConfigError(f"space {options.space_name}: {point}: {error}") from None


def _check_metric(metric: str, options: SweepOptions, *, has_validation: bool) -> None:
    if metric.startswith("val/") and not has_validation:
        raise ConfigError(
            f"the sweep is judged by {metric}, and there are no validation videos: index again "
            "with a larger --val-share, and leave train.val_pairs above 0"
        )
    if options.scheduler == "asha" and metric.count("/") != 1:
        raise ConfigError(
            f"{metric} is only known at the end of a trial: use --scheduler none with it"
        )


def _range_json(range_: Any) -> dict[str, Any]:
    kind = "choice" if isinstance(range_, Choice) else "log_uniform"
    return {"kind": kind, **json.loads(json.dumps(asdict(range_)))}
