"""Trainings through Ray Train and MLflow, as jobs and by the command line, stopped in every way."""

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from pipelines.cluster import ClusterTooSmallError
from pipelines.config.run import ConfigError, RunConfig, with_overrides
from pipelines.job import run_job
from pipelines.recipes import recipe
from pipelines.storage.runs import RunFolder, best_state, newest_state
from tests.pipelines.training.test_learner import assert_same
from tests.processes import descendants, here, once, started, wait_during, wait_until

pytestmark = pytest.mark.ray
STEPS, EVERY = 60, 12
SETTINGS = {
    "train.steps": STEPS,
    "train.checkpoint_every": EVERY,
    "train.log_every": 12,
    "train.global_batch_size": 16,
    "train.val_pairs": 16,
    "data.frame_size": 32,
    "backbone.hidden_dims": [4, 8, 16],
    "method.beta_warmup_steps": 10,
    "optim.warmup_steps": 4,
}


def command(
    index: Path | str, out: Path | str, name: str, *more: str, workers: int = 2
) -> list[str]:
    """`adassl train` on the digits, small."""
    settings = [f"--set={key}={json.dumps(value)}" for key, value in SETTINGS.items()]
    place = ["--index", str(index), "--out", str(out), "--name", name, "--workers", str(workers)]
    return ["train", "--recipe", "moving-digits", *place, *settings, *more]


def has_checkpoint(folder: Path) -> bool:
    """Whether a run has written one."""
    return (folder / "checkpoints.json").exists() and any(folder.glob("checkpoint_*/state.pt"))


def train_workers(driver: int) -> list[psutil.Process]:
    """The Ray Train workers under a driver."""
    return descendants(driver, "RayTrainWorker")


def steps_of(state: dict[str, Any]) -> list[int]:
    return [int(entry["step"]) for entry in state["history"]]


@pytest.fixture(scope="module")
def straight(ray_cluster: None, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs with one that nothing disturbed, not evaluated."""
    cwd = tmp_path_factory.mktemp("straight")
    status, printed = here(cwd, command(digits, cwd / "runs", "straight", "--no-evaluate"))
    assert status == 0, printed[-4000:]
    return cwd / "runs"


@pytest.fixture(scope="module")
def whole(ray_cluster: None, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs with one of two workers, evaluated."""
    cwd = tmp_path_factory.mktemp("whole")
    status, printed = here(cwd, command(digits, cwd / "runs", "whole"))
    assert status == 0, printed[-4000:]
    (cwd / "printed.txt").write_text(printed)
    return cwd / "runs"


@pytest.fixture(scope="module")
def cut(ray_cluster: None, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs with one whose process was killed, which went on with one worker."""
    cwd = tmp_path_factory.mktemp("cut")
    out, half = cwd / "runs", "--set=cluster.cpus_per_worker=0.5"
    with started(cwd, command(digits, out, "cut", half)) as process:
        wait_during(process, lambda: has_checkpoint(out / "cut"))
        process.kill()
    wait_until(lambda: statuses(out) == ["KILLED"], seconds=60)  # the watchdog's work
    before = RunFolder(out / "cut").checkpoints.step() or 0
    assert 0 < before < STEPS
    status, printed = here(cwd, command(digits, out, "cut", half, workers=1))
    assert status == 0, printed[-4000:]
    assert re.findall(rf"going on from step (\d+) of {STEPS}", printed) == [str(before)]
    return out


def test_a_run_says_how_it_goes_and_where_everything_is(whole: Path) -> None:
    printed = (whole.parent / "printed.txt").read_text()
    assert "videos to train on" in printed
    for words in (
        f"step {STEPS}/{STEPS}",
        "pairs/s",
        "waiting for data",
        "left 0:0",
        "val/loss",
        "ssl",
        "kl",
    ):
        assert words in printed
    assert f"mlflow ui --backend-store-uri sqlite:///{whole}/mlflow.db" in printed
    assert str(whole / "whole" / "figures") in printed
    assert printed.count(f"step {STEPS}/{STEPS}") == 1
    assert "core_worker.cc" not in printed, "Ray's own notes stay its own"


def test_a_run_leaves_its_summary_its_figures_and_nothing_elsewhere(whole: Path) -> None:
    folder = RunFolder(whole / "whole")
    summary = folder.folder.read_json("summary.json")
    for name in (
        "train/loss",
        "val/loss",
        "val/kl",
        "test/centre_norm",
        "test/residual_norm",
        "test/rankme",
        "test/alignment",
        "test/uniformity",
        "test/digit/linear_accuracy",
        "test/digit/knn_accuracy",
        "test/velocity_x/linear_r2",
        "test/edited/change_y/linear_r2",
        "test/latent_active_dimensions",
        "test/latent_use/00",
    ):
        assert isinstance(summary[name], float), name
    assert all(isinstance(value, int | float) for value in summary.values())
    pictures = {path.name for path in folder.figures.iterdir()}
    assert pictures == {"pairs.png", "loss.png", "collapse.png", "projection.png", "futures.png"}
    assert folder.config() == config_of(whole, {"cluster.num_workers": 2})
    assert {path.name for path in whole.parent.iterdir()} == {"runs", "printed.txt"}
    files = {path.name for path in (whole / "whole").iterdir() if path.is_file()}
    assert files == {"config.json", "run.json", "checkpoints.json", "summary.json", ".lease"}
    assert set(folder.folder.folders()) == {"figures", *checkpoints_of(whole / "whole")}


def checkpoints_of(folder: Path) -> list[str]:
    return [path.parent.name for path in folder.glob("checkpoint_*/state.pt")]


def config_of(whole: Path, changes: dict[str, Any]) -> RunConfig:
    index = json.loads((whole / "whole" / "config.json").read_text())["data"]["index"]
    return with_overrides(recipe("moving-digits"), {**SETTINGS, "data.index": index, **changes})


def test_mlflow_holds_the_run(whole: Path) -> None:
    client = MlflowClient(f"sqlite:///{whole}/mlflow.db")
    experiment = client.get_experiment_by_name("adassl")
    assert experiment is not None
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.info.status == "FINISHED"
    assert tracked.info.run_name == "whole"
    assert float(tracked.data.params["beta"]) == recipe("moving-digits").method.beta
    assert tracked.data.params["train.steps"] == str(STEPS)
    history = client.get_metric_history(tracked.info.run_id, "train/loss")
    assert sorted(m.step for m in history) == [1, *range(EVERY, STEPS + 1, EVERY)]
    assert "test/digit/linear_accuracy" in tracked.data.metrics
    assert any(name.startswith("system/") for name in tracked.data.metrics)
    assert tracked.inputs is not None
    assert tracked.outputs is not None
    (dataset,) = tracked.inputs.dataset_inputs
    assert dataset.dataset.name == "videos"
    assert len(tracked.outputs.model_outputs) == 1
    artifacts = {item.path for item in client.list_artifacts(tracked.info.run_id)}
    assert {"config.json", "summary.json", "figures"} <= artifacts
    assert tracked.data.tags["devices"]
    assert {"torch", "ray"} <= {tag.rpartition(".")[2] for tag in tracked.data.tags}


def test_the_newest_and_the_best_checkpoint_are_kept(whole: Path) -> None:
    folder = RunFolder(whole / "whole")
    newest, best = newest_state(folder), best_state(folder)
    assert newest is not None
    assert best is not None
    assert newest["step"] == STEPS
    assert steps_of(newest) == [1, *range(EVERY, STEPS + 1, EVERY)]
    name = "val/next_clip_nats"
    scores = {e["step"]: e[name] for e in newest["history"] if name in e}
    assert best["step"] == max(scores, key=lambda step: scores[step])
    expected = {f"checkpoint_{state['step']:08d}" for state in (newest, best)}
    assert set(checkpoints_of(whole / "whole")) == expected
    assert newest["mlflow_run_id"]


def test_the_same_command_again_finds_the_run_finished(whole: Path, digits: Path) -> None:
    before = newest_state(RunFolder(whole / "whole"))
    again = command(digits, whole, "whole", "--no-evaluate")
    status, printed = here(whole.parent, again)
    assert status == 0, printed[-4000:]
    assert f"whole had finished: {STEPS} steps" in printed
    assert_same(newest_state(RunFolder(whole / "whole")), before)


def test_another_config_or_other_videos_under_the_name_are_refused(whole: Path) -> None:
    changed = config_of(whole, {"method.beta": 0.5})
    with pytest.raises(ConfigError, match=r"method.beta was 0.01, now 0.5.*another --name"):
        run_job(changed, RunFolder(whole / "whole"))
    folder = RunFolder(whole / "whole")
    with pytest.raises(ConfigError, match="the videos were others"):
        folder.register(folder.config(), "another digest")


@pytest.mark.slow
def test_a_run_whose_process_was_killed_goes_on_as_one_run(cut: Path) -> None:
    newest = newest_state(RunFolder(cut / "cut"))
    assert newest is not None
    assert steps_of(newest) == [1, *range(EVERY, STEPS + 1, EVERY)], (
        "each once, before and after the kill"
    )
    client = MlflowClient(f"sqlite:///{cut}/mlflow.db")
    assert statuses(cut) == ["FINISHED"]
    history = client.get_metric_history(newest["mlflow_run_id"], "train/loss")
    # What the killed process had logged after its last checkpoint is there twice.
    assert sorted({m.step for m in history}) == [1, *range(EVERY, STEPS + 1, EVERY)]


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_but_time(
    straight: Path, digits: Path, tmp_path: Path
) -> None:
    killed = []

    def kill_one() -> None:
        killed.extend(train_workers(os.getpid()))
        killed[1].kill()

    watch = once(lambda: has_checkpoint(tmp_path / "hit"), kill_one)
    status, printed = here(tmp_path, command(digits, tmp_path, "hit", "--no-evaluate"))
    watch.join()
    assert status == 0, printed[-4000:]
    assert len(killed) == 2
    assert "going on from step" in printed
    assert_as_if_nothing_had_happened(RunFolder(tmp_path / "hit"), straight)


def assert_as_if_nothing_had_happened(folder: RunFolder, straight: Path) -> None:
    """Bit by bit the end of the run that nothing disturbed."""
    state, expected = newest_state(folder), newest_state(RunFolder(straight / "straight"))
    assert state is not None
    assert expected is not None
    for part in ("step", "method", "optimizer", "fingerprint"):
        assert_same(state[part], expected[part])
    assert_alike(state["history"], expected["history"])


def assert_alike(history: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    """Bit by bit the same losses at the same steps."""
    for name in ("step", "train/loss", "train/kl", "train/rankme"):
        assert [entry[name] for entry in history] == [entry[name] for entry in expected], name


@pytest.mark.slow
def test_up_to_the_kill_a_run_is_the_one_that_nothing_disturbed(cut: Path, straight: Path) -> None:
    """Bit by bit, with as many workers."""
    killed = newest_state(RunFolder(cut / "cut"))
    undisturbed = newest_state(RunFolder(straight / "straight"))
    assert killed is not None
    assert undisturbed is not None
    until = steps_of(killed).index(EVERY) + 1
    assert_alike(killed["history"][:until], undisturbed["history"][:until])


def statuses(out: Path) -> list[str]:
    client = MlflowClient(f"sqlite:///{out}/mlflow.db")
    experiment = client.get_experiment_by_name("adassl")
    assert experiment is not None
    return [tracked.info.status for tracked in client.search_runs([experiment.experiment_id])]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_process_says_how_to_go_on_and_no_run_stays_running(
    number: signal.Signals, digits: Path, tmp_path: Path
) -> None:
    long = ("--no-evaluate", "--set=train.steps=100000")
    with started(tmp_path, command(digits, tmp_path, "stop", *long, workers=1)) as process:
        wait_during(process, lambda: has_checkpoint(tmp_path / "stop"))
        process.send_signal(number)
        printed, _ = process.communicate(timeout=60)
        assert process.returncode == 130, printed[-4000:]
    assert "the same command goes on from the newest checkpoint" in printed
    assert statuses(tmp_path) == ["KILLED"]


def test_what_the_cluster_cannot_hold_is_refused_at_once(
    ray_cluster: None, digits: Path, tmp_path: Path
) -> None:
    began = time.monotonic()
    known = {**SETTINGS, "data.index": str(digits)}
    for changes, words in (
        ({"cluster.num_workers": 4}, r"No place for .*lower cluster.num_workers"),
        ({"cluster.use_gpu": True}, "GPU"),
    ):
        config = with_overrides(recipe("moving-digits"), {**known, **changes})
        with pytest.raises(ClusterTooSmallError, match=words):
            run_job(config, RunFolder(tmp_path / "big"))
    assert time.monotonic() - began < 20
