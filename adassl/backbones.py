"""Backbones: clips [batch, channels, frames, height, width] to representations [batch, output_dim].

Or, of one family, token ids [batch, tokens].

Each family is in a module of its own: `resnet`, `frames`, `r2plus1d`, `vit`, `pretrained`, `text`;
torchvision is not required by this project.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import get_args

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from adassl.config import BackboneName
from adassl.frames import FrameEncoder, build_frame_resnet
from adassl.heads import build_mlp
from adassl.pretrained import TransformersEncoder, build_transformers
from adassl.r2plus1d import build_r2plus1d
from adassl.resnet import build_resnet
from adassl.text import WIDTHS, TextTransformer
from adassl.vit import SIZES, VideoTransformer, default_tubelet

InputShape = tuple[int, int, int, int]
VOCABULARY = 8192

MLP_HIDDEN_DIMS = (256, 256, 128)
CONV3D_HIDDEN_DIMS = (16, 32, 64, 128, 256)
CONV3D_POOLED_HIDDEN_DIMS = (8, 32, 64, 128, 256)

DEFAULT_HIDDEN_DIMS = {
    "mlp": MLP_HIDDEN_DIMS,
    "conv3d": CONV3D_HIDDEN_DIMS,
    "conv3d_pooled": CONV3D_POOLED_HIDDEN_DIMS,
    "text_transformer": WIDTHS,
}
"""Of the backbones whose layer sizes may be chosen."""


class Backbone(nn.Module):
    """A network over clips of one fixed shape, or over texts up to a number of tokens.

    Attributes:
        input_shape: channels, frames, height, width of a clip; or the most tokens of a text.
        output_dim: size of the representation h.
    """

    def __init__(
        self, network: nn.Module, *, input_shape: tuple[int, ...], output_dim: int
    ) -> None:
        super().__init__()
        self.network = network
        self.input_shape = input_shape
        self.output_dim = output_dim

    def forward(self, clips: Num[Tensor, "batch ..."]) -> Float[Tensor, "batch representation"]:
        """Representation h of each clip, or text.

        Raises:
            ValueError: the clips are not of `input_shape`, or the texts are longer.
        """
        if isinstance(self.network, TextTransformer):
            if clips.ndim != 2 or clips.shape[1] > self.input_shape[0]:
                raise ValueError(
                    f"texts of shape {tuple(clips.shape)}: this backbone was built for [batch, up "
                    f"to {self.input_shape[0]} tokens]; cut the texts or rebuild it"
                )
        elif tuple(clips.shape[1:]) != self.input_shape:
            raise ValueError(
                f"clips of shape {tuple(clips.shape)}: this backbone was built for [batch, "
                f"{', '.join(map(str, self.input_shape))}]; resize the clips or rebuild it"
            )
        representation: Tensor = self.network(clips)
        return representation

    def tokens(self, clips: Num[Tensor, "batch ..."]) -> Float[Tensor, "batch tokens dim"]:
        """What is pooled or flattened to h, place by place, as an attentive probe reads it.

        The last maps of a convolutional network, the tokens of a transformer; of a network without
        either h itself, as one token.
        """
        if isinstance(self.network, _WITH_TOKENS):
            return self.network.tokens(clips)
        maps = clips
        for layer in self.network if isinstance(self.network, nn.Sequential) else ():
            if isinstance(layer, _ENDS_OF_MAPS):
                break
            maps = layer(maps)
        if maps is clips:
            representation: Tensor = self(clips)
            return representation.unsqueeze(1)
        return maps.flatten(2).transpose(1, 2)


def load_weights(backbone: Backbone, weights: Mapping[str, Tensor]) -> None:
    """Start a backbone from the weights of another one of its kind.

    Args:
        backbone: to be changed in place.
        weights: by the names of its state dict, or of that of the network in it.

    Raises:
        ValueError: if a name or a shape is missing or left over.
    """
    names = backbone.state_dict()
    if not set(weights) & set(names):
        weights = {f"network.{name}": weight for name, weight in weights.items()}
    missing, unknown = names.keys() - weights.keys(), weights.keys() - names.keys()
    shapes = [n for n in names.keys() & weights.keys() if names[n].shape != weights[n].shape]
    if missing or unknown or shapes:
        kinds = (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
        found = "; ".join(
            f"{len(found)} {kind}, such as {min(found)}" for kind, found in kinds if found
        )
        raise ValueError(
            f"weights of another backbone: {found}; set backbone and data as they were trained"
        )
    backbone.load_state_dict(weights)


def build_backbone(
    name: BackboneName,
    *,
    input_shape: tuple[int, ...],
    hidden_dims: tuple[int, ...] | None = None,
    tubelet: tuple[int, int] | None = None,
    token_drop: float = 0.0,
    model: str | None = None,
    pretrained: bool = True,
    vocabulary: int = VOCABULARY,
    dropout: float = 0.0,
) -> Backbone:
    """A backbone by name, freshly initialised from torch's global generator.

    - "mlp" flattens its input; `hidden_dims` are its layers, the last one the (linear) output.
    - "conv3d" is a small CNN over clips, see `build_conv3d`; `hidden_dims` are the channels of its
      convolutions and last the size of its (linear) output. "conv3d_pooled" keeps what is in a clip
      and how it moves, but not where.
    - "resnet18", "resnet50" fold the frames into channels, see `adassl.resnet`; fixed sizes.
    - "frames_resnet18" is a ResNet-18 for each frame, pooled over time, see `adassl.frames`.
    - "r2plus1d_18" is R(2+1)D-18, see `adassl.r2plus1d`.
    - "vit_ti", "vit_s", "vit_b" are video transformers over tubelets, see `adassl.vit`.
    - "transformers" is any image or video model of that library, see `adassl.pretrained`.
    - "text_transformer" reads token ids, see `adassl.text`; `hidden_dims` are the widths of its
      blocks, all alike, 64 for each head of the attention.

    Args:
        name: which one.
        input_shape: channels, frames, height, width of a clip, each at least 1; for
            text_transformer the most tokens of a text alone.
        hidden_dims: layer sizes of mlp and conv3d; None for the backbone's own default.
        tubelet: frames and pixels of a token of a vit; None: see `adassl.vit.default_tubelet`.
        token_drop: share of a vit's tokens that are left out in training.
        model: folder or hub name of a model of transformers.
        pretrained: whether that model comes with its weights.
        vocabulary: of text_transformer: token ids are below it, and 0 is padding.
        dropout: of text_transformer, in training.

    Raises:
        ImportError: the model needs a library that is not installed.
        ValueError: unknown name, an impossible shape, or `hidden_dims` that do not fit the name.
    """
    choices = get_args(BackboneName)
    if name not in choices:
        nearest = difflib.get_close_matches(name, choices, n=1, cutoff=0.4)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"backbone {name!r}: must be one of {', '.join(choices)}{hint}")
    is_text = name == "text_transformer"
    if min(input_shape) < 1 or len(input_shape) != (1 if is_text else 4):
        sizes = "the most tokens" if is_text else "channels, frames, height and width"
        raise ValueError(f"input_shape={input_shape}: {sizes} must each be at least 1")
    if is_text:
        return _build_text(input_shape, hidden_dims or WIDTHS, vocabulary, dropout)
    return _build_over_clips(
        name,
        (input_shape[0], input_shape[1], input_shape[2], input_shape[3]),
        hidden_dims,
        tubelet,
        token_drop,
        model,
        pretrained,
    )


def _build_text(
    input_shape: tuple[int, ...], hidden_dims: tuple[int, ...], vocabulary: int, dropout: float
) -> Backbone:
    width = hidden_dims[0]
    heads = max(1, width // 64)
    if len(set(hidden_dims)) > 1 or width < 1 or width % heads:
        raise ValueError(
            f"hidden_dims={hidden_dims} with text_transformer: one width for all blocks, a "
            "multiple of 64 or less than 128, such as (256, 256, 256, 256)"
        )
    network = TextTransformer(
        vocabulary,
        input_shape[0],
        width=width,
        depth=len(hidden_dims),
        num_heads=heads,
        dropout=dropout,
    )
    return Backbone(network, input_shape=input_shape, output_dim=width)


def _build_over_clips(
    name: BackboneName,
    input_shape: InputShape,
    hidden_dims: tuple[int, ...] | None,
    tubelet: tuple[int, int] | None,
    token_drop: float,
    model: str | None,
    pretrained: bool,
) -> Backbone:
    """A backbone over clips."""
    if name not in DEFAULT_HIDDEN_DIMS:
        if hidden_dims is not None:
            raise ValueError(
                f"hidden_dims={hidden_dims} with {name}: its sizes are fixed; set hidden_dims to "
                "None (null)"
            )
        fixed, output_dim = _build_fixed(name, input_shape, tubelet, token_drop, model, pretrained)
        return Backbone(fixed, input_shape=input_shape, output_dim=output_dim)
    if hidden_dims is None:
        hidden_dims = DEFAULT_HIDDEN_DIMS[name]
    smallest = 1 if name == "mlp" else 2
    if len(hidden_dims) < smallest or min(hidden_dims) < 1:
        raise ValueError(
            f"hidden_dims={hidden_dims} with {name}: needs at least {smallest} positive sizes, "
            "the last one the size of the representation"
        )
    if name == "mlp":
        network = _build_flat_mlp(input_shape, hidden_dims)
    else:
        network = build_conv3d(input_shape, hidden_dims, pooled=name == "conv3d_pooled")
    return Backbone(network, input_shape=input_shape, output_dim=hidden_dims[-1])


def _build_fixed(
    name: BackboneName,
    input_shape: InputShape,
    tubelet: tuple[int, int] | None,
    token_drop: float,
    model: str | None,
    pretrained: bool,
) -> tuple[nn.Module, int]:
    """A network whose layer sizes are its own, and the size of its output."""
    match name:
        case "resnet18" | "resnet50":
            return build_resnet(name, input_shape=input_shape)
        case "frames_resnet18":
            return build_frame_resnet(input_shape)
        case "r2plus1d_18":
            return build_r2plus1d(input_shape=input_shape)
        case "transformers":
            if not model:
                raise ValueError(
                    "backbone 'transformers' without a model: name a folder or a model on the hub, "
                    "such as facebook/dinov2-small"
                )
            return build_transformers(model, input_shape=input_shape, pretrained=pretrained)
        case _:
            width, depth, num_heads = SIZES[name]
            network = VideoTransformer(
                input_shape,
                width=width,
                depth=depth,
                num_heads=num_heads,
                tubelet=tubelet or default_tubelet(input_shape),
                token_drop=token_drop,
            )
            return network, width


def _build_flat_mlp(input_shape: InputShape, hidden_dims: Sequence[int]) -> nn.Sequential:
    mlp = build_mlp(math.prod(input_shape), hidden_dims[:-1], hidden_dims[-1])
    return nn.Sequential(nn.Flatten(), *mlp)


def build_conv3d(
    input_shape: InputShape, hidden_dims: Sequence[int], *, pooled: bool = False
) -> nn.Sequential:
    """A small 3D CNN for short clips, cheap on a CPU.

    Every convolution halves height and width, and the frames too while several are left: the first
    one already sees neighbouring frames together, and once one frame is left the kernel is flat in
    time (3 x 3 x 3 over a single frame would multiply padding). What remains is flattened into a
    Linear rather than averaged, so that positions can be read from it.

    Pooled, the last convolution keeps height and width, and what remains is averaged and maximised
    over all places: position, which alone tells most pairs of a batch apart, is then no way to do
    it, and what is seen and how it moves have to be learnt. (Moving digits of unseen glyphs, one
    run each in batches of 64: digits 0.65 instead of 0.60, the change from the edited embedding
    0.67 instead of 0.45.)
    """
    channels, frames, height, width = input_shape
    layers: list[nn.Module] = []
    for number, hidden_dim in enumerate(hidden_dims[:-1], start=2):
        time_kernel, time_stride = (3, 2) if frames > 1 else (1, 1)
        stride = 1 if pooled and number == len(hidden_dims) else 2
        layers += [
            nn.Conv3d(
                channels,
                hidden_dim,
                kernel_size=(time_kernel, 3, 3),
                stride=(time_stride, stride, stride),
                padding=(time_kernel // 2, 1, 1),
                bias=False,
            ),
            nn.BatchNorm3d(hidden_dim),
            nn.ReLU(inplace=True),
        ]
        channels = hidden_dim
        frames = -(-frames // time_stride)
        height, width = -(-height // stride), -(-width // stride)
    if pooled:
        layers += [MeanAndMaxPool(), nn.Linear(2 * channels, hidden_dims[-1])]
    else:
        layers += [nn.Flatten(), nn.Linear(channels * frames * height * width, hidden_dims[-1])]
    # Kernels in channels-last order bring the activations into it too, whatever the order of the
    # input: a step then takes 2/3 of the time on a CPU, and GPUs want it for bfloat16.
    return nn.Sequential(*layers).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload,no-any-return]


class MeanAndMaxPool(nn.Module):
    """Mean and maximum of each channel over frames and places: [batch, 2 * channels]."""

    def forward(
        self, maps: Float[Tensor, "batch channels frames height width"]
    ) -> Float[Tensor, "batch double"]:
        """The two, side by side."""
        return torch.cat([maps.mean(dim=(2, 3, 4)), maps.amax(dim=(2, 3, 4))], dim=1)


_ENDS_OF_MAPS = (nn.Flatten, MeanAndMaxPool, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
_WITH_TOKENS = (VideoTransformer, FrameEncoder, TransformersEncoder, TextTransformer)
