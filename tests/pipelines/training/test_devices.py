"""Training, validation, evaluation and checkpoints on another device than the CPU.

Without a GPU by `tests.strict_device`: for every objective, latent and editor, no operator meets
tensors of two devices, and no training step makes the host wait for the device.
"""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from adassl.latent_size import num_kept, switch_off_idle
from adassl.traits import TRAITS
from pipelines.evaluation.embed import DecodedPairs, embed
from pipelines.evaluation.evaluate import label_free, nearest_futures
from pipelines.storage.checkpoints import Checkpoints
from pipelines.storage.folder import Folder
from pipelines.training.inputs import Batch
from pipelines.training.learner import Learner
from tests.pipelines.training.test_learner import assert_same, batch_for, batch_of, config_of
from tests.strict_device import DEVICE, MixedDevicesError, StrictDevice, strict_device

__all__ = ["strict_device"]

PLAIN = {"method.latent": "none", "method.editor": "identity"}
CASES: dict[str, dict[str, Any]] = {
    **{name: {**PLAIN, "method.objective": name} for name in TRAITS},
    "variational-mlp": {},
    "mixture-residual": {"method.prior_components": 2, "method.editor": "residual"},
    "variational-additive": {"method.editor": "additive", "method.latent_dim": 16},
    "sparse-low_rank": {
        "method.latent": "sparse",
        "method.editor": "low_rank",
        "method.active_rate": 0.25,
    },
    "variational-slots": {"method.editor": "slots"},
    "sparse-attention": {"method.latent": "sparse", "method.editor": "attention"},
    "control-attention": {"method.latent": "none", "method.editor": "attention"},
    "latent-size": {"method.latent_dim": "auto"},
    "given-mlp": {"method.latent": "given"},
    "control-residual": {"method.latent": "none", "method.editor": "residual"},
    "byol-variational": {"method.objective": "byol", "method.free_nats": 1.0},
    "byol-sparse": {"method.objective": "byol", "method.latent": "sparse"},
    "lejepa-variational": {"method.objective": "lejepa"},
    "mmcr-frobenius": {**PLAIN, "method.objective": "mmcr", "method.nuclear": False},
    "surrogate": {"data.surrogate": True},
    "chains": {"data.moments_per_chain": 4},
    "chains-attention": {"data.moments_per_chain": 3, "method.editor": "attention"},
    "chains-byol-augmented": {
        "data.moments_per_chain": 3,
        "data.views": "both",
        "method.objective": "byol",
    },
    "triplets": {"data.negative": True, "method.objective": "triplet"},
    "augmented": {"data.views": "augmentation", "data.surrogate": True},
    "resnet": {"backbone.name": "resnet18", "backbone.hidden_dims": None},
    "swav-queue": {**PLAIN, "method.objective": "swav", "method.queue_size": 12},
    "dino-crops": {
        **PLAIN,
        "method.objective": "dino",
        "data.views": "augmentation",
        "data.local_crops": 2,
    },
}


def batches(learner: Learner, count: int) -> list[Batch]:
    """Frames, or views with the r that a latent asks for."""
    frames = [batch_for(learner.config, i) for i in range(count)]
    if learner.config.method.latent != "given":
        return list(frames)
    latent = torch.full((8, learner.config.method.latent_size), 0.5)
    return [dataclasses.replace(learner.views(batch), latent=latent) for batch in frames]


@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")
@sdpa_kernel(SDPBackend.MATH)  # the CPU's own kernel rounds otherwise, which Adam makes large
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(changes, id=name, marks=pytest.mark.slow if name == "resnet" else ())
        for name, changes in CASES.items()
    ],
)
def test_nothing_mixes_devices_and_no_step_waits(
    strict_device: StrictDevice, changes: dict[str, Any], tmp_path: Path
) -> None:
    config = config_of(**changes)
    learner, reference = Learner(config, DEVICE), Learner(config, torch.device("cpu"))
    for batch in batches(learner, 2):
        output = learner.train_step(batch)
    assert strict_device.waits == []
    learner.check()
    assert set(strict_device.waits) == {"aten._local_scalar_dense.default"}
    metrics, validated = learner.metrics(output), learner.validate(batches(learner, 2))
    for batch in batches(reference, 2):
        expected = reference.train_step(batch)
    assert metrics == pytest.approx(reference.metrics(expected), rel=1e-3, abs=1e-5)
    assert validated == pytest.approx(reference.validate(batches(reference, 2)), rel=1e-3, abs=1e-5)
    assert "centre_norm" in validated
    for one in (learner, reference):
        switch_off_idle(one.method, one.views(batches(one, 3)[2]), step=2)
    assert num_kept(learner.method.latent) == num_kept(reference.method.latent)

    checkpoints = Checkpoints(Folder(tmp_path))
    checkpoints.save(2, learner.state_dict(), best_value=0.0)
    state = checkpoints.load("newest")
    assert state is not None
    for device in (DEVICE, torch.device("cpu")):
        resumed = Learner(config, device)
        resumed.load_state_dict(state)
        resumed.train_step(batches(resumed, 3)[2])
        resumed.check()
    if config.method.latent != "given":
        evaluated(learner)


def evaluated(learner: Learner) -> None:
    """The metrics without labels, and futures."""
    rows = SimpleNamespace(index=SimpleNamespace(path=np.array([f"{i}.mp4" for i in range(8)])))
    known = {"video": np.arange(8), "row": np.full(8, -1)}  # no row of a schedule, so no gap
    frames = [dataclasses.replace(batch_for(learner.config, i), **known) for i in range(2)]
    pairs = embed(learner, DecodedPairs(rows=cast(Any, rows), num_pairs=12, batches=frames))
    assert np.isfinite(list(label_free(pairs).values())).all()
    nearest_futures(learner, pairs, np.arange(3), 2)


def test_the_device_refuses_what_a_gpu_refuses(strict_device: StrictDevice) -> None:
    there, here = torch.ones(2, device=DEVICE), torch.ones(2)
    assert float((there * 2 + 1).sum()) == 6.0
    assert strict_device.waits == ["aten._local_scalar_dense.default"]
    assert torch.equal((there + here.to(DEVICE)).cpu(), torch.full((2,), 2.0))
    with pytest.raises(MixedDevicesError, match="two devices"):
        there + here
    with pytest.raises(MixedDevicesError, match="two devices"):
        torch.stack([there[0], torch.tensor(1.0)])


def on_gpu() -> torch.device:
    return torch.device("cuda", 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("objective", ["infonce", "byol", "dino"])
def test_a_gpu_trains_resumes_and_evaluates(
    objective: str, precision: str, compiled: bool, tmp_path: Path
) -> None:
    changes = dict(CASES[objective] if objective == "dino" else {"method.objective": objective})
    changes |= {"train.precision": precision, "train.compile": compiled}
    config = config_of(**changes)
    learner = Learner(config, on_gpu())
    for batch in batches(learner, 4):
        output = learner.train_step(batch)
    learner.check()
    assert np.isfinite(list(learner.metrics(output).values())).all()
    assert "centre_norm" in learner.validate(batches(learner, 2))
    checkpoints = Checkpoints(Folder(tmp_path))
    checkpoints.save(4, learner.state_dict(), best_value=0.0)
    state = checkpoints.load("newest")
    assert state is not None
    for device in (on_gpu(), torch.device("cpu")):
        resumed = Learner(config_of(**{**changes, "train.compile": False}), device)
        resumed.load_state_dict(state)
        assert_same(
            resumed.method.state_dict()["encoder.projector.0.weight"].cpu(),
            state["method"]["encoder.projector.0.weight"],
        )
        resumed.train_step(batches(resumed, 5)[4])
        resumed.check()
    evaluated(learner)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_no_step_on_a_gpu_waits() -> None:
    learner = Learner(config_of(), on_gpu())
    ready = batches(learner, 4)
    learner.train_step(ready[0])
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in ready[1:]:
            learner.train_step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    learner.check()


@pytest.mark.gpu
@pytest.mark.distributed
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_nccl_trains_as_one_process(tmp_path: Path) -> None:
    alone = Learner(config_of(), on_gpu())
    losses = [float(alone.train_step(batch_of(i)).terms["loss"]) for i in range(3)]
    torch.distributed.init_process_group(
        "nccl", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    try:
        wrapped = Learner(config_of(), on_gpu())
        ids = [on_gpu().index]
        wrapped._forward = torch.nn.parallel.DistributedDataParallel(wrapped.method, device_ids=ids)
        again = [float(wrapped.train_step(batch_of(i)).terms["loss"]) for i in range(3)]
        wrapped.check()
    finally:
        torch.distributed.destroy_process_group()
    assert again == pytest.approx(losses, rel=1e-4)
