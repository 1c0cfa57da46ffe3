import pytest

from adassl.schedules import beta_warmup, cosine_with_warmup, ema_momentum, linear_warmup


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.0), (25, 0.1), (50, 0.2), (100, 0.4), (10_000, 0.4)]
)
def test_beta_rises_linearly_and_stays(step: int, expected: float) -> None:
    assert beta_warmup(step, 0.4, 100) == pytest.approx(expected)


def test_beta_without_warmup_is_constant() -> None:
    assert beta_warmup(0, 0.4, 0) == 0.4


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.1), (4, 0.5), (9, 1.0), (10, 1.0), (60, 0.55), (110, 0.1), (500, 0.1)],
)
def test_the_learning_rate_warms_up_and_follows_a_cosine(step: int, expected: float) -> None:
    assert cosine_with_warmup(step, 1.0, 10, 110, 0.1) == pytest.approx(expected)


def test_a_run_that_is_all_warmup_divides_by_nothing() -> None:
    assert cosine_with_warmup(10, 1.0, 10, 10) == 0.0


@pytest.mark.parametrize(("step", "expected"), [(0, 0.9), (50, 0.95), (100, 1.0), (200, 1.0)])
def test_the_ema_momentum_rises_to_one(step: int, expected: float) -> None:
    assert ema_momentum(step, 0.9, 100) == pytest.approx(expected)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.04), (5, 0.055), (10, 0.07), (1_000, 0.07)])
def test_a_linear_warmup_goes_from_one_value_to_the_other_and_stays(
    step: int, expected: float
) -> None:
    assert linear_warmup(step, 0.04, 0.07, 10) == pytest.approx(expected)


def test_a_linear_warmup_of_no_steps_is_constant() -> None:
    assert linear_warmup(0, 0.04, 0.07, 0) == 0.07
