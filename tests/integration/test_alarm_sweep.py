"""A sweep half of which collapses costs less with the alarm that ends what has collapsed."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipelines import tracking
from pipelines.config.run import RunConfig, with_overrides
from pipelines.experiments.arm import PLAIN
from pipelines.experiments.numerical import arms as numerical
from pipelines.experiments.numerical.trial import run_numerical_trial
from pipelines.storage.folder import Folder
from pipelines.sweep.report.write import write_report
from pipelines.sweep.settings import decide
from pipelines.trials.queue import TrialQueue
from pipelines.trials.records import SweepRecord, TrialRecord, Value
from pipelines.trials.run import run_remaining
from pipelines.trials.store import TrialStore
from tune_spaces import Choice, Space

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]
STEPS = 600
SPACE = Space(
    title="half of it collapses",
    recipe="none: numbers are drawn",
    settings={"method.centre_weight": 0.0, **PLAIN},
    sampled={
        "method.objective": Choice(values=("infonce", "simple"), why="with negatives, and without"),
        "optim.weight_decay": Choice(values=(0.01, 0.1), why="no matter to either"),
    },
    metric="test/c/id",
)
SMALL = {
    "backbone.hidden_dims": [32, numerical.EMBEDDING_DIM],
    "method.temperature": 0.05,
    "optim.warmup_steps": 10,
    "train.steps": STEPS,
    "train.checkpoint_every": STEPS,
    "train.global_batch_size": 64,
    "train.log_every": 10,
}


def swept(folder: Folder, *stop: str) -> dict[str, TrialRecord]:
    """The trials of the grid with two seeds, one after another, by the alarms that end one."""
    changes = {**numerical.BASE, **SMALL, **SPACE.settings, "alarms.stop": list(stop)}
    config = with_overrides(RunConfig(), changes)
    store = TrialStore(folder)
    store.register(
        SweepRecord(
            space="half",
            metric=SPACE.metric,
            mode=SPACE.mode,
            sampled={},
            baseline=None,
            search="grid",
            scheduler="none",
            num_settings=len(SPACE.grid()),
            num_seeds=2,
            config=config.model_dump(mode="json"),
            data_digest="",
            tracking_uri=tracking.resolve_uri(None, folder.parent.local),
        )
    )

    def setting(number: int) -> dict[str, Value]:
        return {"task.conditional": "complex", **decide(SPACE, "grid", number, seed=0)}

    search = TrialQueue(store, setting, first_seed=config.train.seed)
    with run_remaining(config, store, search, most=1, trial=run_numerical_trial):
        return store.trials


def test_a_sweep_half_of_which_collapses_is_cheaper_with_the_alarm(tmp_path: Path) -> None:
    whole = swept(Folder(tmp_path / "whole"))
    cut = swept(Folder(tmp_path / "cut"), "collapse")
    collapsing = {n for n, trial in whole.items() if trial.params["method.objective"] == "simple"}
    assert len(collapsing) == len(whole) / 2 == 4
    assert {(trial.state, trial.step) for trial in whole.values()} == {("finished", STEPS)}
    assert {n for n, trial in whole.items() if "alarm/collapse" in trial.metrics} == collapsing
    for name, trial in cut.items():
        if name in collapsing:
            assert (trial.state, trial.step < STEPS) == ("pruned", True)
            assert trial.reason == f"alarm: collapse by step {trial.step}"
        else:
            assert (trial.state, trial.step) == ("finished", STEPS)
            assert trial.metrics[SPACE.metric] == whole[name].metrics[SPACE.metric]
    steps = [sum(trial.step for trial in trials.values()) for trials in (whole, cut)]
    seconds = [sum(trial.seconds for trial in trials.values()) for trials in (whole, cut)]
    print(json.dumps({"steps": steps, "seconds": [round(s, 1) for s in seconds]}))
    assert steps[1] < 0.75 * steps[0]

    store = TrialStore(Folder(tmp_path / "cut"))
    assert store.sweep is not None
    report = write_report(store.sweep, store.all_trials(), tmp_path / "report", name="cut")
    assert "alarm: collapse by step" in report.page.read_text()
    client = MlflowClient(store.sweep.tracking_uri)
    for name in collapsing:
        found = client.get_run(cut[name].mlflow_run_id or "")
        assert found.info.status == "KILLED"
        assert found.data.tags["adassl.reason"] == cut[name].reason
        assert found.data.tags["adassl.alarm.collapse"].startswith("collapse since step")
