"""A run folder's run in MLflow."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines import tracking
from pipelines.config.run import RunConfig, flatten
from pipelines.pairs.plan import Plan
from pipelines.storage.folder import parent_and_name
from pipelines.storage.runs import RunFolder
from pipelines.tracking import Tracker


@contextmanager
def tracked(
    config: RunConfig,
    folder: RunFolder,
    videos: Plan | None,
    uri: str,
    parent_run_id: str | None = None,
    task: Mapping[str, Any] | None = None,
) -> Iterator[Tracker]:
    """The job's MLflow run, new, or the one it had before it stopped; ended in any case.

    `task` holds params beside the config's; there are no videos where numbers are trained on.
    """
    record = folder.record()
    assert record is not None
    with Tracker.start(
        uri,
        config.tracking.experiment,
        folder.name,
        tags=tracking.standard_tags(),
        run_id=record.mlflow_run_id,
        parent_run_id=parent_run_id,
    ) as tracker:
        folder.keep(replace(record, tracking_uri=tracker.uri, mlflow_run_id=tracker.run_id))
        params = flatten(config.model_dump(mode="json"))
        tracker.log_params({**params, **(task or {}), **tracking.aliases(params)})
        tracker.log_config(config.model_dump(mode="json"))
        if videos is not None:
            tracker.log_dataset(
                Path(parent_and_name(config.data.index)[1]).stem,
                config.data.index,
                digest=videos.digest,
                num_rows=len(videos.train.index),
                context="training",
            )
        yield tracker
