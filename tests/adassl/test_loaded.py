"""Exported encoders: the same numbers as before, by torch alone, and nothing that is run."""

import importlib
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

import adassl
from adassl import Encoder, Preprocessing
from adassl.loaded import FORMAT, Architecture, digest_of
from adassl.pretrained import parts_of_transformers

ROOT = Path(__file__).parents[2]
SHAPE = 4, 32
"""Frames and side."""
PARTS: dict[str, dict[str, Any]] = {
    "mlp": {"backbone": "mlp", "hidden_dims": (6, 5)},
    "conv3d": {"backbone": "conv3d", "hidden_dims": (4, 8, 12)},
    "conv3d_pooled": {"backbone": "conv3d_pooled", "hidden_dims": (4, 8, 12)},
    "resnet18": {"backbone": "resnet18"},
    "frames_resnet18": {"backbone": "frames_resnet18"},
    "r2plus1d_18": {"backbone": "r2plus1d_18"},
    "vit_ti": {"backbone": "vit_ti", "tubelet": (2, 16)},
}


def preprocessing(**changes: Any) -> Preprocessing:
    frames, side = SHAPE
    fixed: dict[str, Any] = {"frames_per_clip": frames, "frame_size": side}
    return Preprocessing(**{**fixed, "crop": "center", "grayscale": False, **changes})


def exported(
    folder: Path, parts: Architecture, about: Preprocessing | None = None, seed: int = 0
) -> Encoder:
    """A folder as `adassl export` makes it, and the encoder in it."""
    about = about or preprocessing()
    torch.manual_seed(seed)
    encoder = parts.build(about.input_shape)
    for parameter in encoder.parameters():  # the weights of a training, not those of the builder
        parameter.data.add_(torch.randn_like(parameter) * 0.01)
    state = {name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}
    folder.mkdir(exist_ok=True)
    save_file(state, folder / "model.safetensors")
    content = {
        "format": FORMAT,
        "architecture": asdict(parts),
        "preprocessing": asdict(about),
        "weights_sha256": digest_of(folder / "model.safetensors"),
        "source": {"anything": ["else", 1]},
    }
    (folder / "config.json").write_text(json.dumps(content))
    return encoder.eval()


def small(**changes: Any) -> Architecture:
    fixed: dict[str, Any] = {**PARTS["conv3d"], "projector_hidden_dims": (8,), "embedding_dim": 6}
    return Architecture(**{**fixed, **changes})


def clips(batch: int, channels: int = 3, height: int = 32, width: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (batch, SHAPE[0], height, width, channels)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


SLOW = {"r2plus1d_18"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in PARTS]
)
def test_every_backbone_gives_what_it_gave(name: str, tmp_path: Path) -> None:
    parts = small(**{"hidden_dims": None, **PARTS[name]})
    encoder = exported(tmp_path / "out", parts)
    state = torch.random.get_rng_state()
    loaded = adassl.load(tmp_path / "out")
    assert torch.equal(torch.random.get_rng_state(), state), "loading draws from no one's generator"
    frames = clips(3)
    seen = frames.permute(0, 4, 1, 2, 3).float().div_(127.5).sub_(1.0)
    with torch.no_grad():
        expected = encoder(seen)
    h = loaded.embed_clip(frames)
    assert torch.equal(h, expected.representation)
    assert torch.equal(loaded.project(h), expected.embedding)
    torch.testing.assert_close(loaded.embed_clip(frames[1]), h[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loaded.project(h[1]), expected.embedding[1], rtol=1e-4, atol=1e-5)
    assert not loaded.training


@pytest.mark.parametrize("kind", ["videomae", "dinov2"])
def test_a_model_of_transformers_needs_neither_its_folder_nor_the_hub(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers: Any = importlib.import_module("transformers")
    tiny = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32}
    config: Any = {
        "videomae": lambda: transformers.VideoMAEConfig(
            **tiny, intermediate_size=32, patch_size=16, num_frames=16, tubelet_size=2
        ),
        "dinov2": lambda: transformers.Dinov2Config(**tiny, patch_size=8),
    }[kind]()
    model = tmp_path / "model"
    transformers.AutoModel.from_config(config).save_pretrained(model)
    normal = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    (model / "preprocessor_config.json").write_text(json.dumps(normal))
    shape = preprocessing().input_shape
    built = adassl.build_backbone("transformers", input_shape=shape, model=str(model))
    described = parts_of_transformers(built.network)
    assert described is not None
    parts = small(backbone="transformers", hidden_dims=None, transformers=described)
    encoder = exported(tmp_path / "out", parts)
    for file in model.iterdir():
        file.unlink()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    frames = clips(2)
    seen = frames.permute(0, 4, 1, 2, 3).float().div_(127.5).sub_(1.0)
    with torch.no_grad():
        expected = encoder(seen).representation
    assert torch.equal(adassl.load(tmp_path / "out").embed_clip(frames), expected)


ALONE = """
import sys
from importlib.machinery import PathFinder
class Hide(PathFinder):
    @classmethod
    def find_spec(cls, name, *place):
        hidden = name.partition(".")[0] in {blocked}
        return None if hidden else super().find_spec(name, *place)
sys.meta_path = [Hide if finder is PathFinder else finder for finder in sys.meta_path]
import torch, adassl
encoder = adassl.load({folder!r})
frames = torch.arange(4 * 40 * 50 * 3).remainder(251).to(torch.uint8).reshape(4, 40, 50, 3)
h = encoder.embed_clip(frames)
print(len(h), h.sum().item())
"""
BLOCKED = {
    *("numpy", "ray", "mlflow", "decord", "av", "safetensors", "pydantic", "pyarrow", "pandas"),
    *("sklearn", "scipy", "transformers", "matplotlib", "pipelines", "tune_spaces"),
}


def test_torch_alone_is_needed(tmp_path: Path) -> None:
    exported(tmp_path / "out", small())
    code = ALONE.format(blocked=BLOCKED, folder=str(tmp_path / "out"))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    frames = torch.arange(4 * 40 * 50 * 3).remainder(251).to(torch.uint8).reshape(4, 40, 50, 3)
    h = adassl.load(tmp_path / "out").embed_clip(frames)
    assert int(done.stdout.split()[0]) == len(h) == 12
    assert float(done.stdout.split()[1]) == pytest.approx(h.sum().item(), abs=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same(tmp_path: Path) -> None:
    exported(tmp_path / "out", small())
    frames = clips(3, height=48, width=64)
    here, there = (adassl.load(tmp_path / "out", device=d) for d in ("cpu", "cuda"))
    h = there.embed_clip(frames)
    assert h.is_cuda
    torch.testing.assert_close(h.cpu(), here.embed_clip(frames), rtol=1e-2, atol=1e-2)
    assert there.project(h.cpu()).is_cuda


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (clips(1).float() / 255, "frames of torch.float32: pixels must be uint8"),
        (clips(1)[:, :3], "clips of 3 frames: this encoder takes 4"),
        (clips(1)[0, 0], "must be [frames, height, width, channels]"),
        (clips(2).permute(0, 1, 4, 2, 3), "channels, the last"),
        (clips(0), "must be [frames, height, width, channels]"),
    ],
)
def test_frames_that_do_not_fit_are_refused_in_words(
    frames: torch.Tensor, words: str, tmp_path: Path
) -> None:
    exported(tmp_path / "out", small())
    with pytest.raises(ValueError) as error:
        adassl.load(tmp_path / "out").embed_clip(frames)
    assert words in str(error.value)


def test_grey_is_luma_in_integers_and_grey_frames_are_spread(tmp_path: Path) -> None:
    frames = clips(2)
    exported(tmp_path / "grey", small(), preprocessing(grayscale=True))
    grey = adassl.load(tmp_path / "grey")
    red, green, blue = frames.int().unbind(-1)
    luma = ((77 * red + 150 * green + 29 * blue + 128) >> 8).to(torch.uint8)[..., None]
    assert torch.equal(grey.embed_clip(frames), grey.embed_clip(luma))
    exported(tmp_path / "colour", small())
    colour = adassl.load(tmp_path / "colour")
    assert torch.equal(colour.embed_clip(luma), colour.embed_clip(luma.repeat(1, 1, 1, 1, 3)))


def test_the_centre_is_cut_or_the_whole_squeezed(tmp_path: Path) -> None:
    wide = clips(1, width=48)
    exported(tmp_path / "cut", small())
    cut = adassl.load(tmp_path / "cut")
    assert torch.equal(cut.embed_clip(wide), cut.embed_clip(wide[:, :, :, 8:40]))
    exported(tmp_path / "whole", small(), preprocessing(crop="none"))
    whole = adassl.load(tmp_path / "whole").prepare(torch.full((4, 20, 90, 3), 200).byte())
    assert whole.shape == (1, 3, 4, 32, 32)
    assert torch.equal(whole, torch.full_like(whole, 200 / 127.5 - 1))


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """Soft light and sharp edges."""
    y, x = np.mgrid[:height, :width] / height
    waves = [np.sin(9 * x + 5 * y * c) + np.cos(17 * y - 4 * c * x) for c in (1, 2, 3)]
    frame = 128 + 40 * np.stack(waves, axis=-1)
    frame[height // 4 : height // 2, width // 5 : width // 3] = (230, 40, 60)
    return frame.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(240, 320), (96, 128), (720, 1280), (50, 60)])
@pytest.mark.filterwarnings("ignore:missing time_base")  # of a frame that no file holds
def test_resizing_differs_little_from_the_decoder_s(size: tuple[int, int], tmp_path: Path) -> None:
    from pipelines.video.pyav_reader import ToRgb

    exported(tmp_path / "out", small(), preprocessing(frame_size=64))
    frame = av.VideoFrame.from_ndarray(picture(*size), format="rgb24").reformat(format="yuv420p")
    whole = ToRgb(None, None)(frame)
    short = min(size)
    by_decoder = ToRgb(round(size[1] * 64 / short), 64)(frame)
    left = round((by_decoder.shape[1] - 64) / 2)
    clip = torch.from_numpy(np.stack([whole] * 4))
    ours = (adassl.load(tmp_path / "out").prepare(clip)[0, :, 0] + 1) * 127.5
    difference = np.abs(
        ours.permute(1, 2, 0).numpy() - by_decoder[:, left : left + 64].astype(float)
    )
    assert difference.mean() < (3 if short > 64 else 5)


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return Path.touch, (Path("exploded"),)  # type: ignore[return-value]


def test_nothing_in_the_folder_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    exported(out, small())
    bomb = pickle.dumps(Bomb())
    for name in ("model.pt", "pytorch_model.bin", "config.pkl", "__init__.py", "model.py"):
        (out / name).write_bytes(bomb if not name.endswith("py") else b"open('exploded', 'w')")
    adassl.load(out)
    (out / "model.safetensors").write_bytes(bomb)
    with pytest.raises(ValueError, match="not the file that was exported"):
        adassl.load(out)
    content = json.loads((out / "config.json").read_text())
    content["weights_sha256"] = digest_of(out / "model.safetensors")
    (out / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="no safetensors file"):
        adassl.load(out)
    assert not (tmp_path / "exploded").exists()
    Bomb().__reduce__()[0](tmp_path / "exploded")  # it would have
    assert (tmp_path / "exploded").exists()


def test_a_model_s_config_cannot_name_code(tmp_path: Path) -> None:
    transformers: Any = importlib.import_module("transformers")
    config = transformers.Dinov2Config(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8
    )
    config.save_pretrained(tmp_path / "model")
    shape = preprocessing().input_shape
    built = adassl.build_backbone(
        "transformers", input_shape=shape, model=str(tmp_path / "model"), pretrained=False
    )
    described = parts_of_transformers(built.network)
    assert described is not None
    parts = small(backbone="transformers", hidden_dims=None, transformers=described)
    exported(tmp_path / "out", parts)
    file = tmp_path / "out" / "config.json"
    content = json.loads(file.read_text())
    named = content["architecture"]["transformers"]["config"]
    named["auto_map"] = {"AutoModel": "evil--model.Model", "AutoConfig": "evil--model.Config"}
    named["_attn_implementation"] = "evil/kernel"
    named["attn_implementation"] = "evil/kernel"
    file.write_text(json.dumps(content))
    encoder: Any = adassl.load(tmp_path / "out").backbone
    assert type(encoder.network.image_encoder.model) is transformers.Dinov2Model
    named["model_type"] = "evil"
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="model_type='evil'"):
        adassl.load(tmp_path / "out")


def test_what_is_no_export_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="adassl export RUN --out FOLDER"):
        adassl.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="copy the folder to this machine"):
        adassl.load("s3://bucket/out")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps({"data": {}}))
    with pytest.raises(ValueError, match="of a run's folder make one"):
        adassl.load(tmp_path / "run")
    exported(tmp_path / "out", small())
    file = tmp_path / "out" / "config.json"
    content = json.loads(file.read_text())
    for change in ({"backbone": "conv4d"}, {"hidden_dims": [4]}, {"wings": 2}):
        wrong = {**content, "architecture": {**content["architecture"], **change}}
        file.write_text(json.dumps(wrong))
        with pytest.raises(ValueError):
            adassl.load(tmp_path / "out")
    file.write_text(json.dumps({**content, "preprocessing": {"crop": "left"}}))
    with pytest.raises(ValueError, match="made by another version"):
        adassl.load(tmp_path / "out")
    wider = {**content["architecture"], "hidden_dims": [4, 8, 13]}
    file.write_text(json.dumps({**content, "architecture": wider}))
    with pytest.raises(ValueError, match="of another encoder"):
        adassl.load(tmp_path / "out")
    monkeypatch.setitem(sys.modules, "mlflow.artifacts", None)
    with pytest.raises(ImportError, match="pip install mlflow"):
        adassl.load("models:/encoder@champion")
