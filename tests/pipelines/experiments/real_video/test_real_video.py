"""Real video: what is asked of labels, arms that differ in what they say, verdicts and tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.config.run import ConfigError, with_overrides
from pipelines.experiments import catalogue
from pipelines.experiments.arm import Arm
from pipelines.experiments.page import Origin
from pipelines.experiments.real_video import arms as real_video
from pipelines.experiments.real_video.page import page_of
from pipelines.experiments.real_video.trial import asked_of, of_values
from pipelines.trials.trial import SPLIT, TASK
from tests.pipelines.experiments.made import Metrics, results_of

EXPERIMENT = real_video.experiment(quick=False, robot=Path("robot"), signs=Path("signs"))


def labels(num_videos: int = 8, moments: int = 10) -> tuple[pd.DataFrame, np.ndarray]:
    """A value that moves, one that tells sessions apart, a command, and classes."""
    rng = np.random.default_rng(0)
    video = np.repeat(np.arange(num_videos), moments)
    known = {
        "state.elbow": rng.normal(size=len(video)),
        "state.hand": rng.normal(size=len(video)),
        "state.still": video + 0.01 * rng.normal(size=len(video)),
        "action.elbow": rng.normal(size=len(video)),
    }
    known |= {f"{name}_change": rng.normal(size=len(video)) for name in known}
    frame = pd.DataFrame(known)
    frame["kind"] = np.array(["stop", "yield"])[video % 2]
    frame["kind_number"] = video % 2
    frame["session"] = np.array(["a", "b"])[video // 4]
    frame["phase"] = np.tile(np.arange(moments) % 2, num_videos)
    return frame, video.astype(str)


def test_asked_are_values_that_change_within_videos_and_each_class_of_videos_once() -> None:
    train, videos = labels()
    values, classes = asked_of(train, train, videos, of_tests=train.assign(session="another"))
    assert [asked.names for asked in values] == [
        ("state.elbow", "state.hand", "state.elbow_change", "state.hand_change")
    ], "neither what only tells videos apart nor a command"
    assert [asked.names for asked in classes] == [("kind",)], (
        "not twice, no class of moments, and none of which the test videos have others"
    )


def test_a_class_that_few_training_pairs_lack_is_not_asked() -> None:
    names = [f"kind {i}" for i in range(10)]
    train = pd.DataFrame({"kind": names[:9] * 2})
    test = pd.DataFrame({"kind": names})
    videos = np.arange(len(train)).astype(str).astype(object)
    _, (asked,) = asked_of(train, test, videos, of_tests=test)
    assert asked.test.tolist() == names[:9]
    _, none = asked_of(train, test[7:], videos, of_tests=test[7:])
    assert none == [], "of too few test videos training has the class"


def test_values_are_averaged_by_part_and_changes_apart() -> None:
    train, videos = labels()
    values, _ = asked_of(train, train, videos, of_tests=train)
    names = [name for asked in values for name in asked.names]
    features = train[names].to_numpy()
    found = of_values(values, "h", features, features, videos)
    assert set(found) == {
        *("arm/h", "hand/h", "change/h", "arm_change/h", "hand_change/h"),
        *("joint/state.elbow/h", "joint/state.hand/h"),
    }
    assert min(found.values()) > 0.99, "the features are the answers"


def test_changes_that_fewer_pairs_have_are_asked_too() -> None:
    train, videos = labels()
    changes = [name for name in train.columns if name.endswith("_change")]
    train.loc[::7, changes] = np.nan
    values, _ = asked_of(train, train, videos, of_tests=train)
    assert len(values) == 2
    features = train[["state.elbow", "state.hand", "state.elbow_change", "state.hand_change"]]
    found = of_values(
        values, "h", features.fillna(0).to_numpy(), features.fillna(0).to_numpy(), videos
    )
    assert {"arm/h", "change/h", "hand_change/h"} <= set(found)


def test_every_method_encodes_as_many_clips_and_is_tuned_with_as_many_trials() -> None:
    for arm in EXPERIMENT.arms:
        steps = arm.settings["train.steps"]
        views = 4 if arm.method == "adassl-v" else 2
        assert steps * views == real_video.CLIPS
    tuning = EXPERIMENT.of_tuning()
    counts = pd.Series([arm.name.rpartition("-")[0] for arm in tuning.arms]).value_counts()
    assert set(counts) == {3}
    assert {arm.settings[SPLIT] for arm in tuning.arms} == {"val"}
    assert not any(SPLIT in arm.settings for arm in EXPERIMENT.arms), "the test split"
    for arm in (*EXPERIMENT.arms, *tuning.arms):
        own = {k: v for k, v in arm.settings.items() if not k.startswith(TASK)}
        config = with_overrides(EXPERIMENT.config, own)
        assert (config.method.latent == "none") == (arm.method[:8] != "adassl-v")


def test_chosen_arms_are_tuned_alone() -> None:
    some = EXPERIMENT.only(["robot.infonce"])
    assert {arm.name for arm in some.of_tuning().arms} == {f"robot.infonce-{i}" for i in (1, 2, 3)}


def test_without_videos_or_with_those_of_another_experiment_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="--robot FOLDER"):
        catalogue.load("real-video", quick=True)
    with pytest.raises(ConfigError, match="--videos v: real-video takes --robot and --signs"):
        catalogue.load("real-video", quick=True, videos=Path("v"))


def metrics(arm: Arm) -> Metrics:
    """An arm that reads all of the values well, from r the change too."""
    known = {
        **{f"test/joint/state.{j}/h": 0.7 for j in ("elbow", "hand")},
        **{f"test/{p}/h": 0.7 for p in ("arm", "hand")},
        **{f"test/change/{s}": 0.3 for s in ("h", "z", "z_pair", "edited")},
        **{f"test/transfer/{s}": 0.1 for s in ("recall_at_1", "chance_at_1")},
    }
    if arm.group == "signs":
        known = {"test/class/h": 0.7}
    if arm.method == "adassl-v" and arm.group == "robot":
        known |= {"test/change/r": 0.2, "test/change/z_r": 0.5, "test/transfer/recall_at_1": 0.3}
        known |= {"test/leakage/r": 0.2, "test/leakage/z": 0.9}
    if arm.method == "infonce":
        for floor, score in (("raw", 0.5), ("untrained", 0.4), ("supervised", 0.75)):
            parts = ["arm", "hand", "joint/state.elbow", "joint/state.hand"]
            known |= {
                f"test/{part}/{floor}": score
                for part in (parts if arm.group == "robot" else ["class"])
            }
    return known


def test_verdicts_follow_from_the_metrics(tmp_path: Path) -> None:
    page = page_of(results_of(EXPERIMENT, metrics), tmp_path)
    verdicts = {h.statement.partition(": ")[2][:34]: h.verdict for h in page.hypotheses}
    assert verdicts["h reaches 0.9 of the supervised en"] == "held"
    assert verdicts["h is above raw pixels on every joi"] == "held"
    assert verdicts["mean R² of the arm from h is above"] == "did not hold"
    assert verdicts["h with r knows more of the values "] == "did not hold"
    assert verdicts["the change from (z, r) is 0.15 R² "] == "held"
    assert verdicts["r carries the change over to other"] == "held"
    assert verdicts["r tells less of which video it is "] == "held"
    assert verdicts["linear accuracy from h of some arm"] == "did not hold"
    assert verdicts["linear accuracy from h with r is a"] == "did not hold"
    assert verdicts["h is above raw pixels and the untr"] == "held"


def test_one_arm_that_is_accurate_enough_is_some(tmp_path: Path) -> None:
    page = page_of(results_of(EXPERIMENT, metrics, {"signs.no-r": {"test/class/h": 0.9}}), tmp_path)
    found = {h.statement: h.verdict for h in page.hypotheses if "linear accuracy" in h.statement}
    assert list(found.values()) == ["held", "did not hold"]


def test_a_change_that_is_above_by_less_than_the_margin_is_no_success(tmp_path: Path) -> None:
    changes = {"robot.adassl-v": {"test/change/z_r": 0.4}}
    page = page_of(results_of(EXPERIMENT, metrics, changes), tmp_path)
    (margin,) = [h for h in page.hypotheses if "0.15 R²" in h.statement]
    assert margin.verdict == "did not hold"
    assert "+ 0.15: difference -0.05" in margin.evidence[0]


def test_the_page_has_the_floors_above_the_methods_and_the_joints_as_a_picture(
    tmp_path: Path,
) -> None:
    results = results_of(EXPERIMENT, metrics)
    (tmp_path / "images").mkdir()
    page = page_of(results, tmp_path).write(
        tmp_path,
        images=tmp_path / "images",
        origin=Origin(name="real-video", command="adassl experiment real-video"),
        results=results,
    )
    text = page.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| raw pixels |")]
    assert rows[0].startswith("| raw pixels | 0.50 ± 0.00 | 0.50 ± 0.00 |")
    assert text.index("| supervised encoder |") < text.index("| InfoNCE |")
    assert (tmp_path / "images" / "robot_joints.png").stat().st_size > 5000
