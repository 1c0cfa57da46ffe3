"""Searching a library: the nearest are the nearest, whatever the query and the filters."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.config.data import DataConfig
from pipelines.config.run import ConfigError
from pipelines.library import neighbours
from pipelines.library.duplicates import find_duplicates
from pipelines.library.embed import embed
from pipelines.library.moment import Moment
from pipelines.library.neighbours import Neighbours, Space, neighbours_of, recall_of
from pipelines.library.queries import clip_of, is_image, parse_query
from pipelines.library.search import Answer, Library
from pipelines.storage.folder import Folder
from pipelines.video.indexer import build_index
from tests.benchmarks.search import made_vectors
from tests.browser import visit
from tests.pipelines.library.made import made_library, made_run, write_scene
from tests.processes import here
from tests.videos import read_number, write_video


def random_library(folder: Path, num_videos: int, num_clips: int, **settings: Any) -> Path:
    """Clips with unrelated vectors; every other video is of the test."""
    vectors = np.random.default_rng(0).normal(size=(num_videos * num_clips, 16))
    names = [f"/videos/{'even' if n % 2 == 0 else 'odd'}/{n:03}.mp4" for n in range(num_videos)]
    paths = np.repeat(names, num_clips).tolist()
    splits = [None if p.startswith("/videos/odd") else "test" for p in paths]
    starts = np.tile(np.arange(num_clips), num_videos).tolist()
    return made_library(folder, vectors, paths, starts, splits, **settings)


def found(answer: Answer) -> list[tuple[str, float]]:
    return [(Path(hit.path).name, hit.start_seconds) for hit in answer.hits]


def test_hits_are_those_of_comparing_all_and_filters_hold(tmp_path: Path) -> None:
    library = Library(str(random_library(tmp_path, 20, 10)))
    assert library.by == "z"
    known = library.embeddings
    assert known.z is not None
    stored = np.random.default_rng(0).normal(size=(200, 16)).astype(np.float16).astype(float)
    unit = stored / np.linalg.norm(stored, axis=1, keepdims=True)
    unit -= unit.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = unit @ unit[37]
    query = "003.mp4@7"
    expected = [n for n in np.argsort(-cosines) if n != 37]
    [answer] = library.search([query], k=5)
    assert answer.looked_up
    assert answer.query == Moment(path="/videos/odd/003.mp4", seconds=7.0)
    assert found(answer) == [(f"{n // 10:03}.mp4", float(n % 10)) for n in expected[:5]]
    np.testing.assert_allclose([h.cosine for h in answer.hits], cosines[expected[:5]], atol=1e-5)

    for filters, keeps in (
        ({"split": "test"}, lambda n: n // 10 % 2 == 0),
        ({"path": "odd/*"}, lambda n: n // 10 % 2 == 1),
        ({"path": "/videos/*/00?.mp4", "split": "test"}, lambda n: n < 100 and n // 10 % 2 == 0),
        ({"elsewhere": True}, lambda n: n // 10 != 3),
        ({"elsewhere": True, "path": "003.mp4"}, lambda n: False),
    ):
        [answer] = library.search([query], k=7, **filters)
        kept = [n for n in expected if keeps(n)][:7]
        assert found(answer) == [(f"{n // 10:03}.mp4", float(n % 10)) for n in kept], filters
    [answer] = library.search(["003.mp4"], k=1000)
    assert answer.query.seconds in (4.0, 5.0), "the middle of the video"
    assert len(answer.hits) == 199


def test_what_cannot_be_answered_is_told_in_words(tmp_path: Path) -> None:
    library = Library(str(random_library(tmp_path, 4, 3)))
    for query, filters, words in (
        ("000.mp4@0", {"path": "*.mov"}, r"no clip of .* passes --path \*\.mov"),
        ("000.mp4@0", {"split": "tset"}, "must be one of train, val, test"),
        ("none.mp4@0", {}, "holds no run"),
        (".mp4@0", {}, "holds no run"),
    ):
        with pytest.raises(ConfigError, match=words):
            library.search([query], **filters)  # type: ignore[arg-type]
    made_library(tmp_path, np.eye(16)[:1], ["/other/000.mp4"], [0], number=1)
    with pytest.raises(ConfigError, match="2 videos of the library end so"):
        Library(str(tmp_path)).search(["000.mp4@0"])


def test_a_library_of_one_clip_has_no_other(tmp_path: Path) -> None:
    library = Library(str(made_library(tmp_path, np.ones((1, 4)), ["/a.mp4"], [0])))
    [answer] = library.search(["a.mp4"])
    assert answer.hits == []
    assert np.isfinite(library.space.vectors).all()
    assert find_duplicates(library).pairs == []


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("a.mp4@12.5", Moment(path="a.mp4", seconds=12.5)),
        ("s3://bucket/me@home/a.mp4@3", Moment(path="s3://bucket/me@home/a.mp4", seconds=3)),
        ("me@home/a.mp4", Moment(path="me@home/a.mp4")),
        ("a.PNG", Moment(path="a.PNG")),
    ],
)
def test_queries_are_read_as_people_write_them(text: str, moment: Moment) -> None:
    assert parse_query(text) == moment
    assert is_image(moment) == text.endswith("PNG")


def test_moments_are_decoded_where_they_are(tmp_path: Path) -> None:
    video = str(write_video(tmp_path / "a.mp4", num_frames=50, width=96, height=96))
    data = DataConfig(frame_size=64)
    for seconds, first in ((0.0, 0), (1.0, 25), (1.01, 25), (1.03, 26), (1.99, 47), (None, 23)):
        clip = clip_of(Moment(path=video, seconds=seconds), data)
        assert clip.shape == (3, 64, 64, 3)
        assert [read_number(frame) for frame in clip] == [first, first + 1, first + 2]
    with pytest.raises(ConfigError, match=r"ends at 2\.00 s"):
        clip_of(Moment(path=video, seconds=2.0), data)
    with pytest.raises(ConfigError, match="no such file"):
        clip_of(Moment(path=str(tmp_path / "none.mp4"), seconds=1), data)
    wide = np.zeros((40, 90, 3), np.uint8)
    wide[:, 25:65] = 255  # the square in the middle
    Image.fromarray(wide).save(tmp_path / "wide.png")
    for crop, share in (("center", 1.0), ("none", 40 / 90)):
        image = DataConfig(frame_size=32, crop=crop, grayscale=True)
        clip = clip_of(Moment(path=str(tmp_path / "wide.png")), image)
        assert clip.shape == (3, 32, 32, 1)
        assert abs(clip.mean() / 255 - share) < 0.03
        assert (clip[0] == clip[2]).all()
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ConfigError, match="not a readable image"):
        clip_of(Moment(path=str(tmp_path / "text.png")), data)


def test_an_inverted_file_finds_99_of_100_and_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "EXACT_MOST", 5000)
    folder = Folder(tmp_path)
    (tmp_path / "parts").mkdir()
    vectors = Space(made_vectors(20_000, 32)).vectors
    large = neighbours_of(vectors, folder, "z")
    assert not large.is_exact
    queries = np.random.default_rng(1).choice(20_000, 300, replace=False)
    _, exact = Neighbours(vectors).search(vectors[queries], 11)
    cosines, rows = large.search(vectors[queries], 11)
    assert recall_of(exact, rows, queries) >= 0.99
    assert (np.diff(cosines) <= 1e-6).all()
    some = np.arange(0, 20_000, 7)
    filtered = large.search(vectors[queries], 5, some)[1]
    np.testing.assert_array_equal(
        filtered, some[Neighbours(vectors[some]).search(vectors[queries], 5)[1]]
    )

    kept = tmp_path / "neighbours" / "z.faiss"
    stamp = kept.stat().st_mtime_ns
    again = neighbours_of(vectors, folder, "z")
    np.testing.assert_array_equal(again.search(vectors[queries], 11)[1], rows)
    assert kept.stat().st_mtime_ns == stamp
    (tmp_path / "parts" / "000001.parquet").touch()
    neighbours_of(vectors, folder, "z")
    assert kept.stat().st_mtime_ns > stamp

    noise = np.random.default_rng(0).normal(size=(6000, 64)).astype(np.float32)
    assert neighbours_of(Space(noise).vectors, folder, "h").is_exact, "no structure to go by"
    assert neighbours_of(noise, folder, "h").is_exact


def test_pairs_above_a_threshold_are_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "ROWS_AT_ONCE", 7)
    vectors = Space(np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)).vectors
    similar = np.triu(vectors @ vectors.T, 1)
    expected = set(zip(*(side.tolist() for side in np.nonzero(similar > 0.9)), strict=True))
    inverted = neighbours.inverted_file(vectors)
    inverted.nprobe = inverted.nlist
    for each in (Neighbours(vectors), Neighbours(vectors, inverted)):
        got = [(left, right) for left, right, _ in each.above(0.9)]
        pairs = [p for left, right in got for p in zip(left.tolist(), right.tolist(), strict=True)]
        assert len(pairs) == len(set(pairs))
        assert len(set(pairs) ^ expected) <= (0 if each.is_exact else 2)  # of 16 bits at the edge
    assert len(expected) > 20


def test_copies_are_grouped_and_shared_moments_are_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 16))  # six videos of ten clips
    vectors[10:18] = vectors[2:10] + 0.01 * rng.normal(size=(8, 16))  # 1 is 0, two seconds on
    vectors[50:60] = vectors[10:20]  # 5 is 1
    vectors[30] = vectors[25]  # 2 and 3 share a moment
    vectors[40:50] = vectors[40]  # nothing moves in 4
    names = [f"/{n}.mp4" for n in range(6)]
    paths, starts = np.repeat(names, 10).tolist(), np.tile(np.arange(10), 6).tolist()
    made_library(tmp_path, vectors, paths, starts)
    duplicates = find_duplicates(Library(str(tmp_path)), threshold=0.98)
    assert duplicates.groups == [["/0.mp4", "/1.mp4", "/5.mp4"]]
    told = {(p.path, p.other): (p.num_clips, p.offset_seconds) for p in duplicates.pairs}
    assert told == {
        ("/1.mp4", "/5.mp4"): (10, 0.0),
        ("/0.mp4", "/1.mp4"): (8, -2.0),
        ("/0.mp4", "/5.mp4"): (8, -2.0),
        ("/2.mp4", "/3.mp4"): (1, -5.0),
    }
    assert [p.is_copy for p in duplicates.pairs] == [True, True, True, False]


@pytest.fixture(scope="module")
def real(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten videos, of which one is a copy, embedded once a second by an untrained encoder."""
    folder = tmp_path_factory.mktemp("real")
    for number in range(9):
        write_scene(folder / "videos" / f"scene{number}.mp4", number, num_frames=280)
    shutil.copy(folder / "videos" / "scene4.mp4", folder / "videos" / "twin.mp4")
    build_index([folder / "videos"], folder / "index.parquet")
    run = made_run(folder / "runs" / "first")
    embed(run, folder / "index.parquet", folder / "out", stride_seconds=1.0)
    return folder


@pytest.mark.ray
def test_moments_clips_and_images_find_their_scene(real: Path) -> None:
    library = Library(str(real / "out"))
    assert len(library.embeddings) == 120
    [exact, between, whole] = library.search(["scene4.mp4@3", "scene4.mp4@3.4", "scene4.mp4"], k=3)
    assert (exact.looked_up, between.looked_up, whole.looked_up) == (True, False, True)
    assert found(exact)[0] == ("twin.mp4", 3.0)
    assert exact.hits[0].cosine > 0.9999
    assert between.query.seconds == 3.4
    assert {(Path(hit.path).name) for hit in between.hits} <= {"scene4.mp4", "twin.mp4"}

    elsewhere = write_scene(real / "other" / "new.mp4", 7, num_frames=280)
    data = DataConfig(frame_size=32)
    frame = clip_of(Moment(path=str(elsewhere), seconds=1.0), data)[0]
    Image.fromarray(frame).save(real / "other" / "frame.png")
    queries = [f"{elsewhere}@1.0", str(real / "other" / "frame.png")]
    for answer in library.search(queries, k=1):
        assert not answer.looked_up
        assert found(answer) == [("scene7.mp4", 1.0)], answer


@pytest.mark.slow
@pytest.mark.ray
def test_the_command_line_prints_tables_json_and_pages(real: Path) -> None:
    query = ["scene4.mp4@3", "--k", "4", "--path", "videos/*.mp4"]
    status, printed = here(real, ["search", "out", *query, "--html", "page.html"])
    assert status == 0, printed
    assert "twin.mp4" in printed
    assert "3.00 s" in printed
    page = (real / "page.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 5
    assert f'href="{(real / "videos" / "twin.mp4").as_uri()}#t=3"' in page
    assert "http" not in page.replace("data:", "")
    for width in (420, 1240):
        with visit((real / "page.html").as_uri(), width=width) as seen:
            seen.page.goto((real / "page.html").as_uri())
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
            drawn = "[...document.images].filter(image => image.naturalWidth > 0).length"
            assert seen.page.evaluate(drawn) == 5
        assert not seen.errors
        assert not seen.blocked
    status, printed = here(real, ["search", "out", *query, "--json"])
    [answer] = json.loads(printed)
    assert len(answer["hits"]) == 4
    assert answer["hits"][0]["start_seconds"] == 3.0
    duplicates = ["search", "out", "--duplicates", "--threshold", "0.999"]
    status, printed = here(real, [*duplicates, "--json"])
    assert json.loads(printed)["groups"] == [
        [str(real / "videos" / name) for name in ("scene4.mp4", "twin.mp4")]
    ]
    status, printed = here(real, [*duplicates, "--html", "twins.html"])
    assert status == 0, printed
    assert "twin.mp4@" in printed
    assert "near-duplicates" in (real / "twins.html").read_text().lower()
    for wrong in ([], ["a.mp4", "--duplicates"], ["--duplicates", "--split", "test"]):
        assert here(real, ["search", "out", *wrong])[0] == 2


@pytest.mark.ray
def test_a_run_that_trained_on_no_longer_fits(real: Path, tmp_path: Path) -> None:
    shutil.copytree(real / "out", tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    manifest["run"] = str(made_run(tmp_path / "runs" / "first", seed=5))
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest))
    library = Library(str(tmp_path / "out"))
    assert library.search(["scene4.mp4@3"])[0].hits, "what is embedded needs no run"
    with pytest.raises(ConfigError, match="Embed the library again"):
        library.search(["scene4.mp4@3.4"])
