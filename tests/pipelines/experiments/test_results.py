"""Experiments as tables: means, tests and pages say what the trials say, no more."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.config.run import ConfigError, RunConfig
from pipelines.experiments.arm import Arm
from pipelines.experiments.grid import Experiment
from pipelines.experiments.page import Page, Section, judged
from pipelines.experiments.paired_test import PairedTest
from pipelines.experiments.results import (
    Column,
    Results,
    any_is_better,
    is_better,
    markdown,
    mean_sd,
    told,
)
from pipelines.storage.folder import Folder
from pipelines.trials.records import TrialRecord

ARMS = (
    Arm(group="A", method="no-r", title="no r", settings={"method.latent": "none"}),
    Arm(group="A", method="v", title="AdaSSL-V", settings={"task.setting": "A"}, num_seeds=4),
)


def prepare(config: RunConfig, folder: Folder) -> RunConfig:
    return config


def report(results: Results, trials: Path) -> Page:
    section = Section(
        title="All", tables={"all": results.table("A", [Column(metric="m", title="M")])}
    )
    test = results.compare("A", "v", "no-r", "m")
    claim = judged("ours", "V is better", test is not None and test.difference > 0, told(test))
    return Page(title="T", summary="S", protocol="P", hypotheses=[claim], sections=[section])


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


def trials(values: dict[int, list[float]]) -> list[TrialRecord]:
    return [
        TrialRecord(
            name=f"{ARMS[arm].name}-s{seed}",
            setting=arm,
            seed=seed,
            params={},
            state="finished",
            seconds=30.0,
            metrics={"m": value},
        )
        for arm, row in values.items()
        for seed, value in enumerate(row)
    ]


def test_a_table_has_mean_and_sd_over_the_seeds_that_finished() -> None:
    known = trials({0: [1.0, 2.0, 3.0], 1: [2.0, 4.0]})
    failed = TrialRecord(name="A.v-s2", setting=1, seed=2, params={}, state="failed")
    results = Results.of(EXPERIMENT.arms, [*known, failed], num_trials=EXPERIMENT.num_trials)
    table = results.table("A", [Column(metric="m", title="M"), Column(metric="?", title="none")])
    assert table.to_dict("records") == [
        {"method": "no r", "M": "2.00 ± 1.00", "seeds": "3"},
        {"method": "AdaSSL-V", "M": "3.00 ± 1.41", "seeds": "2"},
    ]
    assert (results.num_trials, results.num_failed) == (7, 1)


def test_arms_are_compared_over_the_seeds_that_both_have() -> None:
    results = Results.of(
        EXPERIMENT.arms,
        trials({0: [1.0, 2.0, 3.0], 1: [1.5, 2.6, 3.4, 90.0]}),
        num_trials=EXPERIMENT.num_trials,
    )
    test = results.compare("A", "v", "no-r", "m")
    assert test is not None
    assert test.n == 3
    assert test.difference == pytest.approx(0.5)
    assert told(test) == "difference +0.500 over 3 seeds, p = 0.013"
    assert results.compare("A", "v", "no-r", "missing") is None
    assert told(None) == "too few seeds to test"


@pytest.mark.parametrize(
    ("difference", "p", "expected"), [(0.1, 0.04, True), (0.1, 0.06, False), (-0.1, 0.01, False)]
)
def test_better_is_above_and_not_by_chance(difference: float, p: float, expected: bool) -> None:
    assert is_better(PairedTest(difference=difference, sd=0.1, p=p, n=5)) is expected
    assert is_better(None) is None


def test_the_best_of_several_tests_has_to_hold_for_all_of_them_at_once() -> None:
    def tests(*ps: float) -> list[PairedTest]:
        return [PairedTest(difference=0.2, sd=0.1, p=p, n=5) for p in ps]

    assert any_is_better(tests(0.04)) is True
    assert any_is_better(tests(0.04, 0.9, 0.9)) is False
    assert any_is_better(tests(0.016, 0.9, 0.9)) is True
    assert any_is_better([PairedTest(difference=-0.2, sd=0.1, p=0.001, n=5)]) is False
    assert any_is_better([]) is None


def test_a_page_holds_claims_tables_and_the_command(tmp_path: Path) -> None:
    results = Results.of(
        EXPERIMENT.arms, trials({0: [1.0, 2.0], 1: [0.5, 1.4]}), num_trials=EXPERIMENT.num_trials
    )
    page = report(results, tmp_path).write(
        tmp_path, name="made", images=tmp_path, command="adassl experiment made", results=results
    )
    text = page.read_text()
    assert "| V is better | ours | **did not hold** | difference -0.550 over 2 seeds" in text
    assert "adassl experiment made" in text
    assert "4 of 7 trainings finished; they took 2 minutes" in text
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "all.csv", dtype=str),
        results.table("A", [Column(metric="m", title="M")]),
    )


def test_verdicts() -> None:
    assert [judged("", "", holds, "").verdict for holds in (True, False, None)] == [
        "held",
        "did not hold",
        "not tested",
    ]


def test_numbers_in_words() -> None:
    assert mean_sd(pd.Series(dtype=float)) == "–"
    assert mean_sd(pd.Series([0.5])) == "0.50"
    assert mean_sd(pd.Series([0.1, 0.3]), 1) == "0.2 ± 0.1"
    assert markdown(pd.DataFrame({"a": [1], "b": ["x"]})) == "| a | b |\n|---|---|\n| 1 | x |"


def test_arms_need_names_of_their_own() -> None:
    with pytest.raises(ConfigError, match=r"twice: \['A.v'\]"):
        Experiment(**{**EXPERIMENT.__dict__, "arms": (*ARMS, ARMS[1])})


def test_seeds_may_be_set_for_all() -> None:
    few = EXPERIMENT.with_seeds(2)
    assert [few.seeds_of(arm) for arm in few.arms] == [2, 2]
    assert [EXPERIMENT.seeds_of(arm) for arm in EXPERIMENT.arms] == [3, 4]
    assert np.sum([EXPERIMENT.seeds_of(arm) for arm in ARMS]) == 7
