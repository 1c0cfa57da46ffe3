"""A trained encoder from a folder that `adassl export` wrote, with torch alone.

    encoder = adassl.load("exported")
    h = encoder.embed_clip(frames)  # uint8 [frames, height, width, channels] or a batch of such

The folder is data: config.json says which parts are built, model.safetensors holds their numbers.
Nothing in it is run.
"""

import hashlib
import importlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import interpolate

from adassl.backbones import Backbone, build_backbone
from adassl.config import BackboneName
from adassl.encoder import Embeddings, Encoder
from adassl.heads import build_mlp
from adassl.pretrained import TransformersParts, rebuild_transformers
from adassl.safetensors import read_safetensors

CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "config.json", "model.safetensors", "README.md"
FORMAT = "adassl encoder 1"
NORMALISATION = "pixels / 127.5 - 1"
_LUMA_601 = (77, 150, 29)
"""ITU-R BT.601 luma in 256ths, as the decoders of the training have it."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What happens to frames in front of the encoder, as in its training.

    Attributes:
        frames_per_clip: consecutive frames of a clip.
        frame_size: side in pixels of the square that the encoder sees.
        crop: center: the short side is resized to it and the centre cut out; none: the whole frame
            is squeezed into it.
        grayscale: one channel, BT.601 luma, in place of RGB.
        frames_per_second: the median rate of the videos trained on, None where it is not known.
            Clips are consecutive frames: take them from videos of about this rate.
        normalisation: of uint8 pixels.
    """

    frames_per_clip: int
    frame_size: int
    crop: Literal["center", "none"]
    grayscale: bool
    frames_per_second: float | None = None
    normalisation: str = NORMALISATION

    def __post_init__(self) -> None:
        """Refuse what this version cannot do."""
        if self.frames_per_clip < 1 or self.frame_size < 1:
            raise ValueError("frames_per_clip and frame_size must be at least 1")
        if self.crop not in ("center", "none") or self.normalisation != NORMALISATION:
            raise ValueError(
                f"crop={self.crop!r}, normalisation={self.normalisation!r}: unknown; "
                "install the version of adassl that the model card names"
            )

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """Channels, frames, height and width of what the encoder sees."""
        return 1 if self.grayscale else 3, self.frames_per_clip, self.frame_size, self.frame_size


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The parts of an encoder, as `build_backbone` and `build_mlp` take them.

    `transformers` is set for a backbone of that name alone.
    """

    backbone: BackboneName
    hidden_dims: tuple[int, ...] | None = None
    tubelet: tuple[int, int] | None = None
    transformers: TransformersParts | None = None
    projector_hidden_dims: tuple[int, ...]
    embedding_dim: int

    def build(self, input_shape: tuple[int, int, int, int]) -> Encoder:
        """The encoder with random weights, which leave torch's global generator as it was.

        Raises:
            ImportError: the backbone needs a library that is not installed.
            ValueError: there is no such backbone.
        """
        with torch.random.fork_rng(devices=[]):
            if self.transformers is not None:
                network, dim = rebuild_transformers(self.transformers, input_shape=input_shape)
                backbone = Backbone(network, input_shape=input_shape, output_dim=dim)
            else:
                backbone = build_backbone(
                    self.backbone,
                    input_shape=input_shape,
                    hidden_dims=self.hidden_dims,
                    tubelet=self.tubelet,
                )
            dim = backbone.output_dim
            projector = build_mlp(dim, self.projector_hidden_dims, self.embedding_dim)
            return Encoder(backbone, projector, output_dim=dim)


class LoadedEncoder(nn.Module):
    """A trained encoder with its preprocessing, in evaluation mode.

    Args:
        encoder: backbone and projector.
        preprocessing: in front of it.
        card: the model card, in Markdown.
    """

    def __init__(self, encoder: Encoder, preprocessing: Preprocessing, *, card: str = "") -> None:
        super().__init__()
        self.encoder, self.preprocessing, self.card = encoder, preprocessing, card
        self.eval()

    @property
    def backbone(self) -> nn.Module:
        """From clips as `prepare` gives them to representations."""
        return self.encoder.backbone

    @property
    def device(self) -> torch.device:
        """Where the encoder is, and where what it gives is."""
        return next(self.parameters()).device

    def forward(self, clips: Float[Tensor, "batch channels frames height width"]) -> Embeddings:
        """Representation and embedding of clips in ±1, as `prepare` gives them; with gradients."""
        embeddings: Embeddings = self.encoder(clips)
        return embeddings

    @torch.no_grad()
    def embed_clip(self, frames: Any) -> Float[Tensor, "*batch representation"]:
        """Representation h of a clip, or of each of a batch of clips.

        Args:
            frames: uint8 [frames, height, width, channels] or [batch, frames, …], a tensor or
                whatever becomes one, such as an array; of 3 channels (RGB) or 1 (grey), of any
                size.

        Raises:
            ValueError: another dtype, shape or number of frames.
        """
        clips = self.prepare(frames)
        representation: Tensor = self.backbone(clips)
        return representation if torch.as_tensor(frames).ndim == 5 else representation[0]

    @torch.no_grad()
    def project(
        self, representation: Float[Tensor, "*batch representation"]
    ) -> Float[Tensor, "*batch dim"]:
        """Embedding z of representations, not normalised: where the loss was taken."""
        rows = torch.atleast_2d(representation.to(self.device))
        embedding: Tensor = self.encoder.projector(rows)
        return embedding if representation.ndim > 1 else embedding[0]

    def prepare(self, frames: Any) -> Float[Tensor, "batch channels frames height width"]:
        """Frames as the encoder takes them: resized, cut, in grey if it is so, in ±1.

        Frames whose size is already that of the encoder are not resized, and come out bit for bit
        as in training. Others were resized in training by the decoder (FFmpeg, bicubic, before the
        colours were converted); here by torch, bicubic with antialiasing: within 3 of 255 levels on
        average, 5 where frames are enlarged (`tests/adassl/test_loaded.py` measures it).

        Args:
            frames: as for `embed_clip`.

        Raises:
            ValueError: another dtype, shape or number of frames.
        """
        given = torch.as_tensor(frames)
        clips = given if given.ndim == 5 else given[None]
        asked = self.preprocessing
        if given.dtype != torch.uint8:
            raise ValueError(
                f"frames of {given.dtype}: pixels must be uint8, 0 to 255, not normalised"
            )
        if given.ndim not in (4, 5) or clips.shape[-1] not in (1, 3) or min(given.shape) < 1:
            raise ValueError(
                f"frames of shape {tuple(given.shape)}: must be [frames, height, width, channels] "
                "or [batch, frames, height, width, channels], of 1 or 3 channels, the last"
            )
        if clips.shape[1] != asked.frames_per_clip:
            raise ValueError(
                f"clips of {clips.shape[1]} frames: this encoder takes {asked.frames_per_clip} "
                "consecutive frames; cut the clip so"
            )
        seen = torch.stack([self._sized(clip.to(self.device)) for clip in clips])
        if asked.grayscale and seen.shape[-1] == 3:
            weights = torch.tensor(_LUMA_601, dtype=torch.int32, device=seen.device)
            grey = (seen.int() * weights).sum(dim=-1, keepdim=True, dtype=torch.int32)
            seen = ((grey + 128) >> 8).to(torch.uint8)
        elif not asked.grayscale:
            seen = seen.expand(*seen.shape[:-1], 3)
        return normalised(seen)

    def _sized(
        self, clip: UInt8[Tensor, "frames height width channels"]
    ) -> UInt8[Tensor, "frames side side channels"]:
        height, width = clip.shape[1:3]
        side = self.preprocessing.frame_size
        wanted = (side, side)
        if self.preprocessing.crop == "center":
            scale = side / min(height, width)
            wanted = max(side, round(height * scale)), max(side, round(width * scale))
        if (height, width) != wanted:
            pixels = clip.permute(0, 3, 1, 2).float()
            pixels = interpolate(pixels, wanted, mode="bicubic", antialias=True)
            clip = pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        top, left = (round((length - side) * 0.5) for length in wanted)
        return clip[:, top : top + side, left : left + side]


def normalised(
    clips: UInt8[Tensor, "batch frames height width channels"],
) -> Float[Tensor, "batch channels frames height width"]:
    """Pixels in ±1, channels first."""
    return clips.permute(0, 4, 1, 2, 3).float().div(127.5).sub(1.0)


def load(where: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> LoadedEncoder:
    """A trained encoder, to be used without the rest of this project.

    Args:
        where: a folder that `adassl export` wrote; or, where mlflow is installed, `models:/NAME/1`,
            `models:/NAME@champion` or `runs:/RUN_ID/adassl_encoder` of the server that
            MLFLOW_TRACKING_URI names.
        device: to put it on.

    Raises:
        ImportError: mlflow, or the library of the backbone, is not installed.
        ValueError: it is no exported encoder, or was changed or damaged.
    """
    folder = _folder(os.fspath(where))
    config = read_config(folder / CONFIG_FILE)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise ValueError(f"{folder}: no {WEIGHTS_FILE} beside {CONFIG_FILE}: copy the whole folder")
    if digest_of(weights) != config.weights_sha256:
        raise ValueError(f"{weights} is not the file that was exported: copy it again")
    encoder = config.architecture.build(config.preprocessing.input_shape)
    try:
        encoder.load_state_dict(read_safetensors(weights))
    except RuntimeError as error:
        said = str(error).splitlines()
        raise ValueError(f"{weights} is of another encoder: {' '.join(said[:2])}") from None
    card = folder / CARD_FILE
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    return LoadedEncoder(encoder, config.preprocessing, card=text).to(device)


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """What config.json says that loading needs; what else it says, of the training, is passed over.

    Attributes:
        architecture: the parts.
        preprocessing: in front of them.
        weights_sha256: of model.safetensors.
    """

    architecture: Architecture
    preprocessing: Preprocessing
    weights_sha256: str


def read_config(file: Path) -> ExportConfig:
    """The config of an exported encoder.

    Raises:
        ValueError: there is none, or it is not one.
    """
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{file.parent}: no exported encoder: no {CONFIG_FILE}; make one of a run by "
            "`adassl export RUN --out FOLDER`"
        ) from None
    except ValueError as error:
        raise ValueError(f"{file} is not JSON ({error}): copy it again") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(
            f"{file}: not of an exported encoder (format {FORMAT!r}); of a run's folder make one "
            "by `adassl export RUN --out FOLDER`"
        )
    try:
        parts: Mapping[str, Any] = content["architecture"]
        lists: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in parts.items()
        }
        if described := lists.get("transformers"):
            normal = {name: tuple(map(float, described[name])) for name in ("mean", "std")}
            lists["transformers"] = TransformersParts(**{**described, **normal})
        return ExportConfig(
            architecture=Architecture(**lists),
            preprocessing=Preprocessing(**content["preprocessing"]),
            weights_sha256=str(content["weights_sha256"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{file}: {error!s}: was it changed, or made by another version?"
        ) from None


def digest_of(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _folder(where: str) -> Path:
    """The local folder, fetched from MLflow where it is there."""
    if not where.startswith(("runs:/", "models:/")):
        if "://" in where:
            raise ValueError(f"{where}: copy the folder to this machine and name it by its path")
        return Path(where)
    try:
        mlflow: Any = importlib.import_module("mlflow.artifacts")
    except ImportError as error:
        raise ImportError(
            f"{where}: mlflow is not installed; pip install mlflow, or name a folder that "
            "`adassl export` wrote"
        ) from error
    try:
        fetched = Path(mlflow.download_artifacts(artifact_uri=where))
    except Exception as error:
        first = (str(error).splitlines() or [repr(error)])[0]
        raise ValueError(
            f"{where}: MLflow does not give it ({first}); does MLFLOW_TRACKING_URI name the server?"
        ) from error
    return next(_exports_in(fetched), fetched)


def _exports_in(fetched: Path) -> Iterator[Path]:
    """The exported folder in what MLflow keeps: the folder itself, or one within a model."""
    return (file.parent for file in sorted(fetched.glob("**/" + CONFIG_FILE), key=_depth))


def _depth(file: Path) -> int:
    return len(file.parts)
