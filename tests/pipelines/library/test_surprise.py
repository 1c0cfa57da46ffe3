"""`adassl surprise` on real files: what is scored, what is skipped, and the page."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from adassl.surprise import surprise_nats
from pipelines.cli.app import app
from pipelines.config.run import ConfigError
from pipelines.evaluation.embed import pairs_at_hand
from pipelines.evaluation.evaluate import restored
from pipelines.evaluation.expectation import (
    Expectation,
    futures_of,
    trained_forecaster,
)
from pipelines.library import forecast
from pipelines.library.forecast import embed_library
from pipelines.library.surprise import PAGE, TABLE, most_surprising, scored, surprise
from pipelines.sources.moving_digits import write_moving_digits
from pipelines.storage.runs import RunFolder
from pipelines.video.decode import read_window
from pipelines.video.index import load_index
from pipelines.video.indexer import build_index
from tests.pipelines.library.digit_run import NO_R, SPARSE, Parts, tiny_config, tiny_run
from tests.pipelines.library.made import saved_run
from tests.videos import write_video

NUM_VIDEOS, SCENES = 6, 3
NUM_FRAMES = 9 * SCENES
MOMENTS = (NUM_FRAMES - 6) // 3 + 1  # of a video: a gap of 3 frames, and so is the stride


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of three scenes each: two cuts."""
    folder = tmp_path_factory.mktemp("library")
    write_moving_digits(folder / "set", num_videos=NUM_VIDEOS, scenes=SCENES, num_workers=1)
    build_index([folder / "set"], folder / "videos.parquet")
    return folder / "videos.parquet"


@pytest.fixture(scope="module")
def run(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(tmp_path_factory.mktemp("run") / "first", index)


def test_every_moment_has_the_score_of_its_own_frames(
    run: Path, index: Path, tmp_path: Path
) -> None:
    summary = surprise(run, str(index), tmp_path, num_samples=16)
    table = pd.read_parquet(tmp_path / TABLE)
    assert len(table) == NUM_VIDEOS * MOMENTS
    assert set(table["path"]) == set(load_index(index).path)
    learner = restored(RunFolder(run), "newest")
    learner.method.eval()
    path = table["path"][MOMENTS]  # the second video
    rows = table[table["path"] == path]
    seconds = rows["start_seconds"].to_numpy()
    assert seconds.tolist() == pytest.approx(np.arange(MOMENTS) * 0.3)
    assert (rows["next_seconds"] - seconds).tolist() == pytest.approx([0.3] * MOMENTS)
    frames = read_window(path, first=0, num_frames=NUM_FRAMES, width=32, height=32, grayscale=True)
    clips = np.stack([frames[at : at + 3] for at in range(0, NUM_FRAMES - 2, 3)])
    z = learner.method.encode(learner.to_input(clips)).embedding.detach()
    unit = torch.nn.functional.normalize(z, dim=-1)
    futures = futures_of(learner, trained_forecaster(learner), z[:-1], 16)
    expected = surprise_nats(futures, unit[1:], temperature=summary.temperature)
    assert rows["surprise_nats"].tolist() == pytest.approx(expected.tolist(), abs=2e-3)
    distance = (unit[:-1] - unit[1:]).norm(dim=1)
    assert rows["embedding_distance"].tolist() == pytest.approx(distance.tolist(), abs=1e-4)
    last, came = frames[2:-3:3].astype(float), frames[3::3].astype(float)
    difference = np.abs(last - came[: len(last)]).mean(axis=(1, 2, 3))
    assert rows["frame_difference"].tolist() == pytest.approx(difference.tolist(), abs=1e-3)


def test_the_page_shows_the_top_and_loads_nothing(run: Path, index: Path, tmp_path: Path) -> None:
    summary = surprise(run, str(index), tmp_path, num_samples=4, top=5)
    assert (summary.top["surprise_nats"].diff().dropna() <= 0).all()
    assert summary.top["surprise_nats"].iloc[0] == summary.moments["surprise_nats"].max()
    parts = Parts((tmp_path / PAGE).read_text())
    assert len(parts.links) == 5
    assert all(link.startswith("file:///") and "#t=" in link for link in parts.links)
    assert parts.tags.count("img") == 2 * 5 + 1  # strips of x and x+, and the curves
    assert all(source.startswith("data:image/") for source in parts.loads)
    assert f"{NUM_VIDEOS * MOMENTS} moments of {NUM_VIDEOS} videos" in parts.text


def test_a_stride_that_does_not_divide_the_gap(run: Path, index: Path, tmp_path: Path) -> None:
    summary = surprise(run, str(index), tmp_path, num_samples=4, stride_seconds=0.4, split="train")
    rows = summary.moments
    assert set(rows["path"]) == set(load_index(index).select(split="train").path)
    starts = (rows.groupby("path")["start_seconds"].apply(list)).iloc[0]
    assert starts == pytest.approx([0.0, 0.4, 0.8, 1.2, 1.6, 2.0])
    assert (rows["next_seconds"] - rows["start_seconds"]).tolist() == pytest.approx(
        [0.3] * len(rows)
    )
    whole = surprise(run, str(index), tmp_path / "whole", num_samples=4)
    both = rows.merge(whole.moments, on=["path", "start_seconds"])  # those at 0 and 1.2 s
    assert both["embedding_distance_x"].tolist() == pytest.approx(
        both["embedding_distance_y"].tolist(), abs=1e-4
    )


@pytest.mark.parametrize("changes", [NO_R, SPARSE], ids=["no r", "sparse"])
def test_methods_without_a_prior_are_scored(
    index: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    run = tiny_run(tmp_path / "run", index, changes)
    found = [surprise(run, str(index), tmp_path / name, num_samples=8) for name in ("a", "b")]
    assert np.isfinite(found[0].moments["surprise_nats"]).all()
    pd.testing.assert_frame_equal(found[0].moments, found[1].moments)


@pytest.mark.parametrize("changes", [{}, SPARSE], ids=["variational", "sparse"])
def test_nothing_of_a_video_is_in_what_is_expected_of_it(
    index: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    learner = restored(RunFolder(tiny_run(tmp_path / "run", index, changes)), "newest")
    learner.method.eval()
    pairs = embed_library(learner, load_index(index).select())
    assert pairs.latent is not None
    latent, target = pairs.latent.clone(), pairs.target.clone()
    own = pairs.video == 0
    latent[own], target[own] = 5.0, -target[own]  # only what is expected of others changes
    rows = np.arange(len(pairs))
    before, after = (
        Expectation(learner, each, None).futures(rows, 32)
        for each in (pairs, replace(pairs, latent=latent, target=target))
    )
    assert torch.equal(before[:, own], after[:, own])
    assert not torch.equal(before, after)


def test_without_the_training_videos_the_library_shows_what_may_follow(
    tmp_path: Path, index: Path
) -> None:
    own = tmp_path / "own"
    write_moving_digits(own / "set", num_videos=8, num_workers=1)
    build_index([own / "set"], own / "videos.parquet")
    run = tiny_run(tmp_path / "run", own / "videos.parquet")
    here = surprise(run, str(index), tmp_path / "here", num_samples=8)
    assert " training pairs of the run" in here.lines()[-1]
    shutil.rmtree(own / "set")
    pairs_at_hand.cache_clear()  # a new process
    there = surprise(run, str(index), tmp_path / "there", num_samples=8)
    assert "the run's training videos are not here" in there.lines()[-1]
    assert np.isfinite(there.moments["surprise_nats"]).all()
    assert not np.allclose(there.moments["surprise_nats"], here.moments["surprise_nats"])


def test_rows_come_back_in_their_order(index: Path, tmp_path: Path) -> None:
    learner = restored(RunFolder(tiny_run(tmp_path / "run", index, NO_R)), "newest")
    pairs = embed_library(learner, load_index(index).select())
    rows = np.array([40, 3, 17, 9, 25])
    futures = Expectation(learner, pairs, None).futures(rows, 8)
    expected = learner.method.futures_of(pairs.context[rows], 1)
    torch.testing.assert_close(futures, expected)


def test_the_top_leaves_out_neighbours_of_one_event(run: Path, index: Path) -> None:
    learner = restored(RunFolder(run), "newest")
    pairs = embed_library(learner, load_index(index).select(), stride_seconds=0.1)
    first = np.flatnonzero(pairs.video == 0)
    nats = np.zeros(len(pairs))
    nats[first[:6]] = [3, 9, 8, 7, 6.5, 5]  # frames 0-5; within 3 frames of 1: 0 to 3
    nats[first[-1] + 1] = 8.5  # another video
    moments = pd.DataFrame({"surprise_nats": nats})
    assert most_surprising(moments, pairs, 3) == [first[1], first[-1] + 1, first[4]]


@pytest.mark.ray
def test_on_ray_as_here(
    run: Path,
    index: Path,
    tmp_path: Path,
    ray_cluster: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = surprise(run, str(index), tmp_path / "here", num_samples=4)
    monkeypatch.setattr(forecast, "WINDOWS_HERE", 0)
    there = surprise(run, str(index), tmp_path / "there", num_samples=4)
    pd.testing.assert_frame_equal(here.moments, there.moments)


def test_what_cannot_be_used_is_named(run: Path, index: Path, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "short.mp4", num_frames=5)
    write_video(folder / "one.mp4", num_frames=6)
    write_video(folder / "gone.mp4", num_frames=20)
    (folder / "bad.mp4").write_bytes(b"no video")
    library = tmp_path / "library.parquet"
    build_index([folder], library, val_share=0, test_share=0)
    damaged = bytearray((folder / "gone.mp4").read_bytes())
    (folder / "gone.mp4").write_bytes(damaged[:300])  # after it was indexed
    result = CliRunner().invoke(
        app, ["surprise", str(run), str(library), "--out", str(tmp_path / "out"), "--samples", "4"]
    )
    assert result.exit_code == 0, result.output
    text = result.output.replace("\n", "")
    for words in ("bad.mp4: ", "short.mp4: 5 frames; a pair has 6", "gone.mp4: ", "1 moment of 1"):
        assert words in text
    table = pd.read_parquet(tmp_path / "out" / TABLE)
    assert [Path(path).name for path in table["path"]] == ["one.mp4"]


def test_a_library_without_moments_is_refused_in_words(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "short.mp4", num_frames=5)
    library = str(tmp_path / "library.parquet")
    build_index([folder], library, val_share=0, test_share=0)
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match=r"long enough.*short\.mp4: 5 frames; a pair has 6"):
        surprise(run, library, out)
    with pytest.raises(ConfigError, match="no usable video of the split test"):
        surprise(run, library, out, split="test")
    with pytest.raises(ConfigError, match="positive"):
        surprise(run, library, out, stride_seconds=0.0)
    with pytest.raises(ConfigError, match="holds no run"):
        surprise(tmp_path, library, out)
    assert not (out / TABLE).exists()
    assert not (out / PAGE).exists()


def test_weights_that_are_no_numbers_are_said(index: Path, tmp_path: Path) -> None:
    from pipelines.training.learner import Learner

    learner = Learner(tiny_config(index), torch.device("cpu"))
    with torch.no_grad():
        next(learner.method.encoder.parameters()).fill_(torch.nan)
    saved_run(tmp_path / "run", learner)
    with pytest.raises(
        ConfigError, match=r"no embedding of 48 moments is finite.*--checkpoint best"
    ):
        surprise(tmp_path / "run", str(index), tmp_path / "out")


def test_a_moment_that_is_not_finite_is_left_out(run: Path, index: Path) -> None:
    learner = restored(RunFolder(run), "newest")
    pairs = embed_library(learner, load_index(index).select())
    target = pairs.target.clone()
    target[4] = torch.nan
    kept = forecast._finite(replace(pairs, target=target), {})
    assert (len(kept), kept.num_not_finite) == (len(pairs) - 1, 1)
    expectation = Expectation(learner, kept, None)
    assert np.isfinite(scored(expectation, kept, num_samples=4, temperature=0.1)).all()


@pytest.mark.slow
def test_events_that_the_law_excludes_are_found() -> None:
    from tests.benchmarks.surprise import Measures, auroc, train_on_digits
    from tests.events import event_pairs

    torch.set_num_threads(1)
    learner = train_on_digits("v", 0, steps=120, batch_size=128)
    rng = np.random.default_rng(0)
    fitted = event_pairs("law", 1000, rng, split="train")
    ordinary = event_pairs("law", 200, rng, split="val")
    measure = Measures(learner, fitted, ordinary)
    kinds = ("law", "cut", "jump", "reversal", "law, fast", "fast motion", "slow motion")
    found = {kind: measure(event_pairs(kind, 150, rng, split="test")) for kind in kinds}
    assert auroc(found["cut"]["surprise"], found["law"]["surprise"]) > 0.95
    assert auroc(found["jump"]["surprise"], found["law"]["surprise"]) > 0.85
    assert auroc(found["reversal"]["surprise"], found["law, fast"]["surprise"]) > 0.9
    assert auroc(found["fast motion"]["surprise"], found["slow motion"]["surprise"]) < 0.75
    assert auroc(found["fast motion"]["frames"], found["slow motion"]["frames"]) > 0.95


@pytest.mark.slow  # a browser
@pytest.mark.parametrize("width", [1280, 420])
def test_the_page_fits_and_asks_nobody(run: Path, index: Path, tmp_path: Path, width: int) -> None:
    from tests import browser

    surprise(run, str(index), tmp_path, num_samples=4, top=6)
    url = (tmp_path / PAGE).as_uri()
    with browser.visit(url, width=width) as seen:
        seen.page.goto(url)
        seen.page.wait_for_timeout(200)
        assert seen.page.locator(".moment").count() == 6
        drawn = "image => image.complete && image.naturalWidth > 0"
        assert all(image.evaluate(drawn) for image in seen.page.locator("img").all())
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        assert seen.requests == [url]
        assert seen.errors == []
