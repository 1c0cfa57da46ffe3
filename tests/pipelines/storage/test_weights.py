"""Weights to start from: where they are found, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from adassl.backbones import build_backbone, load_weights
from pipelines.config.run import ConfigError, RunConfig, with_overrides
from pipelines.job import check_backbone
from pipelines.storage.runs import RunFolder
from pipelines.storage.weights import backbone_weights
from pipelines.training.learner import Learner

SMALL: dict[str, Any] = {
    "data.frame_size": 8,
    "data.frames_per_clip": 1,
    "backbone.name": "mlp",
    "backbone.hidden_dims": (6, 5),
    "method.projector_hidden_dims": (8,),
}


def learner(seed: int, **changes: Any) -> Learner:
    settings = {**SMALL, "train.seed": seed, **changes}
    return Learner(with_overrides(RunConfig(), settings), torch.device("cpu"))


def backbone_of(one: Learner) -> dict[str, torch.Tensor]:
    return dict(one.method.encoder.backbone.state_dict())


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_a_run_gives_the_backbone_of_its_best_checkpoint(tmp_path: Path) -> None:
    best, newest = learner(1), learner(2)
    run = RunFolder(tmp_path / "run")
    run.checkpoints.save(1, best.state_dict(), best_value=0.0)
    run.checkpoints.save(2, newest.state_dict(), best_value=1.0)
    found = backbone_weights(str(tmp_path / "run"))
    other = learner(3, **{"method.objective": "byol"})
    other.start_from(found)
    assert same(backbone_of(other), backbone_of(best))
    assert other.method.target_encoder is not None
    assert same(dict(other.method.target_encoder.backbone.state_dict()), backbone_of(best))
    checkpoint = backbone_weights(str(tmp_path / "run" / "checkpoint_00000002"))
    assert same(checkpoint, backbone_of(newest))


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "encoder.backbone."])
def test_files_of_others_are_read_by_their_usual_names(prefix: str, tmp_path: Path) -> None:
    backbone = build_backbone("mlp", input_shape=(3, 1, 8, 8), hidden_dims=(6, 5))
    state = {prefix + name: value for name, value in backbone.network.state_dict().items()}
    torch.save({"state_dict": state | {prefix + "epoch": 3}}, tmp_path / "weights.pt")
    other = build_backbone("mlp", input_shape=(3, 1, 8, 8), hidden_dims=(6, 5))
    load_weights(other, backbone_weights(str(tmp_path / "weights.pt")))
    assert same(dict(other.state_dict()), dict(backbone.state_dict()))


def test_safetensors_are_read_and_a_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    backbone = build_backbone("mlp", input_shape=(3, 1, 8, 8), hidden_dims=(6, 5))
    file = tmp_path / "model.safetensors"
    save_file(dict(backbone.state_dict()), file)
    assert same(backbone_weights(str(tmp_path)), dict(backbone.state_dict()))
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(ConfigError, match=r"not loaded: .*cut off"):
        backbone_weights(str(tmp_path))


def test_what_does_not_fit_is_refused_before_the_run(tmp_path: Path) -> None:
    torch.save(learner(1).state_dict(), tmp_path / "state.pt")
    wide = {**SMALL, "backbone.hidden_dims": (7, 5), "backbone.init_from": str(tmp_path)}
    with pytest.raises(ConfigError, match="of another shape, such as network"):
        check_backbone(with_overrides(RunConfig(), wide))
    good = {**SMALL, "backbone.init_from": str(tmp_path)}
    check_backbone(with_overrides(RunConfig(), good))
    with pytest.raises(ConfigError, match="no run, checkpoint or weights"):
        backbone_weights(str(tmp_path / "nowhere"))
    (tmp_path / "bad.pt").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="not loaded"):
        backbone_weights(str(tmp_path / "bad.pt"))
    torch.save({"step": 1}, tmp_path / "empty.pt")
    with pytest.raises(ConfigError, match="no weights of a backbone"):
        backbone_weights(str(tmp_path / "empty.pt"))
