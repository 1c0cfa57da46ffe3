"""r as the action, on pairs whose embeddings and changes are made by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from adassl.latents import LatentSample
from pipelines.evaluation.embed import EmbeddedPairs
from pipelines.evaluation.latent_action import latent_probes, leakage, mean_changes, transfer

VIDEOS, MOMENTS = 4, 40


class Editor:
    """A method that adds r to the angle at which a context lies on the circle, or does nothing."""

    class objective:  # noqa: N801
        class traits:  # noqa: N801
            assigns = False

    def __init__(self, *, uses_r: bool) -> None:
        self.uses_r = uses_r

    def eval(self) -> "Editor":
        return self

    def encode(self, samples: torch.Tensor) -> Any:
        class Found:
            embedding = samples

        return Found()

    def edit(self, context: torch.Tensor, latent: torch.Tensor | None) -> torch.Tensor:
        angle = torch.atan2(context[:, 1], context[:, 0])
        if latent is not None and self.uses_r:
            angle = angle + latent[:, 0]
        return torch.stack([angle.cos(), angle.sin()], dim=1)

    def predictor(self, edited: torch.Tensor) -> torch.Tensor:
        return edited


class Learner:
    """What `transfer` needs of one: the clips are the embeddings."""

    device = torch.device("cpu")

    def __init__(self, *, uses_r: bool) -> None:
        self.method = Editor(uses_r=uses_r)

    def to_input(self, clips: Any) -> torch.Tensor:
        return torch.from_numpy(clips)


def circle(angles: Any) -> Any:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def made(seed: int) -> tuple[EmbeddedPairs, pd.DataFrame]:
    """Pairs at angles, of which r is the change."""
    rng = np.random.default_rng(seed)
    count = VIDEOS * MOMENTS
    before, change = rng.uniform(-1, 1, count), rng.uniform(-0.5, 0.5, count)
    zero = np.zeros(count, np.int64)
    value = torch.from_numpy(change[:, None].astype(np.float32))
    pairs = EmbeddedPairs(
        representation=circle(before),
        context=circle(before),
        target=circle(before + change),
        edited=circle(before + change),
        path=np.repeat([f"{video}.mp4" for video in range(VIDEOS)], MOMENTS).astype(object),
        start=zero,
        gap=zero + 1,
        clips=circle(before),
        next_clips=circle(before + change),
        latent=LatentSample(value=value, penalty=value[:, 0], penalty_per_dimension=value),
    )
    return pairs, pd.DataFrame({"angle": before, "angle_change": change})


def test_an_r_that_is_the_change_finds_the_moment_in_which_it_happened() -> None:
    pairs, factors = made(0)
    knows: Any = Learner(uses_r=True)
    does_not: Any = Learner(uses_r=False)
    found = transfer(knows, pairs, factors, seed=0)
    control = transfer(does_not, pairs, factors, seed=0)
    assert found["transfer/recall_at_1"] > 0.95
    assert control["transfer/recall_at_1"] < 0.4
    assert found["transfer/chance_at_5"] == pytest.approx(5 / MOMENTS)
    assert control["transfer/recall_at_5"] > control["transfer/recall_at_1"]


def test_transfer_says_nothing_where_changes_or_moments_are_missing() -> None:
    pairs, factors = made(0)
    learner: Any = Learner(uses_r=True)
    assert transfer(learner, pairs, factors[["angle"]], seed=0) == {}
    few = factors.copy()
    few.loc[5:, "angle_change"] = np.nan
    assert transfer(learner, pairs, few, seed=0) == {}


def test_values_and_changes_are_read_from_r_and_from_what_stands_beside_it() -> None:
    (train, known), (test, factors) = made(0), made(1)
    metrics = latent_probes(train, known, test, factors)
    assert metrics["r/angle_change/linear_r2"] > 0.99
    assert metrics["r/angle/linear_r2"] < 0.1
    assert metrics["z/angle_change/linear_r2"] < 0.1
    assert metrics["z_r/angle/linear_r2"] > 0.9
    assert metrics["z_pair/angle_change/linear_r2"] > 0.9
    means = mean_changes({**metrics, "angle_change/linear_r2": 0.25})
    assert means["change_mean/r"] == metrics["r/angle_change/linear_r2"]
    assert means["change_mean/h"] == 0.25
    assert set(means) == {f"change_mean/{name}" for name in ("h", "z", "z_pair", "r", "z_r")}


def test_leakage_is_chance_for_a_change_and_all_for_the_video_itself() -> None:
    pairs, _ = made(0)
    found = leakage(pairs, seed=0)
    assert found["leakage/chance"] == 1 / VIDEOS
    assert found["leakage/r"] < 0.5
    video = torch.arange(VIDEOS).repeat_interleave(MOMENTS)
    telling = torch.nn.functional.one_hot(video).float()
    other = LatentSample(value=telling, penalty=telling[:, 0], penalty_per_dimension=telling)
    assert leakage(replace(pairs, latent=other), seed=0)["leakage/r"] == 1.0
