"""Alarms: each fires by its rule, when it has held for long enough, and not before."""

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from adassl.config import MethodConfig
from pipelines.config.alarms import AlarmConfig
from pipelines.config.run import RunConfig
from pipelines.storage.runs import RunFolder
from pipelines.tracking import Tracker, default_uri
from pipelines.training.alarms import AlarmMonitor, raised_in
from pipelines.training.worker import RunSink

GOOD = {
    "train/centre_norm": 0.2,
    "train/residual_norm": 0.9,
    "train/rankme": 40.0,
    "train/beta": 0.1,
    "train/kl": 3.0,
    "val/next_clip_nats": 3.0,
    "val/next_clip_nats_seen": 4.0,
}
SPARSE = {
    **{key: value for key, value in GOOD.items() if key != "train/kl"},
    "train/l0": 4.0,
    "train/latent_mean_active": 4.0,
    "train/latent_use_entropy": 1.5,
    "val/latent_mean_active": 4.0,
}
FULL = {"val/next_clip_nats": 0.5, "val/latent_mean_active": 15.0}
TOLD_APART = {**GOOD, "train/ssl": 0.01, "val/within_video_nats": 1.0}
COLLAPSED = {"train/centre_norm": 0.999, "train/residual_norm": 0.01, "train/rankme": 1.02}


def watch(**method: Any) -> AlarmMonitor:
    return AlarmMonitor(
        RunConfig(
            method=MethodConfig(beta=0.1, **method), alarms=AlarmConfig(patience=3, from_step=20)
        )
    )


def feed(watching: AlarmMonitor, entries: list[dict[str, float]], first: int = 40) -> list[str]:
    """Names of the alarms raised, as a run logs every twenty steps."""
    raised: list[str] = []
    for number, entry in enumerate(entries):
        raised += [alarm.name for alarm in watching.update(first + 20 * number, entry)]
    return raised


@pytest.mark.parametrize(
    ("name", "good", "bad", "method"),
    [
        ("collapse", GOOD, COLLAPSED, {}),
        ("dimensional_collapse", GOOD, {"train/rankme": 5.0}, {}),
        ("kl_collapse", GOOD, {"train/kl": 0.01}, {}),
        ("shortcut", GOOD, {"val/next_clip_nats": 0.5}, {}),
        ("shortcut", SPARSE, FULL, {"latent": "sparse"}),
        ("trivial_task", TOLD_APART, {"val/within_video_nats": 0.0}, {}),
        ("sparse_underused", SPARSE, {"train/latent_mean_active": 0.2}, {"latent": "sparse"}),
        ("sparse_underused", SPARSE, {"train/latent_use_entropy": 0.1}, {"latent": "sparse"}),
    ],
)
def test_each_fires_when_its_rule_has_held_three_times_in_a_row(
    name: str, good: dict[str, float], bad: dict[str, float], method: dict[str, Any]
) -> None:
    wrong = {**good, **bad}
    assert feed(watch(**method), [good] * 9) == []
    assert feed(watch(**method), [good, wrong, wrong, good, wrong, wrong]) == []
    watching = watch(**method)
    raised = feed(watching, [good, wrong, wrong, wrong, wrong, good])
    assert name in raised
    assert len(raised) == len(set(raised))
    alarm = watching.raised[name]  # type: ignore[index]
    assert (alarm.since, alarm.step) == (60, 100)
    assert "since step 60" in alarm.words
    assert watching.metrics[f"alarm/{name}"] == 1.0
    assert raised_in(watching.metrics, [name]) == [name]  # type: ignore[list-item]
    assert raised_in(GOOD, [name]) == []  # type: ignore[list-item]


@pytest.mark.parametrize("spared", COLLAPSED)
def test_a_long_centre_alone_is_no_collapse(spared: str) -> None:
    almost = {**GOOD, **COLLAPSED, spared: GOOD[spared]}
    assert "collapse" not in feed(watch(), [almost] * 9)


@pytest.mark.parametrize(("dimensions", "raised"), [(8, []), (128, ["collapse"])])
def test_rankme_shows_a_collapse_relative_to_the_dimensions(
    dimensions: int, raised: list[str]
) -> None:
    """A residual of 0.02 leaves a RankMe of 3 in 128 dimensions, in 8 it cannot."""
    fallen = {**GOOD, **COLLAPSED, "train/residual_norm": 0.02, "train/rankme": 3.0}
    assert feed(watch(embedding_dim=dimensions), [fallen] * 9) == raised


def test_the_start_and_the_warm_up_of_beta_are_not_judged() -> None:
    dead = {**GOOD, "train/kl": 0.0}
    assert feed(watch(), [{**dead, "train/beta": 0.05}] * 9) == []
    early = AlarmMonitor(RunConfig(alarms=AlarmConfig(from_step=1000)))
    assert feed(early, [{**GOOD, **COLLAPSED}] * 9) == []


def test_steps_without_validation_do_not_count_for_a_shortcut() -> None:
    validated = {**GOOD, "val/next_clip_nats": 0.5}
    between = {key: value for key, value in GOOD.items() if not key.startswith("val/")}
    assert feed(watch(), [validated, between, validated, between, validated]) == ["shortcut"]


@pytest.mark.parametrize(
    ("entry", "latent"),
    [({**SPARSE, "val/next_clip_nats": 0.5}, "sparse"), ({**GOOD, **FULL}, "given")],
)
def test_an_r_of_other_pairs_that_predicts_nothing_is_no_shortcut(
    entry: dict[str, float], latent: str
) -> None:
    assert "shortcut" not in feed(watch(latent=latent), [entry] * 9)


def test_a_resumed_run_raises_the_same_alarms() -> None:
    entries = [GOOD, *[{**GOOD, "train/kl": 0.0}] * 4]
    straight, resumed = watch(), watch()
    feed(straight, entries)
    feed(resumed, entries[:2])
    feed(resumed, entries[2:], first=80)
    assert resumed.raised == straight.raised


def test_an_alarm_is_printed_and_tagged_on_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watching = watch()
    feed(watching, [{**GOOD, **COLLAPSED}] * 3)
    alarm = watching.raised["collapse"]
    uri, folder = default_uri(tmp_path), RunFolder(tmp_path / "first")
    with Tracker.start(uri, "pairs", "first") as tracker:
        for own in (tracker, None):  # the second worker has none, and is silent
            sink = RunSink(RunConfig(), folder, own, lambda *_: None)
            sink.alarm(alarm)
    assert capsys.readouterr().out.count("alarm  first: collapse since step 40: all embedd") == 1
    assert tracker.run_id
    tags = MlflowClient(uri).get_run(tracker.run_id).data.tags
    assert tags["adassl.alarm.collapse"] == alarm.words
    assert "arXiv 2402.14957" in alarm.words
