"""ResNet-18 and ResNet-50 for any channel count and for small inputs.

He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385; initialised as in
torchvision. The stem for small inputs is that of SimCLR's CIFAR experiments (arXiv 2002.05709,
B.9).
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

SMALL_INPUT = 64
"""Clips up to this many pixels high and wide get the small stem: with the large one, which divides
by 4 before the first block, a 32-pixel clip would reach the last stage as a single position."""


class FoldFrames(nn.Module):
    """[batch, channels, frames, height, width] -> [batch, channels * frames, height, width].

    The first convolution then sees all frames of a clip at once, as one image.
    """

    def forward(
        self, clips: Float[Tensor, "batch channels frames height width"]
    ) -> Float[Tensor, "batch folded height width"]:
        """Frames as channels, in channels-last order, which the convolutions want."""
        return clips.permute(0, 3, 4, 1, 2).flatten(3, 4).permute(0, 3, 1, 2)


class Residual(nn.Module):
    """relu(body(x) + shortcut(x)), of images or of clips.

    Args:
        body: the convolutions.
        shortcut: a 1x1 convolution where they change the shape; None: the input itself.
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = nn.Identity() if shortcut is None else shortcut
        self.relu = nn.ReLU(inplace=True)

    def forward(
        self, maps: Float[Tensor, "batch _channels ..."]
    ) -> Float[Tensor, "batch _out_channels ..."]:
        """The block's output."""
        output: Tensor = self.relu(self.body(maps) + self.shortcut(maps))
        return output


def build_resnet(
    name: Literal["resnet18", "resnet50"], *, input_shape: tuple[int, int, int, int]
) -> tuple[nn.Sequential, int]:
    """A ResNet over clips and the size of its output (512 or 2048), averaged over positions.

    Args:
        name: which depth.
        input_shape: channels, frames, height, width. Up to 64 x 64 the stem is one 3x3 convolution
            with stride 1 and no pooling; above, the 7x7 with stride 2 and the max-pool.
    """
    channels, frames, height, width = input_shape
    small = max(height, width) <= SMALL_INPUT
    layers: list[nn.Module] = [
        FoldFrames(),
        *_convolution(channels * frames, 64, 3 if small else 7, 1 if small else 2),
        nn.ReLU(inplace=True),
    ]
    if not small:
        layers.append(nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
    depths = (2, 2, 2, 2) if name == "resnet18" else (3, 4, 6, 3)
    in_channels = 64
    for stage, depth in enumerate(depths):
        for block in range(depth):
            stride = 2 if stage > 0 and block == 0 else 1
            residual, in_channels = _block(name, in_channels, 64 * 2**stage, stride)
            layers.append(residual)
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    # As in `adassl.backbones.build_conv3d`: the faster order, on CPU and GPU.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network, in_channels


def _block(name: str, in_channels: int, channels: int, stride: int) -> tuple[Residual, int]:
    """The basic block (ResNet-18) or the bottleneck (ResNet-50), and its number of channels."""
    if name == "resnet18":
        out_channels = channels
        convolutions = [
            _convolution(in_channels, channels, 3, stride),
            _convolution(channels, channels, 3, 1),
        ]
    else:
        out_channels = 4 * channels
        convolutions = [
            _convolution(in_channels, channels, 1, 1),
            _convolution(channels, channels, 3, stride),
            _convolution(channels, out_channels, 1, 1),
        ]
    layers = list(convolutions[0])
    for convolution in convolutions[1:]:
        layers += [nn.ReLU(inplace=True), *convolution]
    shortcut = None
    if stride != 1 or in_channels != out_channels:
        shortcut = nn.Sequential(*_convolution(in_channels, out_channels, 1, stride))
    return Residual(nn.Sequential(*layers), shortcut), out_channels


def _convolution(in_channels: int, out_channels: int, kernel: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(
            in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False
        ),
        nn.BatchNorm2d(out_channels),
    ]
