"""Sweeps by the command line, ended in every way in which a sweep can end.

A driver that is killed: `test_trials`.
"""

import json
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipelines.storage.folder import Folder
from pipelines.trials.records import TrialRecord
from pipelines.trials.store import TrialStore
from tests.processes import descendants, here, run, started, wait_during

pytestmark = pytest.mark.ray
STEPS, EVERY = 24, 12
SETTINGS = {
    "train.steps": STEPS,
    "train.checkpoint_every": EVERY,
    "train.log_every": 3,
    "train.global_batch_size": 16,
    "train.val_pairs": 16,
    "data.frame_size": 32,
    "backbone.hidden_dims": [4, 8, 16],
    "optim.warmup_steps": 4,
}


def command(
    index: Path | str, out: Path | str, name: str, *more: str, trials: int = 2
) -> list[str]:
    """`adassl sweep` of the laptop's space on the digits, small."""
    settings = [f"--set={key}={json.dumps(value)}" for key, value in SETTINGS.items()]
    base = ["sweep", "--space", "digits", "--name", name, "--scheduler", "none"]
    place = ["--index", str(index), "--out", str(out), "--num-trials", str(trials)]
    return [*base, *place, *settings, *more]


def store_of(out: Path, name: str) -> TrialStore:
    return TrialStore(Folder(out / name))


def tracked(out: Path) -> dict[str, Run]:
    """All runs in MLflow by name; a name that comes twice fails."""
    client = MlflowClient(f"sqlite:///{out}/mlflow.db")
    experiment = client.get_experiment_by_name("adassl")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    counts = Counter(str(r.info.run_name) for r in runs)
    assert max(counts.values()) == 1, counts
    return {str(r.info.run_name): r for r in runs}


@pytest.fixture(scope="module")
def whole(ray_cluster: None, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a sweep that nothing disturbed, with what it printed."""
    cwd = tmp_path_factory.mktemp("whole")
    one_by_one = ("--seeds=1", "--max-concurrent=1")
    status, printed = here(cwd, command(digits, cwd / "runs", "whole", *one_by_one, trials=1))
    assert status == 0, printed[-4000:]
    (cwd / "printed.txt").write_text(printed)
    return cwd / "runs"


def test_it_says_what_it_will_do_how_it_goes_and_what_came_of_it(whole: Path) -> None:
    printed = (whole.parent / "printed.txt").read_text()
    assert "1 setting × 1 seed and the baseline × 1 = 2 trials, 1 at once" in printed
    looked = f"000-s0  step {EVERY}/{STEPS}  val/sweep_score"
    for words in (looked, "pairs/s", "min left", "2/2 trials: 2 finished"):
        assert words in printed, words
    assert "This rests on 2 trials" in printed.replace("\n", " ")
    assert f"{whole}/whole/report/report.html" in printed
    assert f"mlflow ui --backend-store-uri sqlite:///{whole}/mlflow.db" in printed
    assert {path.name for path in whole.parent.iterdir()} == {"runs", "printed.txt"}


def test_the_ledger_has_every_trial_with_its_looks_and_its_end(whole: Path) -> None:
    store = store_of(whole, "whole")
    assert sorted(store.trials) == ["000-s0", "base-s0"]
    for trial in store.all_trials():
        assert (trial.state, trial.step, trial.failures) == ("finished", STEPS, 0)
        assert sorted(trial.validations) == [EVERY, STEPS]
        assert trial.metrics["val/sweep_score"] == trial.validations[STEPS]
        assert 0 < trial.metrics["val/probe/mean"] <= 1
        assert trial.first_step_seconds is not None
        assert trial.first_step_seconds > 0 < trial.seconds
    values = {t.validations[STEPS] for t in store.all_trials()}
    assert len(values) == 2, "settings differ"


def test_mlflow_has_a_parent_and_a_child_for_each_trial_that_compare(whole: Path) -> None:
    runs = tracked(whole)
    parent = runs.pop("whole")
    assert parent.info.status == "FINISHED"
    assert parent.data.params["space"] == "digits"
    assert "sweep/best_mean" in parent.data.metrics
    client = MlflowClient(f"sqlite:///{whole}/mlflow.db")
    reports = {f.path for f in client.list_artifacts(parent.info.run_id, "report")}
    assert {"report/report.html", "report/leaderboard.csv", "report/leaderboard.png"} <= reports
    trials = store_of(whole, "whole").trials
    assert set(runs) == set(trials)
    for name, child in runs.items():
        assert child.info.status == "FINISHED"
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.data.tags["adassl.state"] == "finished"
        beta = trials[name].params.get("method.beta", 0)
        assert float(child.data.params["beta"]) == pytest.approx(beta)
        assert int(child.data.params["seed"]) == trials[name].seed
        assert {"beta_warmup_steps", "latent_dim"} <= set(child.data.params)
    logged = {name: set(child.data.metrics) for name, child in runs.items()}
    assert all(
        ("val/latent_use/00" in keys) == (name[:4] != "base") for name, keys in logged.items()
    )
    keys = [
        {k for k in found if k.startswith(("val/", "train/")) and "/latent_use/" not in k}
        for found in logged.values()
    ]
    assert all(one == keys[0] for one in keys)
    assert {"val/sweep_score", "val/kl", "val/probe/mean", "val/digit/linear_accuracy"} <= keys[0]
    assert not any(key.startswith("test/") for key in keys[0])


def test_the_same_command_finds_it_finished_and_another_sweep_is_refused(
    whole: Path, digits: Path
) -> None:
    before = store_of(whole, "whole").trials
    again = command(digits, whole, "whole", "--seeds=1", trials=1)
    status, printed = here(whole.parent, again)
    assert status == 0, printed[-4000:]
    assert f"/{STEPS}  val" not in printed
    assert store_of(whole, "whole").trials == before
    status, printed = here(whole.parent, [*again, "--set=train.steps=96"])
    assert status == 2
    assert f"train.steps was {STEPS}, now 96" in printed
    assert "Traceback" not in printed


def test_the_report_can_be_made_again_by_another_metric(whole: Path) -> None:
    again = ["sweep-report", str(whole / "whole"), "--metric"]
    status, printed = here(whole.parent, [*again, "val/probe/mean"])
    assert status == 0, printed[-4000:]
    page = (whole / "whole" / "report" / "report.html").read_text()
    assert "val/probe/mean" in page
    status, printed = here(whole.parent, [*again, "val/x"])
    assert status == 2
    assert "val/probe/mean" in printed


def statuses(out: Path) -> set[str]:
    return {str(run.info.status) for run in tracked(out).values()}


def _looked(out: Path, name: str, trial: str) -> bool:
    found: TrialRecord | None = store_of(out, name).trials.get(trial)
    return found is not None and bool(found.validations)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_sweep_says_how_to_go_on_and_leaves_nothing_running(
    number: signal.Signals, digits: Path, tmp_path: Path
) -> None:
    long = command(digits, tmp_path, "stop", "--set=train.steps=5000")
    with started(tmp_path, long) as process:
        wait_during(process, lambda: _looked(tmp_path, "stop", "base-s0"))
        process.send_signal(number)
        began = time.monotonic()
        printed, _ = process.communicate(timeout=60)
        assert process.returncode == 130, printed[-4000:]
        assert time.monotonic() - began < 20
    assert "the same command goes on" in printed
    assert statuses(tmp_path) == {"KILLED"}


@pytest.mark.slow
def test_trials_of_two_workers_train_in_a_group(digits: Path, tmp_path: Path) -> None:
    group = ("--workers=2", "--seeds=1", "--set=cluster.cpus_per_worker=0.5")
    printed = run(tmp_path, command(digits, tmp_path, "group", *group, trials=1))
    assert "each 2 workers of 0.5 CPUs" in printed
    assert "000-s0  step 12/24  val/sweep_score" in printed
    trials = store_of(tmp_path, "group").trials
    assert {(t.state, t.step) for t in trials.values()} == {("finished", 24)}
    assert sorted(trials["000-s0"].validations) == list(range(EVERY, STEPS + 1, EVERY))
    assert statuses(tmp_path) == {"FINISHED"}


@pytest.mark.slow
def test_a_lost_process_goes_on_and_one_that_hangs_is_ended_and_named(
    digits: Path, tmp_path: Path
) -> None:
    options = ("--seeds=1", "--set=cluster.stall_minutes=0.25", "--set=train.steps=48")
    with started(tmp_path, command(digits, tmp_path, "hit", *options, trials=1)) as process:
        wait_during(process, lambda: _looked(tmp_path, "hit", "base-s0"))
        descendants(process.pid, "ray::ImplicitFunc")[0].kill()
        wait_during(process, lambda: _looked(tmp_path, "hit", "000-s0"))
        for decoder in descendants(process.pid, "WindowDecoder"):
            decoder.send_signal(signal.SIGSTOP)
        printed, _ = process.communicate(timeout=240)
        assert process.returncode == 0, printed[-4000:]
    assert "base-s0: going on from step" in printed
    assert "000-s0: no progress for 15 s after step" in printed
    assert "000-s0: going on from step" in printed
    trials = store_of(tmp_path, "hit").trials
    assert {name: (t.state, t.step) for name, t in trials.items()} == {
        "base-s0": ("finished", 48),
        "000-s0": ("finished", 48),
    }
