import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]

from pipelines.sweep.report.robustness import along, seed_noise
from pipelines.sweep.report.verdict import sentences
from pipelines.trials.records import TrialRecord
from tests.pipelines.sweep.report import made

ONE = {"method.latent_dim": made.LATENT_DIM}


def said(trials: Sequence[TrialRecord], **changes: object) -> str:
    return "\n".join(sentences(made.results(made.sweep(**changes), trials)))


def by_dim(
    values: Mapping[int, Sequence[float]], baseline: Sequence[float] = ()
) -> list[TrialRecord]:
    return made.settings([({"method.latent_dim": d}, v) for d, v in values.items()], baseline)


def test_the_noise_is_pooled_over_the_settings() -> None:
    values = {2: [1.0, 3.0], 4: [5.0, 6.0, 7.0], 8: [9.0]}
    noise = seed_noise(made.results(made.sweep(sampled=ONE), by_dim(values)).settings)
    assert noise
    assert noise.sd == pytest.approx(math.sqrt((1 * 2.0 + 2 * 1.0) / 3))
    assert (noise.freedom, noise.num_settings) == (3, 2)
    f, p = stats.f_oneway([1.0, 3.0], [5.0, 6.0, 7.0])
    assert (noise.f, noise.p) == pytest.approx((f, p))
    alone = by_dim({2: [1.0, 3.0], 4: [5.0]})
    assert seed_noise(made.results(made.sweep(sampled=ONE), alone).settings) is None


def test_a_clear_effect_names_the_robust_region_and_where_it_falls_off() -> None:
    values = {2: [0.40, 0.41], 4: [0.60, 0.61], 8: [0.70, 0.71], 16: [0.705, 0.697]}
    text = said(by_dim(values, [0.5, 0.51]), sampled=ONE)
    first = text.split("\n")[0]
    assert first == (
        "Robust region: d_r 8 or 16. Mean of the 2 settings inside: 0.703, of the 2 outside: "
        "0.505; baseline: 0.505."
    )
    assert "Best setting: 002 (d_r 8) with val/r2 0.705 ± 0.007 over 2 seeds." in text
    assert "falls off at 2 or 4, most at 2 (mean 0.405 of 1 setting, 0.300 worse" in text
    assert "The settings differ by more than their seeds do (one-way ANOVA over 4" in text
    p = stats.ttest_ind([0.70, 0.71], [0.5, 0.51], equal_var=False).pvalue
    assert (
        f"0.200 better than the baseline (0.705 ± 0.007 against 0.505 ± 0.007): more than the "
        f"noise of the seeds (Welch's t-test, p = {p:.2g}); it was picked as the best of 4" in text
    )
    assert "10 trials (2 of the baseline): 10 finished, 0 pruned, 0 failed" in text
    assert "edge" not in text
    assert "Pruned" not in text


def test_a_loss_turns_all_of_it_round() -> None:
    values = {2: [0.40, 0.41], 4: [0.60, 0.61], 8: [0.70, 0.71], 16: [0.705, 0.697]}
    text = said(by_dim(values, [0.5, 0.51]), sampled=ONE, mode="min")
    assert text.startswith("Robust region: d_r 2. Mean of the 1 setting inside: 0.405, of the 3")
    assert "0.100 better than the baseline" in text
    assert "lies at the lower edge of its range (2 to 16): widen the range downwards." in text
    assert "lower is better" in text


def test_no_effect_is_said_to_be_none() -> None:
    values = {2: [0.50, 0.60], 4: [0.61, 0.51], 8: [0.55, 0.56], 16: [0.52, 0.57]}
    text = said(by_dim(values, [0.55, 0.57]), sampled=ONE)
    assert text.startswith("No region stands out: the settings do not differ by more than their")
    assert "The settings do not differ by more than their seeds do (one-way ANOVA" in text
    assert "not more than the noise of the seeds (Welch's t-test, p = " in text
    assert "robust" not in text
    assert "falls off" not in text


def test_with_one_seed_nothing_is_called_robust() -> None:
    text = said(by_dim({2: [0.4], 4: [0.6], 8: [0.9], 16: [0.7]}, [0.5]), sampled=ONE)
    assert text.startswith("Best setting: 002 (d_r 8) with val/r2 0.900 with a single seed.")
    assert "Each setting has one seed, so the noise between seeds is not known" in text
    assert "Robust region" not in text
    assert "0.400 better than the baseline (0.900 against 0.500); with one seed on a side" in text


def test_the_edge_of_a_range() -> None:
    edge = "edge of its range"
    only_beta = {"method.beta": made.BETA}

    def beta(value: float) -> str:
        params = [({"method.beta": v}, [x, x + 0.01]) for v, x in ((0.1, 0.5), (value, 0.9))]
        return said(made.settings(params), sampled=only_beta)

    assert "β, 0.9, lies at the upper edge of its range (0.01 to 1): widen the range upw" in beta(
        0.9
    )
    assert "β, 0.012, lies at the lower edge of its range (0.01 to 1): widen" in beta(0.012)
    assert edge not in beta(0.5)
    warmup = {"method.beta_warmup_steps": made.WARMUP}
    steps = [({"method.beta_warmup_steps": v}, [x]) for v, x in ((0, 0.9), (500, 0.5))]
    assert edge not in said(made.settings(steps), sampled=warmup), "nothing lies below no warm-up"
    single = said(by_dim({16: [0.9], 2: [0.5]}), sampled=ONE)
    assert "widen the range upwards, though which setting is best may be chance." in single


def test_pruned_trials_are_counted_and_cautioned_about() -> None:
    record, trials = made.usual()
    text = "\n".join(sentences(made.results(record, trials)))
    assert "38 trials (2 of the baseline): 31 finished, 6 pruned, 1 failed" in text
    assert "Pruned trials are in no mean" in text


def test_the_key_without_effect_is_not_credited() -> None:
    for seed in range(5):
        found = made.results(made.sweep(), made.drawn(24, made.hill, seed=seed))
        noise = seed_noise(found.settings)
        assert noise
        beta, dim, _ = (along(found, noise, axis) for axis in found.axes)
        assert beta
        assert dim
        assert beta.best.cell in (1, 2, 3), "the middle one of five bins, or one beside it"
        assert {0, 4} & beta.worse
        assert not dim.worse, "differences that the company of the settings explains"


def test_values_with_one_setting_each_say_nothing_of_a_key_among_others() -> None:
    pairs = [(0.02, 2, 0.5), (0.5, 16, 0.9)]
    params = [({"method.beta": b, "method.latent_dim": d}, [v, v + 0.01]) for b, d, v in pairs]
    sampled = {"method.beta": made.BETA, **ONE}
    text = said(made.settings(params), sampled=sampled)
    assert text.startswith("No region stands out: the settings differ, but no value of any one key")


def test_seeds_that_agree_exactly() -> None:
    text = said(by_dim({2: [0.5, 0.5], 4: [0.6, 0.6]}, [0.4, 0.4]), sampled=ONE)
    assert "differ by more than their seeds do" in text
    assert "so there is no noise to compare with" in text
    assert "nan" not in text
    text = said(by_dim({2: [0.5, 0.5], 4: [0.5, 0.5]}, [0.5, 0.5]), sampled=ONE)
    assert "The settings do not differ by more than their seeds do" in text
    assert "as good as the baseline" in text


def test_noise_alone_seldom_makes_a_region() -> None:
    loud = 0
    for seed in range(40):
        found = made.results(made.sweep(), made.drawn(10, lambda _: 0.5, noise=0.1, seed=seed))
        loud += sentences(found)[0].startswith("Robust region")
    assert loud <= 5, "at five in a hundred, more than five of forty are seen once in sixty times"
    assert np.isfinite(loud)
