from typing import Any

import pytest
import torch
from torch import nn

from adassl.backbones import build_backbone


@pytest.mark.parametrize(
    ("name", "input_shape", "hidden_dims", "output_dim"),
    [
        ("mlp", (7, 1, 1, 1), (16, 5), 5),
        ("mlp", (1, 3, 8, 8), None, 128),
        ("conv3d", (1, 3, 64, 64), None, 256),
        ("conv3d", (3, 1, 20, 36), (4, 6, 11), 11),
        ("conv3d", (2, 8, 33, 17), (4, 8, 9), 9),
        ("conv3d_pooled", (1, 3, 64, 64), None, 256),
        ("conv3d_pooled", (3, 1, 20, 36), (4, 6, 11), 11),
        ("resnet18", (1, 3, 32, 32), None, 512),
        ("resnet50", (5, 1, 16, 16), None, 2048),
        ("frames_resnet18", (1, 3, 16, 16), None, 1024),
        ("r2plus1d_18", (3, 3, 16, 16), None, 512),
        ("vit_ti", (3, 3, 16, 16), None, 192),
    ],
)
def test_representations_have_the_promised_size(
    name: Any, input_shape: Any, hidden_dims: Any, output_dim: int
) -> None:
    backbone = build_backbone(name, input_shape=input_shape, hidden_dims=hidden_dims)
    representation = backbone(torch.randn(2, *input_shape))
    assert backbone.output_dim == output_dim
    assert representation.shape == (2, output_dim)
    representation.square().sum().backward()
    assert all(p.grad is not None for p in backbone.parameters())


def test_conv3d_keeps_where_things_are() -> None:
    backbone = build_backbone("conv3d", input_shape=(1, 3, 64, 64)).eval()
    clips = torch.zeros(2, 1, 3, 64, 64)
    clips[0, :, :, 8:24, 8:24] = 1
    clips[1, :, :, 32:48, 32:48] = 1
    left, right = backbone(clips)
    assert (left - right).norm() > 0.1 * left.norm()


def test_conv3d_pooled_keeps_what_is_there_but_not_where() -> None:
    backbone = build_backbone("conv3d_pooled", input_shape=(1, 3, 64, 64)).eval()
    clips = torch.zeros(3, 1, 3, 64, 64)
    clips[0, :, :, 24:28, 24:28] = 1
    clips[1, :, :, 32:36, 32:36] = 1
    clips[2, :, :, 24:26, 24:32] = 1
    here, there, other = backbone(clips)
    torch.testing.assert_close(here, there)
    assert (here - other).norm() > 100 * (here - there).norm()


def test_memory_order_of_the_input_does_not_matter() -> None:
    backbone = build_backbone("conv3d", input_shape=(2, 3, 16, 16)).eval()
    clips = torch.randn(4, 2, 3, 16, 16)
    other = clips.contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(backbone(clips), backbone(other))


@pytest.mark.parametrize("name", ["mlp", "conv3d", "resnet18"])
def test_batch_norms_can_be_synchronised(name: Any) -> None:
    backbone = build_backbone(name, input_shape=(1, 3, 16, 16))
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(backbone)
    kinds = [type(m) for m in converted.modules() if "BatchNorm" in type(m).__name__]
    assert kinds
    assert set(kinds) == {nn.SyncBatchNorm}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "conv3D", "input_shape": (1, 3, 8, 8)}, "did you mean 'conv3d'"),
        ({"name": "mlp", "input_shape": (0, 3, 8, 8)}, "must each be at least 1"),
        ({"name": "mlp", "input_shape": (1, 1, 1, 1), "hidden_dims": ()}, "at least 1 positive"),
        ({"name": "conv3d", "input_shape": (1, 3, 8, 8), "hidden_dims": (8,)}, "at least 2"),
        (
            {"name": "resnet18", "input_shape": (1, 3, 8, 8), "hidden_dims": (8,)},
            "set hidden_dims to None",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(arguments: dict[str, Any], message: str) -> None:
    # Past the run-time type checks of the tests, which would refuse the first by itself.
    with pytest.raises(ValueError, match=message):
        getattr(build_backbone, "__wrapped__", build_backbone)(**arguments)


def test_clips_of_another_shape_are_refused() -> None:
    backbone = build_backbone("mlp", input_shape=(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"built for \[batch, 1, 3, 8, 8\]"):
        backbone(torch.zeros(2, 1, 3, 8, 9))
