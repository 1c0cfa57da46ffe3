"""The experiment on chains: its arms, what it knows of real files, and its verdicts."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.config.run import with_overrides
from pipelines.experiments import catalogue
from pipelines.experiments.arm import Arm
from pipelines.experiments.chains.arms import CANVAS, METHODS, base_config
from pipelines.experiments.chains.page import hypotheses, page_of
from pipelines.experiments.chains.trial import (
    NUM_FRAMES,
    EmbeddedChains,
    embedded_chains,
    forecast_metrics,
)
from pipelines.experiments.page import Origin
from pipelines.sources.digit_motion import FIRST_CHANGE
from pipelines.sources.moving_digits import write_moving_digits
from pipelines.training.learner import Learner
from pipelines.video.index import load_index
from pipelines.video.indexer import build_index
from pipelines.video.schedule import Schedule
from tests.pipelines.experiments.made import results_of

EXPERIMENT = catalogue.load("chains", quick=False)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chains")
    write_moving_digits(
        folder / "set", num_videos=12, scenes=3, num_frames=NUM_FRAMES, canvas=CANVAS, num_workers=1
    )
    build_index([folder / "set"], folder / "videos.parquet")
    return folder / "videos.parquet"


def test_every_arm_encodes_as_many_clips_and_is_tuned_alike() -> None:
    configs = {
        arm.method: with_overrides(
            EXPERIMENT.config,
            {k: v for k, v in arm.settings.items() if not k.startswith("task.")},
        )
        for arm in EXPERIMENT.arms
    }
    clips = {c.train.steps * c.data.moments_per_chain for c in configs.values()}
    assert len(clips) == 1
    assert {c.train.global_batch_size for c in configs.values()} == {256}
    moments = [number for _, number, _ in METHODS.values()]
    assert [c.data.moments_per_chain for c in configs.values()] == moments
    assert EXPERIMENT.tuning is not None
    assert {len(each) for each in EXPERIMENT.tuning.alternatives.values()} == {3}
    quick = catalogue.load("chains", quick=True)
    assert quick.num_trials == 3


def test_no_pair_or_chain_reaches_into_another_scene_or_over_a_change(index: Path) -> None:
    videos = load_index(index).select(split="train")
    for arm in EXPERIMENT.arms:
        settings = {k: v for k, v in arm.settings.items() if k.startswith("data.")}
        data = with_overrides(base_config(), settings).data
        schedule = Schedule(videos, data, seed=0, global_batch_size=4)
        starts = {
            int(first) + int(start)
            for number in range(20)
            for window in [schedule.window(number)]
            for first, start in zip([window.first] * len(window.starts), window.starts, strict=True)
        }
        assert len(starts) >= 3
        for start in starts:
            moments = start % NUM_FRAMES + 6 * np.arange(data.moments_per_chain)
            assert moments.max() + 3 <= NUM_FRAMES
            # A change comes before frames 3, 9, 15, 21 of a scene: never within a clip.
            assert set((moments - FIRST_CHANGE) % 6) <= {0, 1, 2, 3}


@pytest.mark.slow
def test_velocities_are_those_that_the_scene_was_made_with(index: Path) -> None:
    config = with_overrides(
        base_config(), {"data.index": str(index), "backbone.hidden_dims": [4, 8, 16, 16, 8]}
    )
    learner = Learner(config, torch.device("cpu"))
    learner.method.eval()
    chains = embedded_chains(learner, "train")
    assert len(chains.digits) >= 12
    assert chains.moments.shape[:2] == chains.velocities.shape[:2] == (len(chains.digits), 4)
    changes = np.diff(chains.velocities, axis=1)
    assert (np.abs(changes) > 1e-9).sum(axis=2).max() == 1, "one axis at a time"
    assert ((np.abs(changes) > 1e-9).sum(axis=2) == 1).mean() > 0.9
    assert len({tuple(v) for v in chains.velocities[:, 0]}) > len(chains.digits) / 2


def chains_of(num: int, seed: int) -> EmbeddedChains:
    """Embeddings that are the velocity, on the upper half of the sphere."""
    rng = np.random.default_rng(seed)
    velocities = rng.uniform(0, 3, (num, 4, 2))
    z = np.concatenate([velocities / 6, np.ones((num, 4, 62)) / 20], axis=2)
    return EmbeddedChains(
        representation=velocities[:, 0],
        contexts=torch.from_numpy(z[:, 0]).float(),
        moments=(z / np.linalg.norm(z, axis=2, keepdims=True)).astype(np.float32),
        velocities=velocities,
        digits=np.zeros(num, np.int64),
    )


def test_a_method_without_r_forecasts_a_point_at_every_step() -> None:
    changes = {"method.latent": "none", "method.embedding_dim": 64}
    learner = Learner(with_overrides(base_config(), changes), torch.device("cpu"))
    learner.method.eval()
    found = forecast_metrics(learner, chains_of(600, 0), chains_of(150, 1), seed=0)
    # A fresh residual editor is the identity: every step is no change.
    for step in (1, 2, 3):
        assert found[f"energy_{step}"] == pytest.approx(found[f"energy_no_change_{step}"], rel=1e-4)
        assert found[f"rescaled/energy_{step}"] == pytest.approx(found[f"energy_{step}"], rel=1e-3)
        assert found[f"spread_{step}"] == 0
        assert found[f"reader_r2_{step}"] > 0.9
        assert found[f"energy_oracle_{step}"] > 0
    assert found["score"] == -min(found["energy_2"], found["rescaled/energy_2"])


def metrics(arm: Arm) -> dict[str, float]:
    """Chains are better at their last steps, and no worse at the first."""
    chained = arm.method.startswith("chains")
    energies = {1: 0.7, 2: 0.9 if chained else 1.2, 3: 1.1 if chained else 1.6}
    less = 0.0 if "no-r" not in arm.method else 0.3
    return {
        "test/digit": 0.8 + 0.1 * chained,
        "test/velocity": 0.9,
        "test/recall_1_best_2": 0.2 + 0.1 * chained,
        **{f"test/energy_{step}": value + less for step, value in energies.items()},
        **{f"test/rescaled/energy_{step}": value + less for step, value in energies.items()},
        **{f"test/energy_last_velocity_{step}": 1.5 for step in energies},
        **{f"test/energy_no_change_{step}": 1.6 for step in energies},
        **{f"test/energy_oracle_{step}": 0.6 for step in energies},
        **{f"test/spread_{step}": 0.95 for step in energies},
    }


def test_verdicts_follow_from_the_metrics(tmp_path: Path) -> None:
    found = results_of(EXPERIMENT, metrics)
    assert [h.verdict for h in hypotheses(found)] == ["held"] * 9
    lost = results_of(
        EXPERIMENT,
        metrics,
        {
            "A.pairs-v": {"test/rescaled/energy_2": 0.85},
            "A.chains-3-v": {"test/energy_1": 0.8, "test/spread_2": 0.5},
        },
    )
    verdicts = [h.verdict for h in hypotheses(lost)]
    assert [i for i, verdict in enumerate(verdicts) if verdict == "did not hold"] == [0, 6, 8]
    page = page_of(found, tmp_path)
    written = page.write(
        tmp_path, images=tmp_path, origin=Origin(name="chains", command="-"), results=found
    )
    text = written.read_text()
    assert "chains of 3, AdaSSL-V" in text
    assert (tmp_path / "energies.png").stat().st_size > 5000
