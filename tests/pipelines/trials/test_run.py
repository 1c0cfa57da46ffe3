"""Which trials an alarm ends, and what is written down of them."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune
from ray.exceptions import ActorUnschedulableError

from pipelines.cluster import Demand
from pipelines.config.alarms import AlarmName
from pipelines.config.run import ClusterConfig, RunConfig
from pipelines.storage.folder import Folder
from pipelines.tracking import Tracker
from pipelines.trials.callback import TrialCallback
from pipelines.trials.records import BASELINE, TrialRecord
from pipelines.trials.run import AlarmStopper
from pipelines.trials.store import TrialStore
from pipelines.trials.trial import (
    ERROR_FILE,
    TrialJob,
    TrialReporter,
    TrialRun,
    comparable,
    run_trial,
)
from tests.pipelines.trials.test_store import SWEEP

COLLAPSED = {"train/loss": 0.1, "alarm/collapse": 1.0, "time/pairs_per_second": 9.0}
CPU = Demand(num_workers=1, cpus_per_worker=1.0, gpus_per_worker=0, num_decoders=1)


def reporter(*, is_baseline: bool = False) -> TrialReporter:
    return TrialReporter(metric="val/score", num_steps=90, is_baseline=is_baseline)


@pytest.mark.parametrize(
    ("stop", "is_baseline", "ends"),
    [
        (("collapse",), False, True),
        (("kl_collapse", "collapse"), False, True),
        (("kl_collapse",), False, False),
        ((), False, False),
        (("collapse",), True, False),
    ],
)
def test_a_trial_ends_by_the_alarms_chosen_and_the_baseline_by_none(
    stop: tuple[AlarmName, ...], is_baseline: bool, ends: bool
) -> None:
    stopper, reports = AlarmStopper(stop), reporter(is_baseline=is_baseline)
    assert not stopper("id", reports.at(20, {"train/loss": 0.1}, False))
    assert stopper("id", reports.at(40, COLLAPSED, True)) == ends
    assert not stopper.stop_all()


@pytest.mark.parametrize("is_baseline", [False, True])
def test_the_store_says_which_alarm_ended_a_trial(
    is_baseline: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = TrialStore(Folder(tmp_path / "sweep"))
    store.register(replace(SWEEP, config={**SWEEP.config, "alarms": {"stop": ["collapse"]}}))
    setting = BASELINE if is_baseline else 0
    name = "base-s5" if is_baseline else "000-s5"
    store.write(TrialRecord(name=name, setting=setting, seed=5, params={}, state="running"))
    tracker = Tracker.attach(f"sqlite:///{tmp_path}/mlflow.db", None)
    callback = TrialCallback(store, tracker, CPU, ClusterConfig(), total=1, at_once=1)
    trial, reports = SimpleNamespace(config={"name": name}), reporter(is_baseline=is_baseline)
    callback.on_trial_result(0, [], trial, reports.at(40, COLLAPSED, False))
    if is_baseline:  # which went on to its end
        callback.on_trial_result(0, [], trial, reports.end("finished", "", {"step": 90}))
    callback.on_trial_complete(0, [], trial)
    record = TrialStore(store.folder).trials[name]
    if is_baseline:
        assert (record.state, record.step, record.reason) == ("finished", 90, "")
    else:
        assert (record.state, record.step) == ("pruned", 40)
        assert record.reason == "alarm: collapse by step 40"
        assert "000-s5  pruned (alarm: collapse by step 40)" in capsys.readouterr().out


def test_sweeps_do_not_compare_the_dimensions_of_r() -> None:
    metrics = {"val/kl": 1.0, "val/latent_use/00": 0.4, "val/latent_use/01": 0.6}
    assert reporter().at(40, metrics, True)["metrics"] == {"val/kl": 1.0}
    assert {"val/latent_use/00", "val/latent_use/01"}.isdisjoint(comparable(metrics))


@pytest.mark.parametrize("is_lost", [True, False])
def test_what_a_cluster_lost_is_tried_again_and_a_trials_own_error_is_kept_whole(
    is_lost: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", reports.append)
    error = ActorUnschedulableError("its node is gone") if is_lost else ValueError("bad\n" * 300)

    def body(run: TrialRun) -> dict[str, float]:
        raise error

    job = TrialJob(
        config=RunConfig().model_dump(mode="json"),
        trials=str(tmp_path),
        tracking_uri="",
        parent_run_id=None,
        metric="val/score",
        demand=CPU,
    )
    trial = {"name": "000-s0", "params": {}, "seed": 0, "is_baseline": False}
    if is_lost:
        with pytest.raises(ActorUnschedulableError):
            run_trial(trial, job=job, body=body)
        assert reports == []
    else:
        run_trial(trial, job=job, body=body)
        assert [(r["outcome"], r["reason"]) for r in reports] == [
            ("failed", "ValueError:" + " bad" * 300)
        ]
        text = (tmp_path / "000-s0" / ERROR_FILE).read_text()
        assert text.startswith("Traceback")
        assert text.count("bad\n") == 300
