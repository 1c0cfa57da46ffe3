"""Exported encoders in MLflow's model registry: a version each, and the alias of the best one.

A version is a pyfunc that MLflow loads by a module of this project, which is named in it: no pickle
and no code is kept beside the weights.
"""

import hashlib
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipelines.tracking import service
from pipelines.tracking.async_logger import brief, without_password
from pipelines.tracking.uri import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
MODEL_NAME = "adassl_encoder"
"""Of the logged model: `runs:/RUN_ID/adassl_encoder`."""
METRIC_TAG, VALUE_TAG, DIGEST_TAG = "adassl.best_metric", "adassl.best_value", "adassl.export"
DATA_TAG = "adassl.data_digest"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A metric by which encoders are compared: `mode` is "max" or "min" of it."""

    metric: str
    mode: str
    value: float | None


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A version in the registry.

    Attributes:
        name: of the model.
        version: its number.
        is_champion: whether the alias names it now.
        why: why the alias was moved, or not, in words.
        was_there: whether the same export had been registered before.
    """

    name: str
    version: str
    is_champion: bool
    why: str
    was_there: bool


def register_encoder(
    uri: str,
    run_id: str,
    name: str,
    folder: Path,
    *,
    loader: str,
    output_dim: int,
    judged: Judged,
    tags: Mapping[str, str],
) -> Registered:
    """Register an exported folder; it gets the alias `champion` if it beats the one that has it.

    The same folder of the same run again adds no version.

    Args:
        uri: of the tracking server, which keeps the registry.
        run_id: the run that it comes from.
        name: of the registered model, made where there is none.
        folder: as `adassl export` wrote it.
        loader: the module whose `_load_pyfunc` makes a model of the folder.
        output_dim: size of what the model gives for a row.
        judged: how good it is.
        tags: of the version.

    Raises:
        TrackingError: if MLflow refuses it or does not answer.
    """
    service.import_mlflow()
    from mlflow.exceptions import MlflowException

    try:
        run = service.find_run(uri, run_id)
        digest = _digest(folder, run_id)
        version = _version_of(run.client, name, digest)
        was_there = version is not None
        if version is None:
            stated = {
                METRIC_TAG: f"{judged.mode}:{judged.metric}",
                VALUE_TAG: "" if judged.value is None else repr(judged.value),
                DIGEST_TAG: digest,
                **tags,
            }
            version = _add(run, name, folder, loader=loader, output_dim=output_dim, tags=stated)
        is_champion, why = _crown(run.client, name, version)
    except (MlflowException, OSError) as error:
        raise TrackingError(
            f"--register {name}: MLflow at {without_password(uri)} says {brief(error)}"
        ) from error
    return Registered(
        name=name, version=version, is_champion=is_champion, why=why, was_there=was_there
    )


def _add(
    run: service.OpenRun,
    name: str,
    folder: Path,
    *,
    loader: str,
    output_dim: int,
    tags: Mapping[str, str],
) -> str:
    """Log the model to the run and make a version of it; returns its number."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    client, model = run.client, Model()
    made = client.create_logged_model(
        run.run.info.experiment_id, name=MODEL_NAME, source_run_id=run.run_id
    )
    model.model_id, model.run_id, model.artifact_path = (
        made.model_id,
        run.run_id,
        made.artifact_location,
    )
    with TemporaryDirectory(prefix="adassl-model-") as temporary:
        saved = Path(temporary) / MODEL_NAME
        _save(saved, folder, model, loader=loader, output_dim=output_dim)
        client.log_model_artifacts(made.model_id, str(saved))
    client.finalize_logged_model(made.model_id, "READY")
    client.log_outputs(run.run_id, [LoggedModelOutput(made.model_id, step=0)])
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(
        name,
        source=made.artifact_location,  # models:/ID would be sought in the process's global store
        run_id=run.run_id,
        tags=dict(tags),
        model_id=made.model_id,
    )
    return str(version.version)


def _save(path: Path, folder: Path, model: Any, *, loader: str, output_dim: int) -> None:
    """A pyfunc on disk: rows of a path and a second to an embedding each."""
    import mlflow.pyfunc
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, DataType, Schema, TensorSpec

    signature = ModelSignature(
        inputs=Schema(
            [ColSpec(DataType.string, "path"), ColSpec(DataType.double, "start_seconds")]
        ),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, output_dim))]),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of hints for types, which a loader has not
        mlflow.pyfunc.save_model(
            str(path),
            loader_module=loader,
            data_path=str(folder),
            mlflow_model=model,
            signature=signature,
            pip_requirements=[
                _pinned("adassl", "[pipelines]"),  # it decodes videos
                _pinned("mlflow"),
                _pinned("torch"),
            ],
        )


def _pinned(package: str, extra: str = "") -> str:
    try:
        return f"{package}{extra}=={metadata.version(package).partition('+')[0]}"
    except metadata.PackageNotFoundError:  # a checkout that is run without installing it
        return package + extra


def _version_of(client: "MlflowClient", name: str, digest: str) -> str | None:
    """The version that the same export has already."""
    found = client.search_model_versions(f"name = '{name}' and tags.`{DIGEST_TAG}` = '{digest}'")
    return max((str(v.version) for v in found), key=int, default=None)


def _crown(client: "MlflowClient", name: str, version: str) -> tuple[bool, str]:
    """Move the alias to a version if it beats the one that has it; whether it has it, and why."""
    number = client.get_registered_model(name).aliases.get(CHAMPION)
    if number is None:
        client.set_registered_model_alias(name, CHAMPION, version)
        return True, "the first"
    if str(number) == version:
        return True, "it was already"
    mine, other = (client.get_model_version(name, str(v)).tags for v in (version, number))
    metric = mine[METRIC_TAG]
    ours, theirs = _value(mine), _value(other)
    if ours is None:
        return False, f"its {metric} is not known; version {number} stays {CHAMPION}"
    if theirs is None:
        client.set_registered_model_alias(name, CHAMPION, version)
        return True, f"{metric} {ours:.4g}; that of version {number} is not known"
    if metric != other.get(METRIC_TAG):
        return False, (
            f"it is judged by {metric}, version {number} by {other.get(METRIC_TAG)}, which do not "
            f"compare; version {number} stays {CHAMPION}"
        )
    sign = -1 if metric.startswith("min:") else 1
    beats = sign * ours > sign * theirs
    why = f"{metric} {ours:.4g} {'beats' if beats else 'does not beat'} {theirs:.4g} of {number}"
    if mine.get(DATA_TAG) != other.get(DATA_TAG):
        why += ", though measured on other videos"
    if beats:
        client.set_registered_model_alias(name, CHAMPION, version)
    return beats, why


def _value(tags: Mapping[str, str]) -> float | None:
    try:
        value = float(tags.get(VALUE_TAG, ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _digest(folder: Path, run_id: str) -> str:
    """Of the weights and the config: what the card says besides may change."""
    digest = hashlib.sha256(run_id.encode())
    for name in ("config.json", "model.safetensors"):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:32]
