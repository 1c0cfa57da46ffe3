"""Which number to sweep by: settings that differ, ranks against a known truth, the page."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.config.run import with_overrides
from pipelines.experiments.arm import Arm
from pipelines.experiments.criteria import arms as criteria
from pipelines.experiments.criteria import page
from pipelines.experiments.criteria.trial import TARGET, as_videos
from pipelines.experiments.page import Origin
from pipelines.experiments.results import Results
from pipelines.trials.records import TrialRecord
from pipelines.trials.trial import TASK

EXPERIMENT = criteria.experiment(quick=False, robot=Path("robot"))


def results(noise: float) -> Results:
    """A truth for each setting, LiDAR that ranks by it but for noise, RankMe that does not."""
    rng = np.random.default_rng(0)
    trials = []
    for number, arm in enumerate(EXPERIMENT.arms):
        truth = rng.uniform(0.2, 0.9)
        first = rng.uniform(2, 5)
        metrics = {
            f"{TARGET}mean": truth,
            f"{TARGET}h": truth,
            f"{TARGET}change": rng.uniform(),
            "val/lidar": truth + noise * rng.normal(),
            "val/rankme": rng.uniform(),
            "val/alignment": -truth,
            "val/next_clip_nats": first,
            "val/next_clip_nats_seen": first + truth,
            "val/next_clip_nats_fitted": rng.uniform(),
            "val/sweep_score": truth + noise * rng.normal(),
        }
        if number % 2:
            metrics["val/within_video_nats"] = truth
        if arm.group == "digits":
            metrics[f"{TARGET}forecast"] = rng.uniform()
        record = TrialRecord(
            name=f"{arm.name}-s0", setting=number, seed=0, params={}, state="finished",
            seconds=30.0, metrics=metrics,
        )  # fmt: skip
        trials.append(record)
    return Results.of(EXPERIMENT.arms, trials, num_trials=EXPERIMENT.num_trials)


def test_settings_are_many_differ_and_are_the_same_again() -> None:
    groups = pd.Series([arm.group for arm in EXPERIMENT.arms]).value_counts()
    assert groups["digits"] >= 40
    assert groups["robot"] >= 20
    settings = [tuple(sorted(arm.settings.items())) for arm in EXPERIMENT.arms]
    assert len(set(settings)) == len(settings)
    assert EXPERIMENT.arms == criteria.experiment(quick=False, robot=Path("robot")).arms
    assert [a for a in EXPERIMENT.arms if a.group == "digits"] == list(
        criteria.experiment(quick=False).arms
    ), "the digits are the same with a robot and without"


@pytest.mark.parametrize("arm", EXPERIMENT.arms, ids=lambda arm: arm.name)
def test_every_setting_is_a_valid_config(arm: Arm) -> None:
    params = {k: v for k, v in arm.settings.items() if not k.startswith(TASK)}
    config = with_overrides(EXPERIMENT.config, params)
    if arm.group == "robot":
        task = {k.removeprefix(TASK): v for k, v in arm.settings.items() if k.startswith(TASK)}
        config = as_videos(config, task)
        assert config.data.gap_unit == "seconds"
        assert config.data.moments_per_video == arm.settings["data.moments_per_video"]
    assert config.train.steps > config.method.beta_warmup_steps


def test_what_ranks_as_labels_do_is_found_and_what_does_not_is_not() -> None:
    runs = results(noise=0.0).runs
    runs = runs[runs.group == "digits"]
    shown = page.table(runs).set_index("number")
    agreement = shown["ρ with the mean probe"].astype(float)
    assert agreement["LiDAR"] == 1
    assert shown["regret"]["LiDAR"] == "0.0%"
    assert agreement["alignment"] == 1, "the less, the better"
    assert abs(agreement["RankMe"]) < 0.4
    assert agreement["next clip within its video"] < 1, "settings without it are its worst"


def test_regret_is_what_the_first_choice_lacks() -> None:
    target = np.array([0.5, 0.8, 1.0])
    assert page.regret(np.array([3.0, 1.0, 2.0]), target) == pytest.approx(0.5)
    assert page.regret(np.array([1.0, 3.0, 3.0]), target) == pytest.approx(0.1), "ties: their mean"
    assert page.rho(np.array([1.0, 1.0, 1.0]), target) == 0.0


def test_the_sweep_score_is_judged_on_both_sets(tmp_path: Path) -> None:
    found = results(noise=0.05)
    made = page.page_of(found, tmp_path)
    verdicts = {each.statement: each.verdict for each in made.hypotheses}
    assert len(verdicts) == 4
    (tmp_path / "images").mkdir()
    written = made.write(
        tmp_path,
        images=tmp_path / "images",
        origin=Origin(name="criteria", command="adassl experiment criteria"),
        results=found,
    )
    text = written.read_text()
    assert text.count(page.SCORE) >= 4, "in each table and each verdict"
    shown = page.table(found.runs[found.runs.group == "digits"]).set_index("number")
    agreement = shown["ρ with the mean probe"].astype(float)
    assert agreement[page.GAIN] == 1, "it is the truth, and the fitted prior says nothing"
    assert agreement["fitted + 16 × gain"] > agreement["fitted + 1 × gain"]
    pictures = {path.name for path in (tmp_path / "images").iterdir()}
    assert pictures == {"criteria_digits.png", "criteria_robot.png"}


def test_too_few_settings_are_said(tmp_path: Path) -> None:
    found = results(noise=0.0)
    few = Results(runs=found.runs[:3], num_trials=found.num_trials, num_failed=0)
    assert "Fewer than 5" in page.page_of(few, tmp_path).notes
