"""Encoders of `transformers`, on tiny models that are made here."""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from adassl.backbones import build_backbone
from adassl.pretrained import TransformersEncoder

transformers: Any = importlib.import_module("transformers")

TINY = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32}
CONFIGS: dict[str, Any] = {
    "videomae": transformers.VideoMAEConfig(
        **TINY, intermediate_size=32, patch_size=16, num_frames=16, tubelet_size=2
    ),
    "vjepa2": transformers.VJEPA2Config(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        crop_size=32,
        patch_size=16,
        frames_per_clip=16,
        pred_hidden_size=24,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
    ),
    "dinov2": transformers.Dinov2Config(**TINY, patch_size=8),
    "resnet": transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1]),
}
DIMS = {"videomae": 24, "vjepa2": 24, "dinov2": 48, "resnet": 32}


@pytest.fixture(params=CONFIGS)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, Any]:
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(CONFIGS[request.param])
    model.save_pretrained(tmp_path)
    return request.param, tmp_path, model


@pytest.mark.parametrize("shape", [(3, 4, 32, 32), (1, 3, 48, 48)])
def test_clips_of_another_size_are_taken(
    saved: tuple[str, Path, Any], shape: tuple[int, int, int, int]
) -> None:
    name, folder, _ = saved
    backbone = build_backbone("transformers", input_shape=shape, model=str(folder))
    representation = backbone(torch.rand(2, *shape) * 2 - 1)
    assert representation.shape == (2, backbone.output_dim) == (2, DIMS[name])
    representation.square().sum().backward()
    trained = [p for p in backbone.parameters() if p.requires_grad]
    assert trained
    assert all(p.grad is not None for p in trained)  # so that DDP finds none unused


def test_weights_are_those_of_the_folder_or_random(saved: tuple[str, Path, Any]) -> None:
    _, folder, model = saved
    shape = (3, 2, 32, 32)
    one, other = (
        build_backbone("transformers", input_shape=shape, model=str(folder), pretrained=known)
        for known in (True, False)
    )
    kept = {n: p for n, p in model.state_dict().items() if "predictor" not in n}
    for backbone, equal in ((one, True), (other, False)):
        (encoder,) = (m for m in backbone.modules() if isinstance(m, TransformersEncoder))
        own = encoder.model.state_dict()
        assert all(torch.equal(own[name], p) for name, p in kept.items()) == equal


def test_frames_are_normalised_as_the_model_wants_them() -> None:
    seen: list[torch.Tensor] = []

    class Model(torch.nn.Module):
        config = transformers.Dinov2Config()

        def forward(self, pixel_values: torch.Tensor) -> Any:
            seen.append(pixel_values)
            return SimpleNamespace(last_hidden_state=pixel_values.flatten(2).transpose(1, 2))

    encoder = TransformersEncoder(Model(), frames=None, mean=(0.5, 0.25, 0.0), std=(0.5, 1.0, 2.0))
    encoder(torch.ones(1, 1, 1, 2, 2))
    assert seen[0].shape == (1, 3, 2, 2)
    assert seen[0][0, :, 0, 0].tolist() == [1.0, 0.75, 0.5]


def test_what_cannot_be_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    options: Any = {"input_shape": (3, 2, 32, 32)}
    with pytest.raises(ValueError, match="name a folder or a model"):
        build_backbone("transformers", **options)
    with pytest.raises(ValueError, match=f"model='{tmp_path}'"):
        build_backbone("transformers", model=str(tmp_path), **options)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 12}))
    with pytest.raises(ValueError, match="model="):
        build_backbone("transformers", model=str(tmp_path), pretrained=False, **options)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'adassl\[transformers\]'"):
        build_backbone("transformers", model=str(tmp_path), **options)
