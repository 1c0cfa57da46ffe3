"""`adassl futures`: which clips stand for sampled futures, and moments that there are not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch.nn.functional import normalize
from typer.testing import CliRunner

from pipelines.cli.app import app
from pipelines.config.run import ConfigError
from pipelines.evaluation.evaluate import restored
from pipelines.evaluation.expectation import futures_of, trained_forecaster
from pipelines.library.forecast import LibraryPairs, embed_library
from pipelines.library.futures import PAGE, PICTURE, futures, nearest_clips
from pipelines.library.moment import MomentError
from pipelines.sources.moving_digits import write_moving_digits
from pipelines.storage.runs import RunFolder
from pipelines.video.index import load_index
from pipelines.video.indexer import build_index
from tests.pipelines.library.digit_run import NO_R, SPARSE, Parts, tiny_run
from tests.videos import write_video


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    write_moving_digits(folder / "set", num_videos=6, num_frames=15, num_workers=1)
    build_index([folder / "set"], folder / "videos.parquet")
    return folder / "videos.parquet"


@pytest.fixture(scope="module")
def run(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(tmp_path_factory.mktemp("run") / "first", index)


@pytest.fixture(scope="module")
def pairs(run: Path, index: Path) -> LibraryPairs:
    return embed_library(restored(RunFolder(run), "newest"), load_index(index).select())


def test_shares_are_those_of_the_samples(pairs: LibraryPairs) -> None:
    # 6 videos of 4 moments each; one direction a moment.
    made = replace(pairs, target=torch.eye(len(pairs), 30))
    rows = [0, 0, 0, 8, 8, 8, 8, 8, 21, 3]
    noise = torch.randn(10, 30, generator=torch.Generator().manual_seed(0))
    found = nearest_clips(normalize(made.target[rows] + 0.02 * noise, dim=-1), made)
    assert [(future.row, future.share) for future in found] == [
        (8, 0.5), (0, 0.3), (3, 0.1), (21, 0.1)
    ]  # fmt: skip
    assert found[1].path == made.index.path[0]
    assert found[1].seconds == pytest.approx(0.3)  # where x+ begins


def test_nearly_the_same_clips_are_one_future(pairs: LibraryPairs) -> None:
    target = torch.eye(len(pairs), 30)
    target[8] = normalize(target[0] + 0.1 * target[8], dim=-1)  # cosine 0.995
    made = replace(pairs, target=target)
    found = nearest_clips(target[[0, 0, 8, 12, 12, 8, 0]], made)
    assert [(future.row, round(future.share, 3)) for future in found] == [(0, 0.714), (12, 0.286)]
    close = replace(pairs, target=torch.eye(len(pairs), 30), start=pairs.start // 2)
    joined = nearest_clips(close.target[[0, 0, 1, 2]], close)  # 1.5 frames apart, and 3
    assert [(future.row, future.share) for future in joined] == [(0, 0.75), (2, 0.25)]


def test_a_moment_of_the_library_has_its_page_and_picture(
    run: Path, index: Path, tmp_path: Path
) -> None:
    path = load_index(index).path[2]
    result = CliRunner().invoke(
        app,
        f"futures {run} {path}@0.3 --out {tmp_path} --samples 32 --show 3".split(),
    )
    assert result.exit_code == 0, result.output
    assert "32 sampled futures" in result.output
    assert "surprise of what came" in result.output
    parts = Parts((tmp_path / PAGE).read_text())
    shown = parts.tags.count("img") - 2
    assert 1 <= shown <= 3
    assert all(source.startswith("data:image/") for source in parts.loads)
    assert f"file://{path}#t=0.30" in parts.links
    assert f"file://{path}#t=0.60" in parts.links
    assert imread(tmp_path / PICTURE).shape[0] > 200


def test_what_is_sampled_is_what_the_run_expects(run: Path, index: Path, tmp_path: Path) -> None:
    path = load_index(index).path[1]
    summary = futures(run, f"{path}@0.6", tmp_path, num_samples=24)
    learner = restored(RunFolder(run), "newest")
    pairs = embed_library(learner, load_index(index).select())
    [row] = np.flatnonzero((pairs.video == 1) & (pairs.start == 6))
    forecaster = trained_forecaster(learner)
    sampled = futures_of(learner, forecaster, pairs.context[[row]], 24)[:, 0]
    assert nearest_clips(sampled.cpu(), pairs)[: len(summary.futures)] == summary.futures
    assert sum(future.share for future in nearest_clips(sampled.cpu(), pairs)) == pytest.approx(1)


def test_a_video_that_is_in_no_index(run: Path, index: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "me@home.mp4", num_frames=20)
    summary = futures(run, f"{video}@0.2", tmp_path / "out", num_samples=8)
    assert summary.num_clips == 24
    assert summary.surprise_nats is not None
    assert {future.path for future in summary.futures} <= set(load_index(index).path)
    end = futures(run, f"{video}@0.79", tmp_path / "end", num_samples=8)  # the last frame
    assert end.surprise_nats is None
    assert "the video ends before" in (tmp_path / "end" / PAGE).read_text() + end.lines()[1]


@pytest.mark.parametrize("changes", [NO_R, SPARSE], ids=["no r", "sparse"])
def test_methods_without_a_prior(index: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    run = tiny_run(tmp_path / "run", index, changes)
    summary = futures(run, f"{load_index(index).path[0]}@0", tmp_path / "out", num_samples=16)
    assert summary.num_samples == (1 if changes == NO_R else 16)
    assert sum(future.share for future in summary.futures) <= 1 + 1e-9
    if changes == NO_R:
        assert [future.share for future in summary.futures] == [1.0]


def test_moments_that_there_are_not_are_said_in_words(
    run: Path, index: Path, tmp_path: Path
) -> None:
    path, out = load_index(index).path[0], tmp_path / "out"
    short = write_video(tmp_path / "short.mp4", num_frames=2)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    for moment, words in {
        f"{path}@1.5": r"ends at 1\.50 s",
        f"{path}@999": r"ends at 1\.50 s",
        str(path): r"VIDEO@SECONDS",
        f"{tmp_path}/none.mp4@1": "no such file",
        f"{short}@0": "2 frames; one clip has 3",
        f"{tmp_path}/bad.mp4@0": "bad.mp4@0: ",
    }.items():
        with pytest.raises(MomentError, match=words):
            futures(run, moment, out)
    with pytest.raises(ConfigError, match="holds no run"):
        futures(tmp_path, f"{path}@0", out)
    assert not out.exists()


@pytest.mark.slow  # a browser
@pytest.mark.parametrize("width", [1280, 420])
def test_the_page_fits_and_asks_nobody(run: Path, index: Path, tmp_path: Path, width: int) -> None:
    from tests import browser

    futures(run, f"{load_index(index).path[0]}@0.3", tmp_path, num_samples=16)
    url = (tmp_path / PAGE).as_uri()
    with browser.visit(url, width=width) as seen:
        seen.page.goto(url)
        drawn = "image => image.complete && image.naturalWidth > 0"
        assert seen.page.locator("img").count() >= 3
        assert all(image.evaluate(drawn) for image in seen.page.locator("img").all())
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        assert seen.requests == [url]
        assert seen.errors == []
