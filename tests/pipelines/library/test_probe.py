"""Probes from a handful of labels, on videos whose brightness is the label."""

import math
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from pipelines.config.run import ConfigError
from pipelines.figures import answers as pictures
from pipelines.figures import style
from pipelines.library.clip_reader import ClipReader
from pipelines.library.encoders import data_of, find_encoder
from pipelines.library.export import export
from pipelines.library.few_labels import Examples, cross_validate, fit, load_probe, wilson
from pipelines.library.labels import read_labels
from pipelines.library.probe import MOMENTS, run_probe
from pipelines.storage.folder import Folder
from pipelines.storage.runs import RunFolder
from pipelines.video.frames import DecodeError
from pipelines.video.indexer import build_index
from tests.pipelines.library.small_runs import FRAMES, small_run
from tests.processes import here
from tests.videos import read_number, write_video

NUM_FRAMES, FPS = 20, 10
LEVELS = {"dark": 50, "bright": 190}


def write_levels(path: Path, first: int, second: int) -> None:
    """A grey video of some noise, of one level in its first half and another in its second."""
    rng = np.random.default_rng(abs(hash(path.name)) % 2**32)
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "threads": "1"}
        stream: Any = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 48, 32, "yuv420p", 5
        for number in range(NUM_FRAMES):
            level = first if number < NUM_FRAMES // 2 else second
            pixels = level + rng.integers(-20, 20, (32, 48, 1)).repeat(3, axis=2)
            frame = av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunFolder]:
    """A folder with a library of ten videos and their index, and a run."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "videos").mkdir()
    for number in range(5):
        for name, level in LEVELS.items():
            other = LEVELS["bright" if name == "dark" else "dark"]
            second = level if number < 4 else other  # the last of each changes in its middle
            write_levels(folder / "videos" / f"{name}{number}.mp4", level, second)
    build_index([folder / "videos"], folder / "index.parquet", num_workers=1)
    run, _ = small_run(folder / "runs" / "first")
    return folder, run


def table(folder: Path, rows: list[dict[str, Any]], name: str = "light.csv") -> str:
    pd.DataFrame(rows).to_csv(folder / name, index=False)
    return str(folder / name)


def of_videos(count: int = 4) -> list[dict[str, Any]]:
    return [
        {"path": f"videos/{name}{number}.mp4", "label": name}
        for number in range(count)
        for name in LEVELS
    ]


def of_moments() -> list[dict[str, Any]]:
    """Both halves of the two videos that change, and a moment of some others."""
    rows = [{**row, "seconds": 0.3} for row in of_videos()]
    for name, other in (("dark", "bright"), ("bright", "dark")):
        path = f"videos/{name}4.mp4"
        rows += [{"path": path, "label": name, "seconds": 0.1}]
        rows += [{"path": path, "label": other, "seconds": 1.2}]
    return rows


@pytest.mark.parametrize("kind", ["linear", "attentive"])
def test_a_handful_of_moments_is_enough_and_labels_the_library(
    kind: Any, place: tuple[Path, RunFolder]
) -> None:
    folder, run = place
    labels = table(folder, of_moments(), f"{kind}.csv")
    out = folder / f"{kind}.parquet"
    done = run_probe(
        str(run),
        labels,
        kind=kind,
        apply=str(folder / "index.parquet"),
        out=str(out),
        stride_seconds=0.4,
    )
    judged = done.judgement
    assert judged is not None
    assert (judged.num_rows, judged.num_videos, judged.folds) == (12, 10, 5)
    assert judged.score > 0.9
    assert judged.low < judged.score <= judged.high
    assert (judged.low, judged.high) == wilson(judged.score, 10)
    assert judged.chance == 0.5
    assert done.classes["rows"].tolist() == [6, 6]
    assert done.classes["videos"].tolist() == [6, 6]
    found = pd.read_parquet(out)
    assert list(found) == ["path", "seconds", "class", "probability"]
    assert done.labelled is not None
    assert len(found) == 10 * 5 == done.labelled.num_clips  # frames 0, 4, 8, 12, 16 of 20
    assert found["probability"].between(0.5, 1).all()
    names = found["path"].map(os.path.basename)
    at = dict(zip(zip(names, found["seconds"].round(1), strict=True), found["class"], strict=True))
    assert at["dark4.mp4", 0.0] == "dark"
    assert at["dark4.mp4", 1.2] == "bright"
    truth = [os.path.basename(path)[:-5] for path in found["path"]]
    kept = ~found["path"].str.contains("4.mp4")
    assert (found["class"] == truth)[kept].mean() > 0.9
    files = {file.name for file in (run.folder.local or Path()).joinpath("probes", kind).iterdir()}
    assert files == {"probe.safetensors", "probe.json", "confusion.png"}
    about = done.folder.read_json("probe.json")
    assert about["judgement"]["score"] == judged.score

    # The probe as it was kept, on an export of the same encoder, into another table.
    export(run, Folder(folder / f"exported-{kind}"))
    again = run_probe(
        str(folder / f"exported-{kind}"),
        str(done.folder),
        apply=str(folder / "index.parquet"),
        out=str(folder / f"{kind}.csv.out.csv"),
        stride_seconds=0.4,
    )
    assert again.judgement is None
    written = pd.read_csv(folder / f"{kind}.csv.out.csv")
    assert written["class"].tolist() == found["class"].tolist()
    np.testing.assert_allclose(written["probability"], found["probability"], atol=1e-5)


def test_whole_videos_are_averaged_over_moments(place: tuple[Path, RunFolder]) -> None:
    folder, run = place
    done = run_probe(str(run), table(folder, of_videos()))
    assert done.judgement is not None
    assert done.judgement.num_rows == done.judgement.num_videos == 8
    assert done.judgement.score == 1
    assert done.judgement.high == 1
    reader = ClipReader(find_encoder(str(run)).data)
    moments = reader.starts(str(folder / "videos" / "dark0.mp4"), MOMENTS)
    assert len(moments) == MOMENTS
    assert 0 < moments[0] < moments[-1] < (NUM_FRAMES - FRAMES) / FPS


def test_numbers_are_values(place: tuple[Path, RunFolder]) -> None:
    folder, run = place
    rows = [{**row, "label": LEVELS[row["label"]] + i % 3} for i, row in enumerate(of_videos())]
    labels, out = table(folder, rows, "level.csv"), folder / "levels.csv.csv"
    index = str(folder / "index.parquet")
    done = run_probe(str(run), labels, apply=index, out=str(out))
    judged = done.judgement
    assert judged is not None
    assert judged.kind == "value"
    assert judged.low <= judged.score <= judged.high <= 1
    assert judged.score > 0.8
    found = pd.read_csv(out)
    assert list(found) == ["path", "seconds", "value"]
    darker = found["path"].str.contains("dark[0-3]")
    assert found["value"][darker].mean() < 100 < found["value"][~darker].mean()
    assert done.folder.exists("predicted.png")


def test_attentive_values_come_back_in_their_own_scale() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(40, 3, 6)).astype(np.float32)
    labels = 1000 + 100 * tokens.mean(axis=1)[:, 0]
    rows = np.arange(40)
    group = np.array([f"/{n}.mp4" for n in rows], object)
    examples = Examples(inputs=tokens, row=rows, group=group)
    probe = fit(examples, labels.astype(np.float64), "value", "attentive")
    found = probe.answers(probe.outputs(tokens))
    assert abs(found - labels).mean() < 0.7 * labels.std()


def test_no_video_is_in_two_folds_so_that_noise_scores_chance() -> None:
    rng = np.random.default_rng(0)
    video = np.arange(60) // 6
    labels = np.where(rng.permutation(np.arange(10) % 2)[video] > 0, "a", "b")
    of_video = rng.normal(size=(10, 16))[video]  # tells the videos apart, and nothing else
    inputs = (of_video + 0.01 * rng.normal(size=(60, 16))).astype(np.float32)
    group = np.array([f"/{n}.mp4" for n in video], object)
    examples = Examples(inputs=inputs, row=np.arange(60), group=group)
    judged = cross_validate(examples, labels, "class", "linear")
    assert judged.score < 0.85
    assert judged.high - judged.low > 0.3  # ten videos, not sixty rows
    leaky = replace(examples, group=np.arange(60).astype(object))
    assert cross_validate(leaky, labels, "class", "linear").score == 1


@pytest.mark.parametrize(
    ("share", "count", "ends"), [(1.0, 10, (0.722, 1.0)), (0.5, 20, (0.299, 0.701))]
)
def test_wilson_s_interval_is_as_in_tables(
    share: float, count: int, ends: tuple[float, float]
) -> None:
    assert wilson(share, count) == pytest.approx(ends, abs=1e-3)


def test_bad_rows_are_named_counted_and_skipped(place: tuple[Path, RunFolder]) -> None:
    folder, run = place
    (folder / "videos" / "broken.mp4").write_bytes(b"no video")
    rows = [{**row, "seconds": ""} for row in of_videos()]
    rows += [
        {"path": "videos/nowhere.mp4", "label": "dark", "seconds": ""},
        {"path": "videos/broken.mp4", "label": "dark", "seconds": "1"},
        {"path": "videos/dark0.mp4", "label": "dark", "seconds": "77"},
        {"path": "videos/dark0.mp4", "label": "dark", "seconds": "soon"},
        {"path": "videos/dark0.mp4", "label": "", "seconds": "1"},
    ]
    labels = table(folder, rows, "bad.csv")
    status, printed = here(folder, ["probe", str(run), labels])
    assert status == 0, printed
    for words in (
        "line 13: seconds='soon' is no number",
        "line 14: no label",
        "nowhere.mp4: no such file",
        "broken.mp4: ",
        "second 77: the video ends at 2.00 s",
        "judged on   8 rows of 8 videos, 4 folds",
        "Wilson",
        "  dark                 4 rows of 4 videos, recall 1.00",
    ):
        assert words in printed, (words, printed)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"file": "a.mp4", "label": "x"}], "no column path, only file, label"),
        ([{"path": "a.mp4"}], "no column label, only path; it needs columns path and label"),
        ([{"path": "a.mp4", "label": ""}], "no row has a path and a label"),
        (of_videos()[::2], "all 4 labels are 'dark'"),
        ([*of_videos(), {"path": "videos/dark4.mp4", "label": "x"}], "a single example of 'x'"),
        (
            [*of_videos(), *2 * [{"path": "videos/dark4.mp4", "label": "x"}]],
            "all examples of 'x' are of one video",
        ),
        (
            [{"path": f"gone{n}.mp4", "label": "ab"[n % 2]} for n in range(4)],
            "4 of 4 labelled rows",
        ),
    ],
)
def test_labels_that_cannot_do_are_refused_in_words(
    rows: list[dict[str, Any]], words: str, place: tuple[Path, RunFolder]
) -> None:
    folder, run = place
    status, printed = here(folder, ["probe", str(run), table(folder, rows, "wrong.csv")])
    assert status == 2, printed
    assert words in printed


def test_other_wrong_commands_fail_in_words(place: tuple[Path, RunFolder]) -> None:
    folder, run = place
    labels = table(folder, of_videos(), "right.csv")
    index = str(folder / "index.parquet")
    for arguments, words in (
        (["probe", str(run), "none.csv"], "no such table of labels"),
        (["probe", "nowhere", labels], "holds no run"),
        (["probe", str(run), labels, "--apply", index], "belong together"),
        (["probe", str(run), labels, "--apply", index, "--out", "x.txt"], "a .csv file"),
        (["probe", str(run), labels, "--apply", "no.parquet", "--out", "x.csv"], "no such file"),
        (
            ["probe", str(run), labels, "--apply", index, "--out", "x.csv", "--stride", "0"],
            "stride",
        ),
    ):
        status, printed = here(folder, arguments)
        assert status == 2, printed
        assert words in printed, printed


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, ("exploded",)


def test_a_probe_is_of_one_encoder_and_loading_it_runs_nothing(
    place: tuple[Path, RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, run = place
    monkeypatch.chdir(folder)
    done = run_probe(str(run), table(folder, of_videos(), "own.csv"))
    probe = load_probe(done.folder)
    assert probe.classes == ("bright", "dark")
    assert all((probe.weights[name] == w).all() for name, w in done.probe.weights.items())
    with pytest.raises(ConfigError, match="a probe of another encoder"):
        run_probe(str(run), str(done.folder), checkpoint="newest")
    assert done.folder.local
    (done.folder.local / "probe.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ConfigError, match="fit it anew"):
        load_probe(done.folder)
    assert not (folder / "exploded").exists()


def test_a_clip_begins_at_its_moment(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", width=96, height=96)  # 60 frames, 25 a second
    run, _ = small_run(tmp_path / "runs" / "first", values=(1.0,))
    reader = ClipReader(data_of(find_encoder(str(run)).encoder.preprocessing))
    for seconds, first in ((0.0, 0), (0.4, 10), (1.21, 30), (2.39, 60 - FRAMES)):
        clip = reader.clip(str(file), seconds)
        assert [read_number(frame) for frame in clip] == list(range(first, first + FRAMES))
    for seconds in (2.5, -1.0, math.nan):
        with pytest.raises(DecodeError, match="second"):
            reader.clip(str(file), seconds)
    write_video(file, num_frames=30, width=96, height=96)  # replaced
    with pytest.raises(DecodeError, match=r"ends at 1\.20 s"):
        reader.clip(str(file), 2.0)


def test_the_picture_shows_the_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Figure] = []

    def keep(figure: Figure, path: Path) -> Path:
        kept.append(figure)
        return style.save(figure, path)

    monkeypatch.setattr(pictures, "save", keep)
    truth = np.array(["a", "a", "a", "b", "b", "a rather long name"])
    said = np.array(["a", "a", "b", "b", "b", "a"])
    pictures.confusion(truth, said, tmp_path / "c.png", subtitle="6 rows")
    axes = kept[0].axes[0]
    shown = {tuple(map(round, t.get_position())): t.get_text() for t in axes.texts}
    assert shown == {(0, 0): "2", (2, 0): "1", (2, 2): "2", (0, 1): "1"}
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "a rather long name", "b"]
    figure = kept[0]
    figure.canvas.draw()
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        assert figure.bbox.contains(*label.get_window_extent().min)


def test_labels_name_videos_from_the_table_s_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    rows = [
        {"path": "../a.mp4", "label": "1", "seconds": "2.5"},
        {"path": str(tmp_path / "b.mp4"), "label": "2e1", "seconds": ""},
        {"path": "s3://bucket/c.mp4", "label": "3", "seconds": "0"},
    ]
    found = read_labels(table(tmp_path / "sub", rows))
    assert found.kind == "value"
    assert os.path.normpath(found.path[0]) == str(tmp_path / "a.mp4")
    assert found.path[1:].tolist() == [str(tmp_path / "b.mp4"), "s3://bucket/c.mp4"]
    assert np.isnan(found.seconds).tolist() == [False, True, False]
    assert found.label.tolist() == [1, 20, 3]
