from typing import Any

import pytest
import torch
from torch import nn

from adassl.resnet import FoldFrames, build_resnet


@pytest.mark.parametrize(("name", "expected"), [("resnet18", 11_176_512), ("resnet50", 23_508_032)])
def test_as_many_parameters_as_torchvision_without_its_classifier(name: Any, expected: int) -> None:
    with torch.device("meta"):
        network, _ = build_resnet(name, input_shape=(3, 1, 224, 224))
    assert sum(p.numel() for p in network.parameters()) == expected


@pytest.mark.parametrize(("size", "pooled"), [(64, False), (65, True)])
def test_only_large_inputs_are_pooled_in_the_stem(size: int, pooled: bool) -> None:
    network, _ = build_resnet("resnet18", input_shape=(1, 3, size, size))
    assert any(isinstance(module, nn.MaxPool2d) for module in network) == pooled
    first = network[1]
    assert isinstance(first, nn.Conv2d)
    assert first.in_channels == 3
    assert first.stride == ((2, 2) if pooled else (1, 1))


def test_frames_become_channels() -> None:
    clips = torch.arange(24.0).reshape(1, 2, 3, 2, 2)
    assert torch.equal(FoldFrames()(clips)[0, 4], clips[0, 1, 1])
