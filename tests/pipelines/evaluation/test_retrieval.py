"""Average precision and partners, against cases worked by hand and their two ends."""

import numpy as np
import pytest

from pipelines.evaluation.retrieval import find_partners, mean_average_precision


def unit(*degrees: float) -> np.ndarray:
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_average_precision_of_a_case_worked_by_hand() -> None:
    # a at 0 and 50 degrees, b at 20 and 80.
    #   a0: 20 b, 50 a, 80 b → a second: 1/2      a50: 20 b and 80 b (30 each), 0 a → third: 1/3
    #   b20: 0 a, 50 a, 80 b → third: 1/3          b80: 50 a, 20 b, 0 a → second: 1/2
    found = mean_average_precision(unit(0, 50, 20, 80), np.array(["a", "a", "b", "b"]))
    assert found["map"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 3 + 1 / 2) / 4)
    assert found["map_chance"] == pytest.approx(1 / 3)


def test_groups_that_stand_apart_are_found_whole_and_noise_by_chance() -> None:
    labels = np.repeat(np.arange(4), 25)
    rng = np.random.default_rng(0)
    apart = np.eye(4)[labels] + 0.01 * rng.normal(size=(100, 4))
    assert mean_average_precision(apart, labels)["map"] == pytest.approx(1)
    noise = mean_average_precision(rng.normal(size=(100, 8)), labels)
    assert noise["map"] == pytest.approx(noise["map_chance"], abs=0.05)
    assert mean_average_precision(apart, np.arange(100)) == {}, "no item has another of its label"


def test_several_futures_find_partners_that_one_does_not() -> None:
    bank = unit(0, 5, 90, 180, 184, 270)
    labels = np.array(["p", "p", "p", "q", "q", "q"])
    own = np.array([0])
    at_5, at_90 = unit(5)[:, None], unit(90)[:, None]
    one = find_partners(2, at_5, bank, own, labels)
    assert one.found.tolist() == [[1, 2]]
    assert one.recall == 1.0
    assert one.chance == pytest.approx(2 / 5)
    first = find_partners(1, at_90, bank, own, labels)
    assert (first.found.tolist(), first.recall) == ([[2]], 0.5)
    both = find_partners(2, np.concatenate([at_5, at_90]), bank, own, labels)
    assert set(both.found[0].tolist()) == {1, 2}
    away = find_partners(2, unit(184)[:, None], bank, own, labels)
    assert away.found.tolist() == [[4, 3]]
    assert away.recall == 0.0


def test_a_query_never_finds_itself_and_k_must_be_there() -> None:
    bank = unit(0, 90)
    found = find_partners(1, bank[None], bank, np.arange(2), np.array(["a", "a"]))
    assert found.found.ravel().tolist() == [1, 0]
    with pytest.raises(ValueError, match="k=2: must be from 1 to 1"):
        find_partners(2, bank[None], bank, np.arange(2), np.array(["a", "a"]))
