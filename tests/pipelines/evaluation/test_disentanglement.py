"""DCI against a case worked by hand, its two ends, and codes that are known."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.evaluation.disentanglement import (
    dci_metrics,
    dci_of_importance,
    lasso_importance,
    linear_importance,
)

Array = NDArray[Any]


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_case_worked_by_hand() -> None:
    # codes x factors, the total is 8:    row sums
    importance = np.array(
        [
            [3.0, 1.0],  # 4
            [0.0, 2.0],  # 2
            [1.0, 1.0],  # 2
        ]
    )
    # Rows, base 2 (two factors):
    #   (3/4, 1/4): H = 3/4 log2(4/3) + 1/4 log2 4 = 0.75 · 0.415037 + 0.25 · 2 = 0.811278
    #   (0, 1): H = 0        (1/2, 1/2): H = 1
    # D = 4/8 · (1 − 0.811278) + 2/8 · 1 + 2/8 · 0 = 0.094361 + 0.25 = 0.344361
    # Columns, base 3 (three codes; log3 2 = 0.630930), both of sum 4:
    #   (3/4, 0, 1/4): H = 0.811278 · log3 2 = 0.511860
    #   (1/4, 2/4, 1/4): H = (1/4 · 2 + 1/2 · 1 + 1/4 · 2) log3 2 = 1.5 · 0.630930 = 0.946395
    # C = 1/2 · (1 − 0.511860) + 1/2 · (1 − 0.946395) = 0.244070 + 0.026803 = 0.270873
    score = dci_of_importance(importance)
    assert score.codes == pytest.approx((0.188722, 1, 0), abs=1e-6)
    assert score.disentanglement == pytest.approx(0.344361, abs=1e-6)
    assert score.factors == pytest.approx((0.488140, 0.053605), abs=1e-6)
    assert score.completeness == pytest.approx(0.270873, abs=1e-6)


def test_one_to_one_is_perfect_and_all_alike_is_nothing() -> None:
    perfect = dci_of_importance(np.diag([1.0, 5.0, 0.2]))
    assert perfect.disentanglement == perfect.completeness == pytest.approx(1)
    uniform = dci_of_importance(np.full((5, 3), 0.2))
    assert uniform.disentanglement == pytest.approx(0, abs=1e-12)
    assert uniform.completeness == pytest.approx(0, abs=1e-12)


def test_codes_of_one_factor_each_need_not_be_complete() -> None:
    # Two codes say each factor: every code is pure, every factor is spread over 2 of 4 codes.
    score = dci_of_importance(np.kron(np.eye(2), np.ones((2, 1))))
    assert score.disentanglement == pytest.approx(1)
    assert score.completeness == pytest.approx(1 - np.log(2) / np.log(4))


def test_order_and_scale_are_of_no_account_and_transposing_swaps(
    random: np.random.Generator,
) -> None:
    importance = random.exponential(size=(6, 4))
    score = dci_of_importance(importance)
    moved = dci_of_importance(7 * importance[random.permutation(6)][:, random.permutation(4)])
    assert moved.disentanglement == pytest.approx(score.disentanglement)
    assert moved.completeness == pytest.approx(score.completeness)
    assert sorted(moved.codes) == pytest.approx(sorted(score.codes))
    turned = dci_of_importance(importance.T)
    assert turned.disentanglement == pytest.approx(score.completeness)
    assert turned.completeness == pytest.approx(score.disentanglement)


def test_a_dimension_without_use_counts_for_nothing() -> None:
    idle = dci_of_importance(np.vstack([np.eye(2), np.zeros((3, 2))]))
    assert idle.disentanglement == pytest.approx(1)
    assert idle.completeness == pytest.approx(1)
    assert idle.codes[2:] == (0, 0, 0)
    dead = dci_of_importance(np.zeros((3, 2)))
    assert (dead.disentanglement, dead.completeness) == (0, 0)


def parts(codes: Array, factors: Array) -> tuple[Array, Array, Array, Array]:
    half = len(codes) // 2
    return codes[:half], factors[:half], codes[half:], factors[half:]


def test_a_turned_code_is_entangled() -> None:
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(2000, 2))
    turn = np.array([[1.0, 1.0], [-1.0, 1.0]]) / 2**0.5
    straight = dci_of_importance(linear_importance(factors, factors))
    turned = dci_of_importance(linear_importance(factors @ turn, factors))
    assert straight.disentanglement > 0.9
    assert turned.disentanglement < 0.01


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2\): with fewer than two code dimensions"):
        dci_of_importance(np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"from -1\.0 to 1\.0: each must be finite"):
        dci_of_importance(np.array([[-1.0, 1.0], [1.0, 0.0]]))


def test_linear_importance_finds_the_code_of_each_factor() -> None:
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(500, 3)) * [1.0, 10.0, 0.1]
    factors = np.stack([2 * codes[:, 0], -codes[:, 1] - 10 * codes[:, 0]], axis=1)
    importance = linear_importance(codes, factors)
    # The second factor is -10 of each standardised code, of a deviation of 10 * sqrt(2).
    expected = [[1.0, 0.5**0.5], [0.0, 0.5**0.5], [0.0, 0.0]]
    np.testing.assert_allclose(importance, expected, atol=0.05)


def test_lasso_rewards_a_random_rotation_that_ridge_does_not(random: np.random.Generator) -> None:
    factors = random.normal(size=(2000, 4))
    own = np.concatenate([factors, 0.1 * random.normal(size=(2000, 12))], axis=1)
    assert dci_of_importance(lasso_importance(own, factors)).disentanglement > 0.95
    # Sixteen dimensions that are four factors turned: no dimension is of one factor alone.
    turned = factors @ np.linalg.qr(random.normal(size=(16, 16)))[0][:4]
    assert dci_of_importance(linear_importance(turned, factors)).disentanglement < 0.3
    assert dci_of_importance(lasso_importance(turned, factors)).disentanglement > 0.5


def test_metrics_by_both_measures_leave_out_what_does_not_vary(random: np.random.Generator) -> None:
    factors = random.normal(size=(300, 3))
    codes = np.concatenate([factors + 0.01 * random.normal(size=(300, 3)), np.ones((300, 1))], 1)
    found = dci_metrics(codes, np.concatenate([factors, np.zeros((300, 1))], axis=1))
    assert set(found) == {"dci", "dci_completeness", "dci_ridge", "dci_ridge_completeness"}
    assert min(found.values()) > 0.9
    turned = dci_metrics(codes[:, :3] @ np.linalg.qr(random.normal(size=(3, 3)))[0], factors)
    assert turned["dci"] < 0.7
    assert dci_metrics(codes, factors[:, :1]) == {}
