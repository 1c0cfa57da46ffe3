"""Changes drawn from the true distribution: what an oracle forecasts of the next velocity."""

import numpy as np
import pytest

from pipelines.evaluation.forecasts import crps, rank_histogram, uniformity_p
from pipelines.sources.digit_motion import Setting, draw_changes, draw_track, probability_of_y


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("setting", ["A", "B"])
def test_moments_are_those_of_the_law(random: np.random.Generator, setting: Setting) -> None:
    digits = np.arange(10)
    velocities = random.uniform(0.5, 3, size=(10, 2)) * random.choice([-1, 1], size=(10, 2))
    changes = draw_changes(
        random, setting=setting, digits=digits, velocities=velocities, num_samples=20_000
    )
    assert changes.shape == (10, 20_000, 2)
    assert ((changes != 0).sum(axis=-1) == 1).all()
    for digit, velocity, change in zip(digits, velocities, changes, strict=True):
        share = (change[:, 1] != 0).mean()
        assert share == pytest.approx(probability_of_y(setting, int(digit)), abs=0.02)
        for axis in (0, 1):
            changed = change[change[:, axis] != 0, axis]
            deviation = 2 / 3 * abs(velocity[axis])
            assert changed.std() == pytest.approx(deviation, rel=0.06)
            assert changed.mean() == pytest.approx(0, abs=0.1 * deviation)
            assert kurtosis(changed) == pytest.approx(3, abs=0.7)


def kurtosis(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    return float(((values / values.std()) ** 4).mean())


def test_tracks_are_drawn_from_the_same_law(random: np.random.Generator) -> None:
    digits = np.arange(3000) % 10
    tracks = [draw_track(random, setting="B", digit=int(d), num_frames=9) for d in digits]
    now, after = (np.stack([t.velocities[frame] for t in tracks]) for frame in (2, 3))
    futures = now[:, None] + draw_changes(
        random, setting="B", digits=digits, velocities=now, num_samples=19
    )
    for axis in (0, 1):
        counts = rank_histogram(futures[..., axis], after[:, axis], random)
        assert uniformity_p(counts) > 0.001
        hedged = crps(futures[..., axis], after[:, axis])
        assert hedged.mean() < crps(now[:, None, axis], after[:, axis]).mean()
    along = futures != now[:, None]
    assert (along.sum(axis=-1) == 1).all()
    assert along[..., 1].mean() == pytest.approx(0.5, abs=0.02)


def test_a_seed_gives_the_same_and_a_still_digit_stays(random: np.random.Generator) -> None:
    digits, still = np.array([0, 9]), np.array([[0.0, 0.0], [1.0, 1.0]])
    one, again = (
        draw_changes(
            np.random.default_rng(5), setting="A", digits=digits, velocities=still, num_samples=8
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(one, again)
    assert not one[0].any()
    assert one[1].any()


def test_velocities_of_other_digits_are_refused(random: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=r"3 digits and velocities of shape \(2, 2\)"):
        draw_changes(
            random,
            setting="A",
            digits=np.arange(3),
            velocities=np.zeros((2, 2)),
            num_samples=4,
        )
