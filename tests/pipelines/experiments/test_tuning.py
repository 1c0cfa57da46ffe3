"""Tuning: as many settings for every method, shorter trials, the best of each chosen."""

from dataclasses import replace

import pytest

from pipelines.config.run import ConfigError
from pipelines.experiments import catalogue
from pipelines.experiments.arm import Arm
from pipelines.experiments.results import Results
from pipelines.experiments.tuning import STEPS, Tuning
from pipelines.trials.records import TrialRecord

TUNING = Tuning(
    alternatives={
        "a": [{"method.temperature": 0.1}, {"method.temperature": 0.2}],
        "b": [{"method.beta": 0.1}, {"method.beta": 0.3}],
    },
    changes={"task.floors": False},
    shorter=4,
    metric="val/score",
)
ARMS = tuple(
    Arm(
        group="robot",
        method=method,
        title=method.upper(),
        settings={"train.steps": steps, "task.floors": True},
    )
    for method, steps in (("a", 100), ("b", 50))
)


def results_of(scores: dict[str, float]) -> Results:
    arms = TUNING.arms(ARMS)
    trials = [
        TrialRecord(
            name=f"{arm.name}-s0",
            setting=number,
            seed=0,
            params={},
            state="finished" if arm.name in scores else "failed",
            seconds=1.0,
            metrics={"val/score": scores[arm.name]} if arm.name in scores else {},
        )
        for number, arm in enumerate(arms)
    ]
    return Results.of(arms, trials, num_trials=len(arms))


def test_each_setting_is_a_shorter_trial_with_one_seed_judged_on_validation_videos() -> None:
    arms = TUNING.arms(ARMS)
    assert [arm.name for arm in arms] == ["robot.a-1", "robot.a-2", "robot.b-1", "robot.b-2"]
    assert arms[1].settings == {
        "train.steps": 25,
        "task.split": "val",
        "task.floors": False,
        "method.temperature": 0.2,
    }
    assert arms[2].settings["train.steps"] == 12
    assert {arm.num_seeds for arm in arms} == {1}


def test_the_best_setting_of_each_method_is_chosen_and_stands_bold_in_the_table() -> None:
    results = results_of({"robot.a-1": 0.4, "robot.a-2": 0.5, "robot.b-1": 0.3})
    a, b = TUNING.chosen(ARMS, results)
    assert a.settings == {"train.steps": 100, "task.floors": True, "method.temperature": 0.2}
    assert b.settings["method.beta"] == 0.1, "the trial of the other failed"
    table = TUNING.table(ARMS, results)
    assert table["setting 2"].tolist() == ["**temperature=0.2: 0.500**", "beta=0.3: –"]
    assert table["setting 1"].tolist() == ["temperature=0.1: 0.400", "**beta=0.1: 0.300**"]


def test_a_method_none_of_whose_trials_has_finished_is_named() -> None:
    with pytest.raises(ConfigError, match=r"robot\.b: no setting of its tuning has a val/score"):
        TUNING.chosen(ARMS, results_of({"robot.a-1": 0.4}))


def test_unequal_budgets_are_refused() -> None:
    with pytest.raises(ConfigError, match="not tuned alike"):
        Tuning(
            alternatives={"a": [{}], "b": [{}, {}]},
            changes={},
            shorter=1,
            metric="val/score",
        )


def test_an_arm_that_is_not_tuned_takes_what_was_chosen_for_another() -> None:
    tuning = replace(TUNING, taken_from={"robot.b": "robot.a"})
    assert [arm.name for arm in tuning.arms(ARMS)] == ["robot.a-1", "robot.a-2"]
    results = results_of({"robot.a-1": 0.1, "robot.a-2": 0.2, "robot.b-1": 0.9})
    assert [arm.settings["method.temperature"] for arm in tuning.chosen(ARMS, results)] == [0.2] * 2
    assert len(tuning.table(ARMS, results)) == 1


def test_what_an_arm_changes_of_the_one_it_takes_from_stays() -> None:
    tuning = replace(TUNING, taken_from={"robot.b": "robot.a"})
    results = results_of({"robot.a-1": 0.1, "robot.a-2": 0.2})
    a, b = ARMS
    own = replace(b, settings={**b.settings, "method.temperature": 0.9})
    chosen = tuning.chosen((a, own), results)
    assert [arm.settings["method.temperature"] for arm in chosen] == [0.2, 0.9]


@pytest.mark.parametrize("name", ["moving-digits", "numerical", "several-digits"])
def test_every_arm_of_an_experiment_is_tuned_or_takes_from_one_that_is(name: str) -> None:
    experiment = catalogue.load(name, quick=False)
    assert experiment.tuning is not None
    names = {arm.name for arm in experiment.arms}
    tuned = names - set(experiment.tuning.taken_from)
    assert set(experiment.tuning.taken_from.values()) <= tuned <= names
    assert {name.partition(".")[2] for name in tuned} == set(experiment.tuning.alternatives)
    assert all(STEPS in arm.settings for arm in experiment.arms if arm.name in tuned)
