"""Experiments as tables: means, tests and pages report what the trials say, no more."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.config.run import ConfigError, RunConfig
from pipelines.experiments.arm import Arm
from pipelines.experiments.grid import Experiment
from pipelines.experiments.hypothesis import (
    MANY,
    Check,
    check,
    check_methods,
    every,
    jointly,
    judged,
    some,
)
from pipelines.experiments.page import Origin, Page, Section
from pipelines.experiments.paired_test import PairedTest
from pipelines.experiments.results import Column, Results, Score, markdown, mean_sd
from pipelines.storage.folder import Folder
from pipelines.trials.records import TrialRecord

ARMS = (
    Arm(group="A", method="no-r", title="no r", settings={"method.latent": "none"}),
    Arm(group="A", method="v", title="AdaSSL-V", settings={"task.setting": "A"}, num_seeds=4),
)
COLUMNS = [Column(metric="m", title="M"), Column(metric="?", title="none")]


def prepare(config: RunConfig, folder: Folder) -> RunConfig:
    return config


def report(results: Results, trials: Path) -> Page:
    section = Section(title="All", tables={"all": results.table("A", COLUMNS)})
    checks = [check_methods(results, "A", "v", "no-r", "m")]
    better = every("ours", "V is better", checks)
    worse = every("ours", "V is worse", checks, "a note")
    return Page(
        title="T",
        summary="S",
        protocol="P",
        hypotheses=[better, worse],
        sections=[section],
        notes="N",
    )


def run_nothing() -> None:
    raise AssertionError("not run here")


EXPERIMENT = Experiment(
    name="made",
    config=RunConfig(),
    arms=ARMS,
    num_seeds=3,
    metric="m",
    trial=run_nothing,
    prepare=prepare,
    report=report,
)


def results(*rows: list[float], failed: int = 0) -> Results:
    trials = [
        TrialRecord(
            name=f"{ARMS[arm].name}-s{seed}",
            setting=arm,
            seed=seed,
            params={},
            state="finished",
            seconds=30.0,
            metrics={"m": value},
        )
        for arm, row in enumerate(rows)
        for seed, value in enumerate(row)
    ]
    trials += [
        TrialRecord(name=f"A.v-s{9 + i}", setting=1, seed=9 + i, params={}, state="failed")
        for i in range(failed)
    ]
    return Results.of(EXPERIMENT.arms, trials, num_trials=EXPERIMENT.num_trials)


def test_a_table_has_mean_and_sd_over_the_seeds_that_finished() -> None:
    found = results([1.0, 2.0, 3.0], [2.0, 4.0], failed=1)
    assert found.table("A", COLUMNS).to_dict("records") == [
        {"method": "no r", "M": "2.00 ± 1.00", "seeds": "3"},
        {"method": "AdaSSL-V", "M": "3.00 ± 1.41", "seeds": "2"},
    ]
    assert (found.num_trials, found.num_failed) == (7, 1)


def test_arms_are_compared_over_the_seeds_that_both_have() -> None:
    found = results([1.0, 2.0, 3.0], [1.5, 2.6, 3.4, 90.0])
    compared = check_methods(found, "A", "v", "no-r", "m", "R²,")
    assert compared.test is not None
    assert compared.test.n == 3
    assert compared.test.difference == pytest.approx(0.5)
    assert str(compared) == (
        "R², AdaSSL-V 24.375 ± 43.757 against no r 2.000 ± 1.000: "
        "difference +0.500 over 3 seeds, p = 0.013"
    )
    missing = check_methods(found, "A", "v", "no-r", "?")
    assert missing.test is None
    assert (
        str(missing)
        == "AdaSSL-V – against no r –: no test, as a metric or a second seed is missing"
    )


def test_a_score_is_compared_with_a_goal_a_multiple_and_a_margin() -> None:
    found = results([1.0, 1.1, 1.2], [3.0, 3.1, 3.3])
    v, control = Score("A", "v", "m"), Score("A", "no-r", "m", "the control")

    def difference(made: Check) -> float:
        assert made.test is not None
        return made.test.difference

    assert difference(check(found, v, 3.0)) == pytest.approx(0.4 / 3)
    assert difference(check(found, 3.0, v)) == pytest.approx(-0.4 / 3)
    assert difference(check(found, v, control, times=2)) == pytest.approx(9.4 / 3 - 2.2)
    margin = check(found, v, control, less=0.5)
    assert difference(margin) == pytest.approx(9.4 / 3 - 0.6)
    assert margin.name == "AdaSSL-V 3.133 ± 0.153 against the control 1.100 ± 0.100 − 0.5"


def checks(*tests: tuple[float, float] | None) -> list[Check]:
    """Of differences and p-values; None: too few seeds."""
    return [
        Check(name=str(i), test=t and PairedTest(difference=t[0], sd=0.1, p=t[1], n=5))
        for i, t in enumerate(tests)
    ]


GOOD, WEAK, BAD, FAINT = (0.1, 0.001), (0.1, 0.2), (-0.1, 0.001), (0.1, 0.03)


@pytest.mark.parametrize(
    ("tests", "verdict_of_every", "verdict_of_some"),
    [
        ([GOOD], "held", "held"),
        ([WEAK], "did not hold", "did not hold"),
        ([BAD], "did not hold", "did not hold"),
        ([GOOD, BAD], "did not hold", "held"),
        ([FAINT, FAINT], "held", "did not hold"),  # 0.03 is above 5 % shared by two
        ([GOOD, None], "not tested", "held"),
        ([WEAK, None], "did not hold", "did not hold"),
        ([None], "not tested", "not tested"),
        ([], "not tested", "not tested"),
    ],
)
def test_verdicts(
    tests: list[tuple[float, float] | None], verdict_of_every: str, verdict_of_some: str
) -> None:
    made = checks(*tests)
    assert every("", "", made).verdict == verdict_of_every
    assert some("", "", made).verdict == verdict_of_some
    joint = every("", "", [jointly("", made)]).verdict
    assert joint == ("not tested" if None in tests or not tests else verdict_of_every)


def test_the_number_is_that_of_the_test_that_decides() -> None:
    made = checks(WEAK, GOOD, (-0.1, 0.5))
    assert some("", "", made).number == "+0.100, p = 0.001"
    assert every("", "", made).number == "-0.100, p = 0.500"
    assert judged("", "", None, "", []).number == "–"


def test_evidence_of_many_checks_lists_those_that_fail() -> None:
    good, bad = (f"difference {sign}0.100 over 5 seeds, p = 0.001" for sign in "+-")
    few = every("", "", checks(GOOD, BAD), "note")
    assert few.evidence == [f"0: {good}", f"1: {bad}", "note"]
    many = every("", "", checks(*[GOOD] * MANY, BAD))
    assert many.evidence == [f"{MANY}: {bad}", f"{MANY} of {MANY + 1} show it"]
    assert every("", "", []).evidence == ["–"]


def test_a_page_holds_verdicts_evidence_tables_and_where_it_comes_from(tmp_path: Path) -> None:
    found = results([1.0, 2.0], [0.5, 1.4])
    origin = Origin(name="made", command="adassl experiment made", commits=["0123456789abcdef"])
    page = report(found, tmp_path).write(tmp_path, images=tmp_path, origin=origin, results=found)
    text = page.read_text()
    assert "| 1 | V is better | ours | **did not hold** | -0.550, p = 0.058 |" in text
    assert "\n1. AdaSSL-V 0.950 ± 0.636 against no r 1.500 ± 0.707: difference -0.550" in text
    assert "\n2.\n    - AdaSSL-V 0.950" in text
    assert "p = 0.058\n    - a note\n" in text
    assert "adassl experiment made" in text
    assert "4 of 7 trainings finished; they took 2 minutes" in text
    assert "Trained at commit 0123456789ab." in text
    assert text.index("\nN\n") < text.index("## Verdicts")
    written = pd.read_csv(tmp_path / "all.csv", dtype=str)
    pd.testing.assert_frame_equal(written, found.table("A", COLUMNS))


def test_numbers_in_words() -> None:
    assert mean_sd(pd.Series(dtype=float)) == "–"
    assert mean_sd(pd.Series([0.5])) == "0.50"
    assert mean_sd(pd.Series([0.1, 0.3]), 1) == "0.2 ± 0.1"
    assert mean_sd(pd.Series([-0.001])) == "0.00"
    assert markdown(pd.DataFrame({"a": [1], "b": ["x"]})) == "| a | b |\n|---|---|\n| 1 | x |"


def test_arms_need_names_of_their_own() -> None:
    with pytest.raises(ConfigError, match=r"twice: \['A.v'\]"):
        Experiment(**{**EXPERIMENT.__dict__, "arms": (*ARMS, ARMS[1])})


def test_some_arms_may_be_chosen_by_name() -> None:
    assert [arm.method for arm in EXPERIMENT.only(["*.v", "A.v"]).arms] == ["v"]
    assert EXPERIMENT.only(["A.*"]).arms == ARMS
    with pytest.raises(ConfigError, match=r"no arm 'B.\*' in made; there are A.no-r, A.v"):
        EXPERIMENT.only(["A.*", "B.*"])


def test_seeds_may_be_set_for_all() -> None:
    few = EXPERIMENT.with_seeds(2)
    assert [few.seeds_of(arm) for arm in few.arms] == [2, 2]
    assert [EXPERIMENT.seeds_of(arm) for arm in EXPERIMENT.arms] == [3, 4]
    assert np.sum([EXPERIMENT.seeds_of(arm) for arm in ARMS]) == 7
