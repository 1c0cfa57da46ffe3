"""The encoder of a run or of an exported folder, and where it came from: one way to both."""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adassl.backbones import DEFAULT_HIDDEN_DIMS, Backbone
from adassl.loaded import (
    CARD_FILE,
    CONFIG_FILE,
    FORMAT,
    WEIGHTS_FILE,
    Architecture,
    LoadedEncoder,
    Preprocessing,
    load,
)
from adassl.pretrained import parts_of_transformers
from adassl.vit import VideoTransformer
from pipelines.config.data import DataConfig
from pipelines.config.run import ConfigError, RunConfig
from pipelines.evaluation.evaluate import restored
from pipelines.library.encode import weights_digest
from pipelines.storage.folder import Folder, StorageError
from pipelines.storage.runs import RunFolder, newest_state
from pipelines.training.learner import Learner
from pipelines.training.loop import History
from pipelines.training.worker import best_value
from pipelines.video.index import IndexFileError, VideoIndex, load_index


@dataclass(frozen=True, kw_only=True)
class Source:
    """Which training an encoder came from, and how good it was by the run's own measure.

    Attributes:
        run: its name.
        fingerprint: of its config.
        data_digest: of its index.
        checkpoint: "best" or "newest".
        step: of the checkpoint.
        best_metric: the metric by which checkpoints were judged, after `max:` or `min:`.
        best_value: its value at the step; None where it is not known.
    """

    run: str
    fingerprint: str
    data_digest: str
    checkpoint: str
    step: int
    best_metric: str
    best_value: float | None


@dataclass(frozen=True, kw_only=True)
class FoundEncoder:
    """An encoder, where it came from, and the folder that it was found in."""

    encoder: LoadedEncoder
    source: Source
    folder: Folder

    def identity(self) -> str:
        """Digest of its weights: what is made with an encoder belongs to that one alone."""
        return weights_digest(self.encoder.encoder)

    @property
    def data(self) -> DataConfig:
        """How clips are cut for it."""
        return data_of(self.encoder.preprocessing)


@dataclass(frozen=True, kw_only=True)
class TrainedEncoder(FoundEncoder):
    """The encoder of a run, with what is known of its training.

    Attributes:
        config: of the run.
        architecture: of the encoder.
        history: the metrics of the whole training, one entry a logged step.
        index: of its videos; None where that is not to be had here.
    """

    config: RunConfig
    architecture: Architecture
    history: History
    index: VideoIndex | None


def is_export(folder: Folder) -> bool:
    """Whether `adassl export` wrote it; a run has a file of that name too."""
    content = folder.read_json(CONFIG_FILE)
    return isinstance(content, dict) and content.get("format") == FORMAT


def find_encoder(where: str, checkpoint: str = "best") -> FoundEncoder:
    """The encoder in the folder of a run, or in one that `adassl export` wrote.

    Args:
        where: a path or a URI.
        checkpoint: of a run: "best" or "newest".

    Raises:
        ConfigError: if there is neither, or no such checkpoint.
        StorageError: if the place cannot be reached.
    """
    folder = Folder(where)
    if not is_export(folder):
        return trained_encoder(RunFolder(folder), checkpoint)
    content = dict(folder.read_json(CONFIG_FILE) or {})
    try:
        with tempfile.TemporaryDirectory(prefix="adassl-") as staging:
            encoder = load(folder.local or _fetched(folder, Path(staging)))
        source = Source(**content["source"])
    except (ValueError, ImportError, KeyError, TypeError) as error:
        raise ConfigError(str(error)) from error
    return FoundEncoder(encoder=encoder, source=source, folder=folder)


def trained_encoder(run: RunFolder, checkpoint: str) -> TrainedEncoder:
    """The encoder of a run as its best or newest checkpoint has it, on the CPU.

    Raises:
        ConfigError: if there is no run or no such checkpoint.
        StorageError: if the place cannot be reached.
    """
    if checkpoint not in ("best", "newest"):
        raise ConfigError(f"--checkpoint {checkpoint}: best or newest")
    learner = restored(run, checkpoint)
    record, newest = run.record(), newest_state(run)
    if record is None or newest is None:
        raise ConfigError(f"{run} holds no run: its record or its newest checkpoint is gone")
    config, history = learner.config, list(newest.get("history", []))
    index = _index(config)
    rates = np.empty(0) if index is None else index.select(split="train").fps
    preprocessing = Preprocessing(
        frames_per_clip=config.data.frames_per_clip,
        frame_size=config.data.frame_size,
        crop="none" if config.data.crop == "none" else "center",
        grayscale=config.data.grayscale,
        frames_per_second=round(float(np.median(rates)), 3) if len(rates) else None,
    )
    encoder = learner.method.cpu().requires_grad_(False).encoder
    source = Source(
        run=run.name,
        fingerprint=config.fingerprint(),
        data_digest=record.data_digest,
        checkpoint=checkpoint,
        step=learner.step,
        **_judged(config, history, learner.step),
    )
    return TrainedEncoder(
        encoder=LoadedEncoder(encoder, preprocessing),
        source=source,
        folder=run.folder,
        config=config,
        architecture=_architecture(config, learner),
        history=history,
        index=index,
    )


def data_of(preprocessing: Preprocessing) -> DataConfig:
    """The settings by which clips are cut as an encoder takes them."""
    kept = asdict(preprocessing)
    names = ("frames_per_clip", "frame_size", "crop", "grayscale")
    return DataConfig(**{name: kept[name] for name in names})


def _architecture(config: RunConfig, learner: Learner) -> Architecture:
    """Nothing is left to defaults, which other versions may have otherwise."""
    backbone, settings = learner.method.encoder.backbone, config.backbone
    assert isinstance(backbone, Backbone)
    tubelet = None
    if isinstance(backbone.network, VideoTransformer):
        deep, side, _ = backbone.network.embed.kernel_size
        tubelet = deep, side
    return Architecture(
        backbone=settings.name,
        hidden_dims=settings.hidden_dims or DEFAULT_HIDDEN_DIMS.get(settings.name),
        tubelet=tubelet,
        transformers=parts_of_transformers(backbone.network),
        projector_hidden_dims=config.method.projector_hidden_dims,
        embedding_dim=config.method.embedding_dim,
    )


def _judged(config: RunConfig, history: History, step: int) -> dict[str, Any]:
    """By which metric the checkpoint of a step was judged, and its value."""
    entry = next((e for e in history if int(e["step"]) == step), {})
    try:
        mode, value = best_value(config.train, entry)
    except ConfigError:  # the history does not reach back to it
        return {"best_metric": ":".join(config.train.best), "best_value": None}
    known = any(name.startswith("val/") for name in entry)
    name = config.train.best[1] if known else "train/loss"
    return {
        "best_metric": f"{mode}:{name}",
        "best_value": float(value) if np.isfinite(value) else None,
    }


def _index(config: RunConfig) -> VideoIndex | None:
    try:
        return load_index(config.data.index)
    except (IndexFileError, StorageError, FileNotFoundError):
        return None


def _fetched(folder: Folder, staging: Path) -> Path:
    for name in (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE):
        content = folder.read_bytes(name)
        if content is not None:
            (staging / name).write_bytes(content)
    return staging
