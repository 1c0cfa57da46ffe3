"""Each hypothesis holds on metrics that support it, and falls when one arm contradicts it."""

from collections import Counter

import pytest

from pipelines.experiments import catalogue, latent_sizes
from pipelines.experiments.arm import Arm
from pipelines.experiments.hypothesis import Hypothesis
from pipelines.experiments.moving_digits import hypotheses as digits
from pipelines.experiments.numerical import hypotheses as numerical
from tests.pipelines.experiments.made import results_of

FALSE_SIZE = "The size of r can be found"
NUMERICAL = catalogue.load("numerical", quick=False)
DIGITS = catalogue.load("moving-digits", quick=False)


def known_size(arm: Arm) -> dict[str, float]:
    """Four dimensions are enough, and that is where the size that is found ends."""
    is_found = arm.method == latent_sizes.AUTO
    score = 0.95 if is_found or int(arm.method) >= 4 else 0.6
    size = {latent_sizes.SIZE: 4.0} if is_found else {}
    return {numerical.REFIT: score, numerical.LATENT: score, digits.LATENT: score, **size}


def known_numerical(arm: Arm) -> dict[str, float]:
    """Metrics on which every hypothesis holds."""
    if arm.group in numerical.SIZE_GROUPS:
        return known_size(arm)
    is_ours = arm.method.startswith(("v", "s", "on", "byol-0.25"))
    theorem = 0.97 if arm.group == "isotropic" else 0.8
    return {
        numerical.UNSCALED: 0.99 if arm.method == "lejepa-v" else theorem,
        numerical.ID: 0.97,
        numerical.REFIT: 0.95 if is_ours else 0.2,
        numerical.EDITED: 0.9,
        numerical.PAIR: 0.8 if is_ours else 0.5,
        numerical.LATENT: 0.7,
        numerical.LASSO: 0.8 if is_ours else 0.3,
        numerical.PENALTY: 80.0 if arm.group == "shortcut" else 5.0,
        numerical.ENTROPY: 1.0,
        numerical.ACTIVE: 4.0 if arm.method == "byol-0" else 6.0,
        "train/ssl": 0.03 if arm.group == "shortcut" else 1.0,
    }


def known_digits(arm: Arm) -> dict[str, float]:
    """Metrics on which every hypothesis holds."""
    if arm.group in digits.SIZE_GROUPS:
        return known_size(arm)
    has_r = "-v" in arm.method or "-s" in arm.method
    energy = 0.6 if "mixture" in arm.method else 0.65 if "-v" in arm.method else 0.9
    return {
        digits.DIGIT: 0.85 if has_r else 0.7,
        digits.VELOCITY: 0.97,
        digits.PAIR: 0.8 if has_r else 0.6,
        digits.LATENT: 0.65 if "forward" in arm.method else 0.75,
        digits.EDITED: 0.5 if "without" in arm.method or arm.method == "paid" else 0.8,
        digits.ENERGY: energy,
        digits.LEARNT + "energy": energy + 0.05,
        digits.LEARNT + "spread": 0.7,
        f"{digits.F}rank_edges": 1.0,
        f"{digits.ENERGY}_last_velocity": 0.8,
        f"{digits.ENERGY}_no_change": 1.0,
        f"{digits.ENERGY}_oracle": 0.58,
        digits.SPREAD: 0.9,
        digits.SLOPE: 0.08,
        digits.ENTROPY: 1.0 if arm.method == "byol-s" else 3.0,
        digits.ACTIVE: 5.0 if arm.method.startswith("byol") else 20.0,
    }


def of_numerical(changes: dict[str, dict[str, float]]) -> list[Hypothesis]:
    return numerical.hypotheses(results_of(NUMERICAL, known_numerical, changes))


def of_digits(changes: dict[str, dict[str, float]]) -> list[Hypothesis]:
    return digits.hypotheses(results_of(DIGITS, known_digits, changes))


@pytest.mark.parametrize("make", [of_numerical, of_digits])
def test_all_hold_where_the_metrics_say_so(make: object) -> None:
    assert callable(make)
    found: list[Hypothesis] = make({})
    assert [h.statement for h in found if h.verdict != "held"] == []
    assert [s for s, times in Counter(h.statement for h in found).items() if times > 1] == []


def falls(found: list[Hypothesis], statement: str) -> bool:
    (verdict,) = [h.verdict for h in found if h.statement.startswith(statement)]
    return verdict == "did not hold"


@pytest.mark.parametrize(
    ("arms", "metric", "value", "statement"),
    [
        ("heteroscedastic.no-r-mlp-gentle", numerical.REFIT, 0.96, "Stated before"),
        ("isotropic.infonce", numerical.ID, 0.94, "Isotropic: R² of c above"),
        ("complex.aninfonce", numerical.REFIT, 0.4, "Complex: R² of c below"),
        ("complex.s", numerical.REFIT, 0.8, "Complex: R² of c above"),
        ("complex.v", numerical.EDITED, 0.5, "Complex: R² of the change (edited)"),
        ("complex.no-r", numerical.REFIT, 0.96, "Complex: AdaSSL-V keeps more of c than the MLP"),
        ("complex.hinfonce", numerical.REFIT, 0.96, "Complex: AdaSSL-S keeps more of c than H"),
        ("isotropic.s", numerical.REFIT, 0.1, "Isotropic: AdaSSL-S keeps more of c than the same"),
        ("complex.s", numerical.LATENT, 0.5, "Complex: r recovers the change"),
        ("complex.infonce", numerical.PAIR, 0.7, "Complex: r recovers the change"),
        (
            "multimodal.no-r",
            numerical.PAIR,
            0.8,
            "Multimodal: with each of AdaSSL-V and -S (z, z+)",
        ),
        ("isotropic.lejepa", numerical.UNSCALED, 0.94, "Isotropic: LeJEPA finds c up to"),
        ("complex.lejepa", numerical.UNSCALED, 0.98, "LeJEPA finds less of c, linearly, where the"),
        ("complex.lejepa-v", numerical.UNSCALED, 0.8, "Complex: r makes LeJEPA find more"),
        ("complex.infonce", numerical.LASSO, 0.85, "Complex: some AdaSSL arm disentangles"),
        ("warm-up.off", numerical.REFIT, 0.96, "Without β warm-up"),
        ("shortcut.v-0", numerical.PENALTY, 24.0, "A shortcut"),
        ("shortcut.v-0", "train/ssl", 0.3, "A shortcut"),
        ("size-complex.auto", latent_sizes.SIZE, 7.0, FALSE_SIZE),
        ("size-complex.auto", numerical.LATENT, 0.88, FALSE_SIZE),
        ("size-isotropic.1", numerical.LATENT, 1.3, FALSE_SIZE),
        ("sparse-use.byol-0", numerical.ACTIVE, 6.1, "With BYOL, AdaSSL-S uses fewer"),
        ("sparse-use.byol-0.25", numerical.REFIT, 0.2, "With BYOL, a rate makes"),
    ],
)
def test_a_numerical_hypothesis_falls(arms: str, metric: str, value: float, statement: str) -> None:
    assert falls(of_numerical({arms: {metric: value}}), statement)


BETTER = "sampled futures of some arm score better than"
SAMPLED = " ".join(f"{group}.{arm}" for group in "AB" for arm in digits.SAMPLED)


@pytest.mark.parametrize(
    ("arms", "metric", "value", "statement"),
    [
        ("A.infonce-v", digits.LATENT, 0.6, "With InfoNCE, r recovers the change"),
        ("A.byol-plain", digits.PAIR, 0.75, "With BYOL, r recovers the change"),
        ("A.byol-no-r", digits.PAIR, 0.85, "With BYOL and r, (z, z+)"),
        ("A.infonce-no-r", digits.DIGIT, 0.9, "With InfoNCE, r makes the encoder's own h"),
        ("A.byol-v-forward", digits.LATENT, 0.8, "The surrogate x++"),
        (SAMPLED, digits.ENERGY, 0.95, f"Setting A: {BETTER} the deterministic"),
        (SAMPLED, digits.ENERGY, 0.85, f"Setting B: {BETTER} the last velocity"),
        (SAMPLED, digits.ENERGY, 1.1, f"Setting A: {BETTER} no change"),
        (SAMPLED, digits.ENERGY, 0.64, "In some setting the sampled futures of some arm have at"),
        ("A.byol-v", digits.LEARNT + "energy", 0.6, "The prior that is fitted after training"),
        ("A.infonce-v", f"{digits.F}rank_edges", 1.2, "Setting A: what came is as often"),
        ("A.infonce-v", f"{digits.F}rank_edges", 0.8, "Setting A: what came is as often"),
        ("size-B.auto", latent_sizes.SIZE, 1.0, FALSE_SIZE),
        (SAMPLED, digits.SPREAD, 0.7, "The spread"),
        (SAMPLED, digits.SPREAD, 1.3, "The spread"),
        (SAMPLED, digits.SLOPE, 0.04, "Setting B: the futures of some arm know"),
        (SAMPLED, digits.ENERGY, 0.5, "In some setting a mixture prior"),
        ("A.byol-s", digits.ACTIVE, 21.0, "With BYOL, AdaSSL-S uses fewer"),
        ("A.byol-s-rate", digits.LATENT, 0.7, "With BYOL, a rate makes"),
        ("A.byol-s-rate", digits.ENTROPY, 2.0, "With BYOL, a rate makes"),
        ("long.free", digits.EDITED, 0.5, "Free bits keep r"),
    ],
)
def test_a_hypothesis_on_digits_falls(arms: str, metric: str, value: float, statement: str) -> None:
    assert falls(of_digits({name: {metric: value} for name in arms.split()}), statement)


def test_one_encoder_must_meet_all_goals_at_once() -> None:
    arms = [arm for arm in DIGITS.arms if arm.group == "A"]
    low = {arm.name: {digits.DIGIT: 0.5} for arm in arms[::2]}
    low |= {arm.name: {digits.VELOCITY: 0.5} for arm in arms[1::2]}
    assert falls(of_digits(low), "Some encoder holds all of")
