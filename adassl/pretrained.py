"""Encoders of the library `transformers`: any image or video model, by folder or hub name.

`transformers` is imported only where such an encoder is built: `pip install
'adassl[transformers]'`. Weights are read as safetensors or by torch's `weights_only`, and no code
of a model's repository is run.
"""

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adassl.frames import FrameEncoder

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_FRAME_KEYS = ("num_frames", "frames_per_clip")
_SIZE_KEYS = ("image_size", "crop_size")


class TransformersEncoder(nn.Module):
    """A model of `transformers` from clips in ±1 to the mean of its last tokens.

    Frames are rescaled to the mean and deviation that the model was trained on; grey ones are shown
    in three channels; a clip shorter than a multiple of the model's tubelets ends with copies of
    its last frame. A model that takes images sees clips of one frame.

    Args:
        model: the model.
        frames: of the clips that a video model takes; None: it takes images.
        mean: of each channel, in [0, 1].
        std: likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        *,
        frames: int | None,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.model, self.frames = model, frames
        config: Any = model.config
        self._arguments: dict[str, Any] = {}
        if config.model_type == "vjepa2":
            self._arguments = {"skip_predictor": True}
        self._name = str(getattr(model, "main_input_name", "pixel_values"))
        shape = (1, len(mean), 1, 1, 1)
        self.register_buffer("mean", torch.tensor(mean).reshape(shape), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(shape), persistent=False)

    def forward(
        self, clips: Float[Tensor, "batch channels frames height width"]
    ) -> Float[Tensor, "batch dim"]:
        """The mean of the last tokens, those of classes and registers included."""
        return self.tokens(clips).mean(dim=1)

    def tokens(
        self, clips: Float[Tensor, "batch channels frames height width"]
    ) -> Float[Tensor, "batch tokens dim"]:
        """The last tokens."""
        shown = ((clips + 1) / 2 - self.mean) / self.std  # grey is spread over the channels
        if self.frames is None:
            pixels = shown.squeeze(2)
        else:
            missing = self.frames - shown.shape[2]
            last = shown[:, :, -1:].expand(-1, -1, missing, -1, -1)
            pixels = torch.cat([shown, last], dim=2).transpose(1, 2)
        output = self.model(**{self._name: pixels}, **self._arguments)
        hidden: Tensor = output.last_hidden_state
        # [batch, tokens, dim], or the maps [batch, dim, height, width] of a convolutional model
        return hidden if hidden.ndim == 3 else hidden.flatten(2).transpose(1, 2)


def build_transformers(
    model: str, *, input_shape: tuple[int, int, int, int], pretrained: bool
) -> tuple[nn.Module, int]:
    """An encoder of `transformers` over clips and the size of its output.

    Parameters that have no part in the output, such as a mask token, are not trained.

    Args:
        model: a local folder with a config.json, or a name on the hub.
        input_shape: channels (1 or 3), frames, height, width.
        pretrained: whether with its weights, else only as its config says.

    Raises:
        ImportError: `transformers` is not installed; the message says what to install.
        ValueError: there is no such model, or it takes no images of this kind.
    """
    transformers = _library()
    channels, frames, height, width = input_shape
    if height != width or channels not in (1, 3):
        raise ValueError(f"input_shape={input_shape}: square frames of 1 or 3 channels are needed")
    try:
        config = transformers.AutoConfig.from_pretrained(model, trust_remote_code=False)
        num_frames = _adapt(config, frames, height, keep_size=pretrained)
        network = (
            transformers.AutoModel.from_pretrained(model, config=config, trust_remote_code=False)
            if pretrained
            else transformers.AutoModel.from_config(config, trust_remote_code=False)
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"model={model!r}: {_first_line(error)}") from error
    mean, std = _normalisation(model)
    encoder = TransformersEncoder(network.float(), frames=num_frames, mean=mean, std=std)
    return _over_clips(encoder, input_shape, f"model={model!r}")


@dataclass(frozen=True, kw_only=True)
class TransformersParts:
    """What an encoder of `transformers` is built from, without the folder or hub it came from.

    Attributes:
        config: of the model, as its config.json has it.
        frames: of the clips that a video model takes; None: it takes images.
        mean: of each channel, in [0, 1].
        std: likewise.
    """

    config: Mapping[str, Any]
    frames: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]


def parts_of_transformers(network: nn.Module) -> TransformersParts | None:
    """The parts of an encoder that `build_transformers` made; None for any other network."""
    encoder = network.image_encoder if isinstance(network, FrameEncoder) else network
    if not isinstance(encoder, TransformersEncoder):
        return None
    config: Any = encoder.model.config
    return TransformersParts(
        config=json.loads(config.to_json_string(use_diff=False)),
        frames=encoder.frames,
        mean=tuple(encoder.mean.flatten().tolist()),
        std=tuple(encoder.std.flatten().tolist()),
    )


def rebuild_transformers(
    parts: TransformersParts, *, input_shape: tuple[int, int, int, int]
) -> tuple[nn.Module, int]:
    """An encoder from its parts, with random weights, and the size of its output.

    Neither a folder nor the hub is asked for anything.

    Raises:
        ImportError: `transformers` is not installed; the message says what to install.
        ValueError: the library has no such model.
    """
    transformers = _library()
    # What names code to fetch, or kernels, has no place in a model of the library's own.
    unsafe = ("auto_map", "quantization_config")
    kept = {k: v for k, v in parts.config.items() if k not in unsafe and "attn_impl" not in k}
    kind = str(kept.pop("model_type", None))
    try:
        config = transformers.AutoConfig.for_model(kind, **kept)
        network = transformers.AutoModel.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(
            f"model_type={kind!r}: the installed transformers does not build it "
            f"({_first_line(error)}); install the version that the model card names"
        ) from error
    encoder = TransformersEncoder(
        network.float(), frames=parts.frames, mean=parts.mean, std=parts.std
    )
    return _over_clips(encoder, input_shape, f"model_type={kind!r}")


def _over_clips(
    encoder: TransformersEncoder, input_shape: tuple[int, int, int, int], name: str
) -> tuple[nn.Module, int]:
    """The encoder, of each frame if it takes images, and the size of its output, as tried."""
    channels, frames, height, width = input_shape
    seen = frames if encoder.frames else 1
    example = torch.zeros(1, channels, seen, height, width)
    try:
        output = encoder.eval()(example)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ValueError(
            f"{name} takes no clips of shape {input_shape}: {_first_line(error)}"
        ) from error
    _freeze_unused(encoder, output)
    dim = output.shape[1]
    if encoder.frames:
        return encoder.train(), dim
    pooled = FrameEncoder(encoder, dim=dim, num_frames=frames)
    return pooled.train(), pooled.output_dim


def _library() -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise ImportError(
            "backbone 'transformers': transformers is not installed; "
            "pip install 'adassl[transformers]'"
        ) from error


def _adapt(config: Any, frames: int, side: int, *, keep_size: bool) -> int | None:
    """Set the clips in a model's config; how many frames a video model takes, None for images.

    Sizes of image models stay where weights are loaded: they interpolate their positions.
    """
    frame_key = next((key for key in _FRAME_KEYS if hasattr(config, key)), None)
    for key in _SIZE_KEYS if frame_key is not None or not keep_size else ():
        if hasattr(config, key):
            setattr(config, key, side)
    if frame_key is None:
        return None
    tubelet = int(getattr(config, "tubelet_size", 1))
    num_frames = -(-frames // tubelet) * tubelet
    setattr(config, frame_key, num_frames)
    return num_frames


def _normalisation(model: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation that a local folder states, else those of ImageNet."""
    file = Path(model) / "preprocessor_config.json"
    if not file.is_file():
        return IMAGENET_MEAN, IMAGENET_STD
    stated = json.loads(file.read_text())
    mean, std = stated.get("image_mean", IMAGENET_MEAN), stated.get("image_std", IMAGENET_STD)
    return tuple(map(float, mean)), tuple(map(float, std))


def _freeze_unused(encoder: nn.Module, output: Tensor) -> None:
    parameters = [p for p in encoder.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(output.sum(), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is None:
            parameter.requires_grad_(False)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
