"""Experiments end to end: trials on a real Ray, runs in a real MLflow, a page that tells it."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import mlflow
import numpy as np
import pandas as pd
import pytest

from pipelines import tracking
from pipelines.config.run import ConfigError, with_overrides
from pipelines.experiments import catalogue
from pipelines.experiments.grid import Experiment
from pipelines.experiments.job import run_experiment
from pipelines.experiments.real_video.page import FLOORS
from pipelines.storage.folder import Folder
from pipelines.trials.store import TrialStore
from tests.pipelines.experiments.pairs.made import (
    write_captions,
    write_digits,
    write_scenes,
    write_sentences,
    write_turntable,
)

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


def tiny() -> Experiment:
    """Two arms of the numerical experiment, 30 steps long."""
    quick = catalogue.load("numerical", quick=True)
    config = with_overrides(quick.config, {"train.checkpoint_every": 30})
    arms = tuple(
        replace(arm, settings={**arm.settings, "train.steps": 30})
        for arm in quick.arms
        if arm.method in ("no-r", "v")
    )
    return replace(quick, config=config, arms=arms)


def run(experiment: Experiment, tmp_path: Path) -> Path:
    folder = Folder(tmp_path / "experiments").child("numerical")
    result = run_experiment(
        experiment, folder, command="adassl experiment numerical", docs=tmp_path / "docs"
    )
    assert result.failed == []
    return result.page


@pytest.mark.slow
def test_an_experiment_is_trials_runs_and_a_page_and_goes_on(tmp_path: Path) -> None:
    one_seed = tiny().with_seeds(1)
    page = run(one_seed, tmp_path)
    assert "2 of 2 trainings finished" in page.read_text()

    with pytest.raises(ConfigError, match="was started with other settings"):
        run(replace(one_seed, arms=one_seed.arms[:1]), tmp_path)
    ended = {p: p.read_text() for p in tmp_path.rglob("trial.json")}
    page = run(tiny().with_seeds(1), tmp_path)  # nothing is left to run
    assert {p: p.read_text() for p in tmp_path.rglob("trial.json")} == ended
    (content,) = [json.loads(p.read_text()) for p in tmp_path.rglob("sweep.json")]
    assert content["config"]["alarms"]["stop"] == [], "what collapses is a row too"

    text = page.read_text()
    assert (tmp_path / "docs" / "numerical.md").read_text() == text
    for line in text.splitlines():
        if line.startswith("!["):
            assert (tmp_path / "docs" / line.partition("](")[2].rstrip(")")).stat().st_size > 5000
    with (page.parent / "complex.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["low-rank editor, no r", "AdaSSL-V, low-rank"]
    assert float(rows[1]["KL or E‖r‖₀"]) > 0
    assert rows[0]["KL or E‖r‖₀"] == "–"
    with (tmp_path / "docs" / "values" / "numerical.csv").open() as file:
        by_seed = list(csv.DictReader(file))
    assert [(row["method"], row["seed"]) for row in by_seed] == [("no-r", "0"), ("v", "0")]
    assert float(by_seed[1]["test/c/refit"]) <= 1

    client = mlflow.MlflowClient(tracking.resolve_uri(None, tmp_path / "experiments"))
    experiment = client.get_experiment_by_name("numerical")
    assert experiment is not None
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"numerical", "complex.no-r-s0", "complex.v-s0"}
    assert {r.info.status for r in runs.values()} == {"FINISHED"}
    child = runs["complex.v-s0"]
    assert child.data.params["conditional"] == "complex"
    assert child.data.tags["mlflow.parentRunId"] == runs["numerical"].info.run_id
    assert 0 < child.data.metrics["test/c/id"] <= 1


@pytest.mark.slow
def test_moving_digits_quick_runs_on_real_videos(tmp_path: Path) -> None:
    quick = catalogue.load("moving-digits", quick=True)
    folder = Folder(tmp_path).child("moving-digits")
    result = run_experiment(quick, folder, command="adassl experiment moving-digits --quick")
    assert result.failed == []
    assert len(list((tmp_path / "moving-digits" / "data" / "A" / "videos").glob("*.mp4"))) == 60
    pictures = {p.stem for p in result.page.parent.rglob("*.png")}
    assert {"representation", "futures-A", "velocities-A", "axes-A", "ranks-A", "use"} <= pictures


@pytest.mark.slow
def test_stability_quick_tells_a_collapse_from_what_stands(tmp_path: Path) -> None:
    quick = catalogue.load("stability", quick=True)
    folder = Folder(tmp_path).child("stability")
    result = run_experiment(quick, folder, command="adassl experiment stability --quick")
    assert result.failed == []
    with (result.page.parent / "time.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert float(rows["InfoNCE"]["‖s‖, end"]) < 0.5
    assert float(rows["alignment alone (Simple, λ = 0)"]["‖s‖, end"]) > 0.9
    assert {p.stem for p in result.page.parent.rglob("*.png")} == {"centre", "lambda"}


@pytest.mark.slow
def test_real_video_quick_tunes_and_judges_labelled_videos(tmp_path: Path) -> None:
    robot = write_robot(tmp_path / "robot")
    quick = catalogue.load("real-video", quick=True, robot=robot)
    folder = Folder(tmp_path).child("real-video")
    result = run_experiment(quick, folder, command="adassl experiment real-video --quick")
    assert result.failed == []
    text = result.page.read_text()
    assert "2 of 2 trainings finished" in text
    assert "## Tuning" in text
    assert "4 trainings" in text
    with (result.page.parent / "robot-values.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert float(rows["supervised encoder"]["arm (h)"]) > 0.5, "where the square is"
    assert set(rows) == {*FLOORS.values(), "InfoNCE", "AdaSSL-V"}
    pictures = {p.stem for p in result.page.parent.rglob("*.png")}
    assert pictures == {f"robot_{n}" for n in ("joints", "pairs", "futures", "transfers")}

    again = run_experiment(quick, folder, command="adassl experiment real-video --quick")
    assert again.page.read_text() == text, "nothing is left to run, and the page is the same"


@pytest.mark.slow
def test_criteria_quick_judges_settings_on_digits_and_on_a_robot(tmp_path: Path) -> None:
    robot = write_robot(tmp_path / "robot")
    quick = catalogue.load("criteria", quick=True, robot=robot)
    few = [arm for arm in quick.arms if arm.method in ("00", "03")]
    folder = Folder(tmp_path).child("criteria")
    result = run_experiment(
        replace(quick, arms=tuple(few)), folder, command="adassl experiment criteria --quick"
    )
    assert result.failed == []
    assert len(few) == 4
    for trial in TrialStore(folder).all_trials():
        assert trial.metrics["test/target/mean"] > 0
        assert {"val/sweep_score", "val/lidar"} <= set(trial.metrics)
        assert ("test/target/forecast" in trial.metrics) == trial.name.startswith("digits")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["images", "text", "sound"])
def test_pairs_quick_tune_and_judge_tiny_sets(name: str, tmp_path: Path) -> None:
    folders = pairs_for(name, tmp_path / "sets")
    quick = catalogue.load(name, quick=True, **folders)
    tuning = quick.tuning
    assert tuning is not None
    few = {method: settings[-1:] for method, settings in tuning.alternatives.items()}
    shorter = [replace(a, settings={**a.settings, "train.steps": 4}) for a in quick.arms]
    config = with_overrides(quick.config, {"train.global_batch_size": 32, "train.val_pairs": 32})
    quick = replace(
        quick, config=config, arms=tuple(shorter), tuning=replace(tuning, alternatives=few)
    )
    folder = Folder(tmp_path).child(name)
    result = run_experiment(quick, folder, command=f"adassl experiment {name} --quick")
    assert result.failed == []
    text = result.page.read_text()
    assert f"{len(quick.arms)} of {len(quick.arms)} trainings finished" in text
    assert "## Tuning" in text
    pictures = {p.stem for p in result.page.parent.rglob("*.png")}
    assert (
        pictures
        == {
            "images": {
                *("solids_dci", "solids_pairs", "solids_futures", "noise", "turntable_step"),
                *("solids_map_infonce", "solids_map_v", "turntable_map_infonce", "turntable_map_v"),
                *(f"turntable_{what}" for what in ("pairs", "futures", "transfers")),
            },
            "text": {"spearman", "recall"},
            "sound": {f"digits_{w}" for w in ("known", "pairs", "futures", "map_infonce", "map_v")},
        }[name]
    )
    if name == "text":
        assert "several samples: " in text

    again = run_experiment(quick, folder, command=f"adassl experiment {name} --quick")
    assert again.page.read_text() == text, "nothing is left to run, and the page is the same"


def pairs_for(name: str, folder: Path) -> dict[str, Path]:
    """Tiny sets for an experiment on pairs."""
    folder.mkdir()
    if name == "images":
        return {
            "solids": write_scenes(folder / "scenes"),
            "turntable": write_turntable(folder / "coil.npz"),
        }
    if name == "sound":
        return {"digits": write_digits(folder / "digits")}
    write_sentences(folder / "sts", folder / "sick")
    captions = write_captions(folder / "captions")
    return {"captions": captions, "sts": folder / "sts", "sick": folder / "sick"}


def write_robot(folder: Path, *, num_videos: int = 15, num_frames: int = 60) -> Path:
    """Videos of a square that wanders, with where it is in each frame; every third is a test."""
    (folder / "clips").mkdir(parents=True)
    rng = np.random.default_rng(0)
    clips, frames = [], []
    for video in range(num_videos):
        name = f"{video:02}.mp4"
        steps = rng.normal(size=(num_frames, 2)).cumsum(axis=0)
        steps -= steps.min(axis=0)
        places = 4 + 40 * steps / steps.max(axis=0)
        pictures = np.full((num_frames, 64, 64, 3), 40, np.uint8)
        for picture, (x, y) in zip(pictures, places.astype(int), strict=True):
            picture[y : y + 16, x : x + 16] = (200, 160, 40)
        with av.open(str(folder / "clips" / name), "w") as container:
            stream: Any = container.add_stream("libx264", rate=25)
            stream.width = stream.height = 64
            for picture in pictures:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        clips.append({"clip": name, "split": "test" if video % 3 == 2 else "train"})
        frames += [
            {"clip": name, "frame": i, "state.across": x, "state.hand_down": y}
            for i, (x, y) in enumerate(places)
        ]
    pd.DataFrame(clips).to_csv(folder / "clips.csv", index=False)
    pd.DataFrame(frames).to_parquet(folder / "frames.parquet")
    return folder
