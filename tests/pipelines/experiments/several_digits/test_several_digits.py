"""The experiment on several digits: equal arms, who varies in a future, and its verdicts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from adassl.build import build_method
from adassl.config import MethodConfig
from adassl.forecaster import Forecaster
from pipelines.config.run import ConfigError, RunConfig, with_overrides
from pipelines.experiments import catalogue
from pipelines.experiments.arm import Arm
from pipelines.experiments.digits import Splits, embedded
from pipelines.experiments.page import Origin
from pipelines.experiments.several_digits.alone import (
    ALONE_FILE,
    FuturesAlone,
    Reader,
    digit_of_each,
    future_metrics,
    share_of,
    variances,
)
from pipelines.experiments.several_digits.arms import PER_DIGIT, base_config
from pipelines.experiments.several_digits.hypotheses import GROUPS, hypotheses
from pipelines.experiments.several_digits.page import page_of
from pipelines.experiments.several_digits.scenes import Scenes
from pipelines.experiments.several_digits.trial import config_of, probe_metrics
from pipelines.sources.moving_digits import write_moving_digits
from pipelines.storage.runs import RunFolder
from pipelines.training.learner import Learner
from pipelines.video.indexer import build_index
from tests.pipelines.experiments.made import results_of

EXPERIMENT = catalogue.load("several-digits", quick=False)
NUM_DIGITS = 2


def config_of_arm(arm: Arm) -> RunConfig:
    """The config of its trials."""
    task = {k.removeprefix("task."): v for k, v in arm.settings.items() if k.startswith("task.")}
    own = {k: v for k, v in arm.settings.items() if not k.startswith("task.")}
    return config_of(with_overrides(EXPERIMENT.config, own), task)


@pytest.mark.parametrize("group", GROUPS)
def test_editors_of_a_group_have_as_many_parameters_and_r_grows_with_the_digits(group: str) -> None:
    configs = {
        arm.method: config_of_arm(arm).method for arm in EXPERIMENT.arms if arm.group == group
    }
    sizes = {
        name: sum(
            parameter.numel()
            for parameter in build_method(nn.Flatten(), output_dim=2, config=c).editor.parameters()
        )
        for name, c in configs.items()
    }
    assert set(sizes) == {"no-r", "mlp", "residual", "slots", "attention"}
    for name, size in sizes.items():
        assert size == pytest.approx(sizes["mlp"], rel=0.05), name
    assert {c.latent_size for c in configs.values()} == {PER_DIGIT * GROUPS[group]}
    assert {len(c.editor_hidden_dims) for c in configs.values()} == {1}


def test_arms_differ_in_their_editor_alone_and_are_tuned_alike() -> None:
    assert EXPERIMENT.num_trials == 3 * 5 * 5
    differing = {"editor", "editor_hidden_dims", "latent", "latent_dim"}
    for arm in EXPERIMENT.arms:
        config = config_of_arm(arm)
        assert config.data.index == EXPERIMENT.config.data.index
        for name, value in vars(base_config().method).items():
            assert name in differing or getattr(config.method, name) == value, name
    assert EXPERIMENT.tuning is not None
    assert {len(tried) for tried in EXPERIMENT.tuning.alternatives.values()} == {3}
    tuned = EXPERIMENT.of_tuning()
    assert (tuned.num_trials, {arm.group for arm in tuned.arms}) == (5 * 3, {"two"})
    with pytest.raises(ConfigError, match=r"these arms take the tuning of two\.slots; choose"):
        EXPERIMENT.only(["one.slots"])
    assert len(EXPERIMENT.only(["one.slots", "two.slots"]).arms) == 2
    assert catalogue.load("several-digits", quick=True).num_trials == 6


def test_each_dimension_of_r_goes_to_the_digit_that_it_tells_most_of() -> None:
    rng = np.random.default_rng(0)
    changes = rng.normal(size=(400, 3, 2))
    told = [
        changes[:, 2, 0] + 0.3 * changes[:, 0, 1],
        np.abs(changes[:, 1, 1]),  # that something changes, not where to
        0.2 * changes[:, 0, 0],
        changes[:, 1, 0] - changes[:, 1, 1],
    ]
    latent = np.column_stack(told) + 0.1 * rng.normal(size=(400, 4))
    assert digit_of_each(latent + 5, changes).tolist() == [2, 1, 0, 1]


def test_the_share_is_of_the_variance_within_each_pair() -> None:
    rng = np.random.default_rng(0)
    velocities = rng.normal(size=(300, 1, 3, 2)) * 10 + np.zeros((300, 64, 3, 2))
    velocities[:, :, 1] += rng.normal(0, 2, (300, 64, 2))
    velocities[:, :, 2] += rng.normal(0, 1, (300, 64, 2))
    of_each = variances(velocities)
    assert of_each == pytest.approx([0, 8, 2], rel=0.05, abs=1e-9)
    assert share_of(of_each, 1) == pytest.approx(0.8, abs=0.02)
    assert share_of(np.zeros(3), 0) == 0, "nothing varies"


def test_only_the_dimensions_that_are_meant_are_drawn() -> None:
    config = MethodConfig(
        editor="slots", latent_dim=4, embedding_dim=8, editor_slots=4, projector_hidden_dims=()
    )
    method = build_method(nn.Identity(), output_dim=6, config=config).eval()
    for parameter in method.editor.parameters():
        nn.init.normal_(parameter)
    z, latent, target = torch.randn(40, 8), torch.randn(40, 4), torch.randn(40, 8)
    forecaster = Forecaster.fit(method, z, nn.functional.normalize(target), latent)
    futures = FuturesAlone(forecaster=forecaster, context_embedding=z, latent=latent)

    def draw(own: list[bool]) -> Any:
        return futures.draw(torch.tensor(own), 5, torch.Generator().manual_seed(0))

    assert draw([True, False, False, True]).shape == (40, 5, 8)
    assert draw([False] * 4).std(axis=1).max() < 1e-6
    held = forecaster.futures_of(z, latent[None])[0].numpy()
    np.testing.assert_allclose(draw([False] * 4)[:, 0], held, atol=1e-6)
    assert draw([False, True, False, False]).std(axis=1).max() > 0.01


def test_the_reader_knows_every_digit_by_itself() -> None:
    rng = np.random.default_rng(0)
    velocities = rng.uniform(-3, 3, (1500, 2, 2))
    z = velocities.reshape(1500, 4) @ rng.normal(size=(4, 16))
    unreadable = np.where([[False], [True]], rng.uniform(-3, 3, (1500, 2, 2)), velocities)
    read = Reader.fit(z[:1200], velocities[:1200], seed=0)
    assert read(z[1200:].reshape(3, 100, 16)).shape == (3, 100, 2, 2)
    assert read.r2(z[1200:], velocities[1200:]).min() > 0.95
    first, second = read.r2(z[1200:], unreadable[1200:])
    assert first > 0.95
    assert second < 0


@pytest.fixture(scope="module")
def splits_and_learner(tmp_path_factory: pytest.TempPathFactory) -> tuple[Splits, Learner]:
    folder = tmp_path_factory.mktemp("several")
    write_moving_digits(
        folder / "set", num_videos=14, scenes=8, digits=NUM_DIGITS, num_workers=1, seed=1
    )
    build_index([folder / "set"], folder / "videos.parquet")
    config = with_overrides(
        base_config(),
        {
            "data.index": str(folder / "videos.parquet"),
            "backbone.hidden_dims": [2, 4, 4, 4, 8],
            "method.editor": "attention",
        },
    )
    learner = Learner(config, torch.device("cpu"))
    for parameter in learner.method.editor.parameters():  # which begins with no edit
        nn.init.normal_(parameter, std=0.3)
    return embedded(learner, {"train": 60, "val": 8, "test": 16}), learner


@pytest.mark.slow
def test_scenes_are_drawn_again_as_they_were_filmed(
    splits_and_learner: tuple[Splits, Learner],
) -> None:
    splits, _ = splits_and_learner
    split = splits["train"]
    scenes = Scenes.of(split, NUM_DIGITS)
    clips = scenes.clips_after(scenes.change[:, None], 3, 64)
    off = np.abs(clips[:, 0].astype(float) - split.pairs.next_clips).mean(axis=(1, 2, 3, 4))
    other = np.abs(clips[1:, 0].astype(float) - split.pairs.next_clips[:-1]).mean()
    assert off.max() < 2 < other
    redrawn = scenes.redrawn(1, 50, np.random.default_rng(0))
    assert (redrawn[:, :, 0] == scenes.change[:, None, 0]).all()
    assert ((redrawn[:, :, 1] != 0).sum(axis=-1) == 1).all()


@pytest.mark.slow
def test_every_digit_is_measured_by_itself(
    splits_and_learner: tuple[Splits, Learner], tmp_path: Path
) -> None:
    splits, learner = splits_and_learner
    found = probe_metrics(splits, NUM_DIGITS)
    names = ["digit", "velocity", "change_pair", "change_edited", "change_latent"]
    assert set(found) == {f"{name}{end}" for name in names for end in ("", "_1", "_2")}
    assert found["digit"] == pytest.approx((found["digit_1"] + found["digit_2"]) / 2)
    metrics = future_metrics(learner, splits, NUM_DIGITS, RunFolder(tmp_path / "run"), seed=0)
    names = ["dimensions", "width", "spread", "reader_r2", "alone", "alone_true"]
    assert set(metrics) == {f"{name}{end}" for name in names for end in ("", "_1", "_2")}
    assert metrics["dimensions_1"] + metrics["dimensions_2"] == learner.config.method.latent_size
    assert all(0 < metrics[f"{name}_{k}"] < 1 for k in (1, 2) for name in ("alone", "alone_true"))
    with np.load(tmp_path / "run" / ALONE_FILE) as shown:
        assert shown["samples"].shape == (NUM_DIGITS, 4, 32, NUM_DIGITS, 2)
        assert (shown["true"][0, :, :, 1] == shown["next_velocity"][:, None, 1]).all()


def metrics(arm: Arm) -> dict[str, float]:
    """Structured editors know more of each change and vary one digit alone more."""
    structured, has_r = arm.method in ("slots", "attention"), arm.method != "no-r"
    change = 0.8 + 0.05 * structured
    known = {"digit": 0.85, "velocity": 0.97, "change_pair": 0.5, "change_edited": 0.6}
    if has_r:
        known |= {"change_latent": change, "width": 0.8, "spread": 0.9, "dimensions": 8.0}
        known |= {"alone": 0.6 + 0.2 * structured, "alone_true": 0.95, "reader_r2": 0.9}
    numbers = range(1, GROUPS[arm.group] + 1)
    each = {f"{name}_{k}": value for name, value in known.items() for k in numbers}
    return {f"test/{name}": value for name, value in (known | each).items()}


def test_verdicts_follow_from_the_metrics() -> None:
    found = results_of(EXPERIMENT, metrics)
    assert [h.verdict for h in hypotheses(found)] == ["held"] * 11
    lost = results_of(
        EXPERIMENT,
        metrics,
        {
            # One digit of two is enough to refute, where the other editor does not know more.
            "two.slots": {"test/change_latent_2": 0.75, "test/alone": 0.5},
            "two.attention": {"test/change_latent_1": 0.8, "test/alone": 0.6},
            "three.slots": {"test/velocity": 0.9},
            **{f"one.{m}": {"test/digit": 0.7} for m in ("mlp", "residual", "slots", "attention")},
        },
    )
    verdicts = [h.verdict for h in hypotheses(lost)]
    refuted = [i for i, verdict in enumerate(verdicts) if verdict == "did not hold"]
    assert refuted == [1, 2, 3, 4, 9, 10]


def test_the_page_shows_every_group_that_has_finished(tmp_path: Path) -> None:
    found = results_of(EXPERIMENT.only(["two.*"]), metrics)
    rng = np.random.default_rng(0)
    trial = tmp_path / "two.slots-s0"
    trial.mkdir()
    np.savez_compressed(
        trial / ALONE_FILE,
        samples=rng.normal(size=(2, 4, 32, 2, 2)),
        true=rng.normal(size=(2, 4, 32, 2, 2)),
        velocity=rng.normal(size=(4, 2, 2)),
        next_velocity=rng.normal(size=(4, 2, 2)),
    )
    page = page_of(found, tmp_path)
    written = page.write(
        tmp_path, images=tmp_path, origin=Origin(name="several-digits", command="-"), results=found
    )
    text = written.read_text()
    for words in ("Two digits: what is known", "Two digits: futures of one digit", "residual MLP"):
        assert words in text
    assert "One digit: what" not in text
    for picture in ("known-two", "futures-two"):
        assert (tmp_path / f"{picture}.png").stat().st_size > 5000
