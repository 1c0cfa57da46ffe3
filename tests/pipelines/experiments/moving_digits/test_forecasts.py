"""Forecasts of velocities: the true distribution scores best, and wrong forecasts score worse."""

import numpy as np
import pytest

from pipelines.experiments.moving_digits.forecasts import (
    Truth,
    VelocityReader,
    axis_metrics,
    forecast_metrics,
    path_metrics,
)

NUM = 4000


def truth(setting: str = "B") -> Truth:
    rng = np.random.default_rng(3)
    digit = rng.integers(0, 10, NUM)
    velocity = rng.uniform(0, 3, (NUM, 2))
    still = Truth(velocity=velocity, next_velocity=velocity, digit=digit, setting=setting)  # type: ignore[arg-type]
    return Truth(
        velocity=velocity,
        next_velocity=still.draw(rng, 1)[:, 0],
        digit=digit,
        setting=setting,  # type: ignore[arg-type]
    )


def test_the_true_distribution_as_a_forecast_is_the_oracle() -> None:
    known = truth()
    metrics = forecast_metrics(
        known.draw(np.random.default_rng(1), 64), known, np.random.default_rng(2)
    )
    assert metrics["energy"] == pytest.approx(metrics["energy_oracle"], rel=0.02)
    assert metrics["crps"] == pytest.approx(metrics["crps_oracle"], rel=0.02)
    assert metrics["spread"] == pytest.approx(1, abs=0.02)
    assert metrics["slope"] == pytest.approx(0.8 / 9, abs=0.005)
    assert metrics["share_y/0"] == pytest.approx(0.1, abs=0.02)
    assert metrics["share_y/9"] == pytest.approx(0.9, abs=0.02)
    assert metrics["cross"] == 0
    for axis in ("x", "y"):
        assert metrics[f"share_{axis}"] == pytest.approx(0.5, abs=0.02)
        assert metrics[f"share_{axis}"] == pytest.approx(metrics[f"share_{axis}_oracle"], abs=0.01)
    assert metrics["energy"] < metrics["energy_last_velocity"]


def test_an_ellipse_scores_worse_than_the_cross_and_shows_no_axis() -> None:
    known = truth("A")
    true = known.draw(np.random.default_rng(1), 64)
    ellipse = known.velocity[:, None] + np.random.default_rng(4).normal(size=true.shape) * true.std(
        axis=1, keepdims=True
    )
    metrics = forecast_metrics(ellipse, known, np.random.default_rng(2))
    assert metrics["energy"] > 1.02 * metrics["energy_oracle"]
    assert metrics["spread"] == pytest.approx(1, abs=0.03)
    assert metrics["cross"] > 0.2
    assert abs(metrics["slope"]) < 0.02


def test_axes_that_change_are_counted_by_hand() -> None:
    changes = np.array(
        [
            [[2.0, 0.1], [-1.0, 0.5], [0.0, 2.0], [0.0, 0.0]],  # x, x, y, none
            [[0.0, -1.0], [3.0, 1.0], [0.1, -0.2], [-1.0, -2.0]],  # y, x, y, y
        ]
    )
    metrics = axis_metrics(changes, np.array([0, 9]))
    assert (metrics["share_x"], metrics["share_y"]) == (3 / 8, 4 / 8)
    assert (metrics["share_y/0"], metrics["share_y/9"]) == (1 / 4, 3 / 4)
    assert metrics["slope"] == pytest.approx((3 / 4 - 1 / 4) / 9)


def test_one_future_is_scored_by_its_error_and_has_no_ranks() -> None:
    known = truth("A")
    metrics = forecast_metrics(known.velocity[:, None], known, np.random.default_rng(2))
    error = np.linalg.norm(known.velocity - known.next_velocity, axis=1).mean()
    assert metrics["energy"] == pytest.approx(error)
    assert metrics["energy_last_velocity"] == pytest.approx(error)
    assert metrics["spread"] == 0
    assert "rank_p" not in metrics


def test_a_path_is_scored_against_two_changes() -> None:
    known = truth("A")
    rng = np.random.default_rng(5)
    right = path_metrics(known.draw_path(rng, 64), known, rng)
    assert right["path_energy"] == pytest.approx(right["path_energy_oracle"], rel=0.03)
    assert right["path_spread"] == pytest.approx(1, abs=0.03)
    one_step = path_metrics(known.draw(rng, 64), known, rng)
    assert one_step["path_spread"] < 0.85
    assert one_step["path_energy"] > right["path_energy"]


def test_the_reader_reads_velocities_out_of_embeddings() -> None:
    rng = np.random.default_rng(0)
    velocity = rng.uniform(0, 3, (2000, 2))
    mixed = velocity @ rng.normal(size=(2, 16)) + rng.normal(0, 0.05, (2000, 16))
    unit = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    unit = np.concatenate([unit, np.linalg.norm(mixed, axis=1, keepdims=True) / 10], axis=1)
    read = VelocityReader(unit[:1500], velocity[:1500], seed=0)
    error = read(unit[1500:].reshape(5, 100, -1)).reshape(-1, 2) - velocity[1500:]
    assert error.var() < 0.05 * velocity.var()
