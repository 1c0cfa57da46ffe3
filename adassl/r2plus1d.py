"""R(2+1)D-18: a ResNet over clips whose convolutions are split into space and time.

Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", arXiv
1711.11248: as many weights as the ResNet of 3D convolutions; initialised as in torchvision.
"""

import torch
from torch import nn

from adassl.resnet import Residual

STEM_INPUT = 32
"""Clips up to this many pixels high and wide are not halved by the stem."""


def build_r2plus1d(*, input_shape: tuple[int, int, int, int]) -> tuple[nn.Sequential, int]:
    """The network and the size of its output (512), averaged over frames and positions.

    Args:
        input_shape: channels, frames, height, width.
    """
    channels, _, height, width = input_shape
    stride = 1 if max(height, width) <= STEM_INPUT else 2
    layers: list[nn.Module] = [
        nn.Conv3d(channels, 45, (1, 7, 7), (1, stride, stride), (0, 3, 3), bias=False),
        nn.BatchNorm3d(45),
        nn.ReLU(inplace=True),
        nn.Conv3d(45, 64, (3, 1, 1), padding=(1, 0, 0), bias=False),
        nn.BatchNorm3d(64),
        nn.ReLU(inplace=True),
    ]
    in_channels = 64
    for stage, out_channels in enumerate((64, 128, 256, 512)):
        for block in range(2):
            halves = stage > 0 and block == 0
            layers.append(_block(in_channels, out_channels, 2 if halves else 1))
            in_channels = out_channels
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten())
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    # As in `adassl.backbones.build_conv3d`: the faster order, on CPU and GPU.
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network, in_channels


def _block(in_channels: int, out_channels: int, stride: int) -> Residual:
    """Two (2+1)D convolutions and what goes around them."""
    body = nn.Sequential(
        *_split_convolution(in_channels, out_channels, stride),
        nn.ReLU(inplace=True),
        *_split_convolution(out_channels, out_channels, 1),
    )
    shortcut = None
    if stride != 1 or in_channels != out_channels:
        shortcut = nn.Sequential(
            nn.Conv3d(in_channels, out_channels, 1, stride=stride, bias=False),
            nn.BatchNorm3d(out_channels),
        )
    return Residual(body, shortcut)


def _split_convolution(in_channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    """A convolution in space and one in time, with as many weights as one of 3 x 3 x 3."""
    between = (in_channels * out_channels * 27) // (in_channels * 9 + 3 * out_channels)
    return [
        nn.Conv3d(in_channels, between, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
        nn.BatchNorm3d(between),
        nn.ReLU(inplace=True),
        nn.Conv3d(between, out_channels, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
        nn.BatchNorm3d(out_channels),
    ]
