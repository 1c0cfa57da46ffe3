"""Scores of forecasts against closed forms, slow loops and forecasts that are known to be good."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

from pipelines.evaluation.forecasts import (
    crps,
    energy_score,
    rank_histogram,
    recall_at,
    uniformity_p,
)
from pipelines.experiments.paired_test import paired_test

Array = NDArray[Any]


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def slow_energy_score(samples: Array, outcome: Array) -> float:
    k = len(samples)
    error = sum(float(np.linalg.norm(x - outcome)) for x in samples) / k
    pairs = [(i, j) for i in range(k) for j in range(k) if i != j]
    spread = sum(float(np.linalg.norm(samples[i] - samples[j])) for i, j in pairs)
    return error - 0.5 * spread / (k * (k - 1))


def gaussian_crps(mean: float, sigma: float, outcomes: Array) -> Array:
    """Gneiting and Raftery 2007, equation 21."""
    z = (outcomes - mean) / sigma
    edge = z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi)
    return np.asarray(sigma * edge)


def test_the_energy_score_is_that_of_a_double_loop(random: np.random.Generator) -> None:
    for num_samples, dim in ((2, 1), (7, 3), (12, 20)):
        samples, outcomes = random.normal(size=(5, num_samples, dim)), random.normal(size=(5, dim))
        expected = [slow_energy_score(s, o) for s, o in zip(samples, outcomes, strict=True)]
        assert energy_score(samples, outcomes) == pytest.approx(expected)


def test_both_scores_of_a_gaussian_are_its_closed_form(random: np.random.Generator) -> None:
    mean, sigma, outcomes = 1.5, 2.0, np.array([-4.0, 0.0, 1.5, 2.0, 9.0])
    samples = random.normal(mean, sigma, size=(5, 200_000))
    expected = gaussian_crps(mean, sigma, outcomes)
    assert crps(samples, outcomes) == pytest.approx(expected, abs=0.02)
    few = samples[:, :3000]
    assert energy_score(few[..., None], outcomes[:, None]) == pytest.approx(expected, abs=0.12)


def test_few_samples_score_as_many_on_average(random: np.random.Generator) -> None:
    # "Fair": the score of 2 samples has the mean of the score of the true distribution itself.
    outcomes = np.zeros(200_000)
    pairs = crps(random.normal(size=(200_000, 2)), outcomes)
    expected = gaussian_crps(0, 1, outcomes[:1])[0]
    assert pairs.mean() == pytest.approx(expected, abs=4 * pairs.std() / np.sqrt(len(pairs)))


def test_the_crps_is_the_energy_score_in_one_dimension(random: np.random.Generator) -> None:
    for num_samples in (1, 2, 9, 50):
        samples, outcomes = random.normal(size=(20, num_samples)), random.normal(size=20)
        samples[:, -1] = samples[:, 0]  # ties
        found = energy_score(samples[..., None], outcomes[:, None])
        assert crps(samples, outcomes) == pytest.approx(found)


def test_a_single_sample_is_scored_by_its_error() -> None:
    samples, outcomes = np.array([[[3.0, 4.0]], [[1.0, 1.0]]]), np.array([[0.0, 0.0], [1.0, 1.0]])
    assert energy_score(samples, outcomes).tolist() == [5, 0]
    assert crps(samples[..., 0], outcomes[:, 0]).tolist() == [3, 0]


def test_no_forecast_is_better_than_the_true_distribution(random: np.random.Generator) -> None:
    # Outcomes jump along x or along y, as in Moving-MNIST: a blob in the middle is wrong.
    def draw(num_samples: int) -> Array:
        jumps = random.normal(size=(3000, num_samples, 2))
        along = random.integers(0, 2, size=(3000, num_samples))
        return np.where(along[..., None] == [0, 1], jumps, 0.0)

    outcomes = draw(1)[:, 0]
    law = energy_score(draw(16), outcomes)
    variance = draw(16).std()
    others = {
        "blob": random.normal(0, variance, size=(3000, 16, 2)),
        "point": np.zeros((3000, 1, 2)),
        "narrow": draw(16) * 0.5,
        "wide": draw(16) * 2,
        "moved": draw(16) + 0.3,
    }
    for name, samples in others.items():
        test = paired_test(energy_score(samples, outcomes), law)
        assert test.difference > 0, name
        assert test.p < 0.01, name


def test_ranks_are_counted_by_hand(random: np.random.Generator) -> None:
    samples = np.array([[1.0, 2, 3]] * 5)
    outcomes = np.array([0.0, 1.5, 2.5, 9, 10])
    assert rank_histogram(samples, outcomes, random).tolist() == [1, 1, 1, 2]


def test_a_calibrated_forecast_has_flat_ranks_and_others_have_not(
    random: np.random.Generator,
) -> None:
    outcomes, samples = random.normal(size=4000), random.normal(size=(4000, 9))
    counts = rank_histogram(samples, outcomes, random)
    assert counts.sum() == 4000
    assert len(counts) == 10
    assert uniformity_p(counts) > 0.001
    narrow = rank_histogram(samples * 0.7, outcomes, random)
    assert narrow[[0, -1]].min() > narrow[1:-1].max()
    wide = rank_histogram(samples * 1.5, outcomes, random)
    assert wide[[0, -1]].max() < wide[1:-1].min()
    for wrong in (narrow, wide, rank_histogram(samples + 0.2, outcomes, random)):
        assert uniformity_p(wrong) < 1e-6


def test_ties_are_broken_at_random_so_that_a_calibrated_coin_is_flat(
    random: np.random.Generator,
) -> None:
    outcomes, samples = random.integers(0, 2, 4000), random.integers(0, 2, (4000, 4))
    assert uniformity_p(rank_histogram(samples * 1.0, outcomes * 1.0, random)) > 0.001


def test_the_p_of_flat_ranks_is_uniform_itself(random: np.random.Generator) -> None:
    p = [
        uniformity_p(rank_histogram(random.normal(size=(500, 4)), random.normal(size=500), random))
        for _ in range(300)
    ]
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert uniformity_p(np.array([10, 10, 10])) == 1


def test_recall_of_vectors_made_by_hand() -> None:
    bank = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    near = np.array([[0.8, 0.6], [0.6, 0.8], [-0.6, -0.8]])  # towards 0 1, 1 0, 3 2
    queries, truth = near[[[0, 1], [1, 2]]], np.array([0, 0])
    first = recall_at(1, queries, bank, truth)
    # Query 0: its first future finds 0 at once, its second does not. Query 1: neither does.
    assert (first.one, first.best) == (1 / 4, 1 / 2)
    assert (first.chance_one, first.chance_best) == (1 / 4, 1 / 2)
    second = recall_at(2, queries, bank, truth)
    # Among the first two, 0 is found by both futures of query 0 and by the first of query 1.
    assert (second.one, second.best) == (3 / 4, 1)
    assert (second.chance_one, second.chance_best) == (1 / 2, 1)
    assert recall_at(4, queries, bank, truth).one == 1


def test_guesses_recall_what_chance_says_and_a_collapse_nothing(
    random: np.random.Generator,
) -> None:
    bank, queries = random.normal(size=(200, 16)), random.normal(size=(2000, 4, 16))
    bank /= np.linalg.norm(bank, axis=-1, keepdims=True)
    queries /= np.linalg.norm(queries, axis=-1, keepdims=True)
    truth = random.integers(0, 200, 2000)
    guessed = recall_at(5, queries, bank, truth)
    assert guessed.one == pytest.approx(guessed.chance_one, abs=0.01)
    assert guessed.best == pytest.approx(1 - (1 - 5 / 200) ** 4, abs=0.025)
    assert guessed.chance_best == pytest.approx(20 / 200)
    alike = np.tile(bank[0], (200, 1)).astype(np.float32)
    collapsed = recall_at(5, np.tile(bank[0], (20, 4, 1)).astype(np.float32), alike, truth[:20])
    assert (collapsed.one, collapsed.best) == (0, 0)


def test_what_cannot_be_retrieved_is_refused() -> None:
    bank, queries, truth = np.eye(3), np.eye(3)[:2, None], np.array([0, 1])
    with pytest.raises(ValueError, match="k=4: must be from 1 to 3"):
        recall_at(4, queries, bank, truth)
    with pytest.raises(ValueError, match="one row of the bank, 0 to 2"):
        recall_at(1, queries, bank, np.array([0, 3]))
    with pytest.raises(ValueError, match="queries of lengths 2 to 2"):
        recall_at(1, 2 * queries, bank, truth)


def test_a_paired_test_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, sd 1, t = 2 √3 = 3.4641 with 2 degrees of freedom, whose law
    # is P(|T| > t) = 1 − t / √(2 + t²) = 1 − 3.4641 / √14 = 0.07418.
    test = paired_test(np.array([2.0, 4, 6]), np.array([1.0, 2, 3]))
    assert (test.difference, test.sd, test.n) == (2, 1, 3)
    assert test.p == pytest.approx(0.07418, abs=1e-5)


def test_pairs_without_variance() -> None:
    same = np.array([0.1, 0.2, 0.7])
    assert paired_test(same, same).p == 1
    shifted = paired_test(same + 0.1, same)
    assert shifted.p == 0
    assert shifted.difference == pytest.approx(0.1)
    with pytest.raises(ValueError, match="of at least 2; run more seeds"):
        paired_test(same[:1], same[:1])
    with pytest.raises(ValueError, match="1 of 3 pairs are not finite"):
        paired_test(np.array([0.1, np.nan, 0.7]), same)


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"they must be \[n, k, d\] and \[n, d\]"):
        energy_score(np.zeros((4, 2, 3)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"they must be \[n, k\] and \[n\]"):
        crps(np.zeros((4, 2)), np.zeros(3))
    with pytest.raises(ValueError, match=r"they must be \[n, k\] and \[n\]"):
        rank_histogram(np.zeros((4, 2)), np.zeros((4, 1)), np.random.default_rng(0))
