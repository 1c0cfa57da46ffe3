"""A library embedded on Ray: every clip once, whatever happens between two runs."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipelines.config.run import ConfigError
from pipelines.evaluation.evaluate import restored
from pipelines.library.embed import EmbedSummary, embed
from pipelines.library.embeddings import Embeddings, EmbeddingsError, load_embeddings
from pipelines.library.parts import adopt, read_keys
from pipelines.storage.folder import Folder, StorageError
from pipelines.storage.lease import only_one
from pipelines.storage.runs import RunFolder
from pipelines.video.clips import ClipSchedule, clips_here
from pipelines.video.index import SCHEMA, VideoIndex, load_index
from pipelines.video.indexer import build_index
from tests.cluster import cluster
from tests.integration.test_submit import ROOT
from tests.pipelines.library.made import FPS, made_library, made_run, write_scene
from tests.processes import here, started, wait_during, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def indexed(folder: Path) -> Path:
    build_index([folder / "videos"], folder / "index.parquet")
    return folder / "index.parquet"


def moments(found: Embeddings) -> list[tuple[str, float]]:
    names = [Path(path).name for path in found.path]
    return list(zip(names, found.start_seconds.round(6).tolist(), strict=True))


def stamps(out: Path) -> dict[str, int]:
    return {part.name: part.stat().st_mtime_ns for part in (out / "parts").glob("*.parquet")}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return made_run(tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder with three videos, of which one is a copy, and their index."""
    write_scene(tmp_path / "videos" / "a.mp4", 1, num_frames=60)
    write_scene(tmp_path / "videos" / "b.mp4", 2, num_frames=31)
    shutil.copy(tmp_path / "videos" / "a.mp4", tmp_path / "videos" / "copy.mp4")
    indexed(tmp_path)
    return tmp_path


def embedded(run: RunFolder, library: Path, **settings: object) -> EmbedSummary:
    given: dict[str, object] = {"stride_seconds": 0.5, "precision": "float32", **settings}
    return embed(run, library / "index.parquet", library / "out", **given)  # type: ignore[arg-type]


def test_each_clip_is_there_once_as_the_learner_embeds_it(run: RunFolder, library: Path) -> None:
    summary = embedded(run, library)
    found = load_embeddings(str(library / "out"))
    # 0.5 s are 12.5 frames; the last clip of three frames begins at frame 57 or 28.
    long = [n / FPS for n in (0, 13, 25, 38, 50)]
    expected = [(name, at) for name in ("a.mp4", "b.mp4", "copy.mp4") for at in long]
    expected = [(name, at) for name, at in expected if name != "b.mp4" or at <= 28 / FPS]
    assert moments(found) == expected
    assert summary.num_new == summary.num_clips == len(expected)
    assert summary.skipped == {}
    np.testing.assert_allclose(found.end_seconds - found.start_seconds, 3 / FPS)
    videos = load_index(library / "index.parquet")
    assert found.videos.path.tolist() == videos.path.tolist()
    split_of = dict(zip(videos.path, videos.column("split"), strict=True))
    assert found.split.tolist() == [split_of[path] for path in found.path]

    learner = restored(run, "newest")
    schedule = ClipSchedule(videos, learner.config.data, stride_seconds=0.5)
    clips = [c.frames for c in clips_here(schedule, range(schedule.num_windows))]
    with torch.no_grad():
        samples = learner.to_input(np.concatenate([c for c in clips if c is not None]))
        told = learner.method.eval().encode(samples)
    assert found.h is not None
    assert found.z is not None
    np.testing.assert_allclose(found.h, told.representation.numpy(), atol=1e-5)
    unit = torch.nn.functional.normalize(told.embedding, dim=-1).numpy()
    np.testing.assert_allclose(found.z, unit, atol=1e-5)
    of_a, of_copy = (
        found.z[[p.endswith(name) for p in found.path]] for name in ("a.mp4", "copy.mp4")
    )
    np.testing.assert_array_equal(of_a, of_copy)


def test_another_run_stride_or_precision_is_refused_in_words(run: RunFolder, library: Path) -> None:
    embedded(run, library, what="z")
    other = made_run(library / "runs" / "other", seed=1)
    for changed, words in (
        ({"stride_seconds": 0.25}, "--stride 0.5, now 0.25"),
        ({"precision": "float16"}, "--precision float32, now float16"),
        ({"what": "both"}, "--what z, now both"),
    ):
        with pytest.raises(ConfigError, match=words):
            embedded(run, library, **{"what": "z", **changed})
    with pytest.raises(ConfigError, match=r"the run's config .*the weights .*another --out"):
        embedded(other, library, what="z")
    with only_one(Folder(library / "out")), pytest.raises(ConfigError, match="in use by"):
        embedded(run, library, what="z")
    found = load_embeddings(str(library / "out"))
    assert found.h is None
    with pytest.raises(EmbeddingsError, match="holds z only"):
        load_embeddings(str(library / "out"), what="h")


def test_new_videos_are_added_and_nothing_is_made_again(run: RunFolder, library: Path) -> None:
    first = embedded(run, library)
    before = stamps(library / "out")
    assert embedded(run, library).num_new == 0
    write_scene(library / "videos" / "new.mp4", 3, num_frames=20)
    indexed(library)
    summary = embedded(run, library)
    assert (summary.num_new, summary.num_clips) == (2, first.num_clips + 2)
    after = stamps(library / "out")
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 1

    (library / "videos" / "a.mp4").unlink()  # leaves the index, and its clips stay
    write_scene(library / "videos" / "b.mp4", 9, num_frames=20)  # another video now
    (library / "videos" / "new.mp4").rename(library / "videos" / "moved.mp4")
    indexed(library)
    summary = embedded(run, library)
    found = load_embeddings(str(library / "out"))
    assert summary.num_new == 2  # of b.mp4
    names = [name for name, _ in moments(found)]
    # The copy has the content of a.mp4, so that its clips are the library's.
    assert {name: names.count(name) for name in names} == {
        "b.mp4": 2,
        "copy.mp4": 5,
        "moved.mp4": 2,
    }
    assert len(set(moments(found))) == len(found)


@pytest.mark.slow
def test_an_unreadable_video_is_named_and_tried_again(run: RunFolder, library: Path) -> None:
    whole = (library / "videos" / "b.mp4").read_bytes()
    (library / "videos" / "b.mp4").write_bytes(b"no video at all" * 100)
    summary = embedded(run, library)
    bad = str(library / "videos" / "b.mp4")
    assert list(summary.skipped) == [bad]
    assert summary.num_skipped == 3
    assert summary.lines()[0].startswith(f"skipped {bad}: ")
    assert "skipped: 1 video (3 clips)" in summary.lines()[1]
    said = json.loads((library / "out" / "skipped.json").read_text())
    assert said == dict(summary.skipped)
    (library / "videos" / "b.mp4").write_bytes(whole)
    again = embedded(run, library)
    assert (again.num_new, again.skipped) == (3, {})
    assert json.loads((library / "out" / "skipped.json").read_text()) == {}


@pytest.mark.slow
def test_what_is_not_finite_is_not_written(library: Path) -> None:
    run = made_run(library / "runs" / "loud", scale=1e7)
    with pytest.raises(ConfigError, match="not finite in float16"):
        embedded(run, library, precision="float16")
    assert stamps(library / "out") == {}
    shutil.rmtree(library / "out")
    assert embedded(run, library).num_clips == 13


@pytest.mark.slow
def test_a_library_of_one_clip_and_of_none(run: RunFolder, tmp_path: Path) -> None:
    write_scene(tmp_path / "videos" / "a.mp4", 1, num_frames=4)
    indexed(tmp_path)
    assert embedded(run, tmp_path).num_clips == 1
    assert moments(load_embeddings(str(tmp_path / "out"))) == [("a.mp4", 0.0)]
    long = made_run(tmp_path / "runs" / "long", **{"data.frames_per_clip": 5})
    with pytest.raises(ConfigError, match="4 frames; one clip has 5"):
        embed(long, tmp_path / "index.parquet", tmp_path / "none")


@pytest.mark.slow
def test_wrong_folders_are_told_in_words(run: RunFolder, library: Path) -> None:
    with pytest.raises(EmbeddingsError, match="holds no embeddings: `adassl embed"):
        load_embeddings(str(library))
    with pytest.raises(ConfigError, match="holds no run"):
        embed(library, library / "index.parquet", library / "out")
    (library / "out" / "parts").mkdir(parents=True)
    with pytest.raises(ConfigError, match="choose another folder"):
        embedded(run, library)
    (library / "out" / "parts").rmdir()
    embedded(run, library)
    [part] = (library / "out" / "parts").glob("*.parquet")
    part.write_bytes(b"damaged")
    with pytest.raises(StorageError, match="delete it, and `adassl embed` makes its clips again"):
        load_embeddings(str(library / "out"))
    with pytest.raises(StorageError, match="delete it"):
        embedded(run, library)
    part.unlink()
    with pytest.raises(EmbeddingsError, match="is empty"):
        load_embeddings(str(library / "out"))
    assert embedded(run, library).num_new == 13


KILLED = """
import sys
from pipelines.cluster import quiet_ray
from pipelines.library import parts
from pipelines.library.embed import embed
from pipelines.video import clips
parts.PART_SECONDS, clips.FRAMES_PER_BLOCK = 0.0, 20
embed(*sys.argv[1:], stride_seconds=0.2, precision="float32")
"""


@pytest.mark.slow
def test_a_killed_command_goes_on_with_each_clip_once(run: RunFolder, tmp_path: Path) -> None:
    for number in range(30):
        write_scene(tmp_path / "videos" / f"{number}.mp4", number, num_frames=100)
    index, out = indexed(tmp_path), tmp_path / "out"
    arguments = ["-c", KILLED, str(run), str(index), str(out)]
    with started(tmp_path, arguments, program=(sys.executable,)) as process:
        wait_during(process, lambda: len(stamps(out)) >= 3)
        process.kill()
        process.wait()
    before = stamps(out)
    num_before = len(read_keys(Folder(out)))
    summary = embed(run, index, out, stride_seconds=0.2, precision="float32")
    assert 0 < num_before < summary.num_clips == 30 * 20
    assert summary.num_new == summary.num_clips - num_before
    assert {name: stamps(out)[name] for name in before} == before
    found = load_embeddings(str(out))
    assert len(set(moments(found))) == len(found) == 600


@pytest.mark.slow
def test_the_windows_of_a_lost_node_are_embedded_by_another(tmp_path: Path) -> None:
    run = made_run(tmp_path / "runs" / "first")
    for number in range(60):
        write_scene(tmp_path / "videos" / f"{number}.mp4", number, num_frames=300)
    index, out = indexed(tmp_path), tmp_path / "out"
    with cluster(num_cpus=1) as nodes:
        nodes.add_node(num_cpus=2)
        command = ["embed", str(run), str(index), "--out", str(out), "--stride", "0.1"]
        nodes.start_job("embed", *command, folder=ROOT)
        wait_until(lambda: all("MapWorker" in nodes.titles(node) for node in nodes.workers))
        nodes.kill(nodes.with_process("MapWorker"))
        printed = nodes.job_output("embed")
    assert "7140 clips, 7140 of them new" in printed, printed[-3000:]
    found = load_embeddings(str(out))
    assert len(set(moments(found))) == len(found) == 7140


def test_the_command_line_says_what_it_did(run: RunFolder, library: Path) -> None:
    status, printed = here(library, ["embed", str(run), "index.parquet", "--out", "out"])
    assert status == 0, printed
    assert "8 clips, 8 of them new" in printed
    assert f"embeddings  {library}/out" in printed


def row(path: str, digest: str, split: str) -> dict[str, object]:
    return {"path": path, "digest": digest, "split": split, "usable": True, "num_frames": 50}


def test_parts_follow_the_index(tmp_path: Path) -> None:
    paths = ["/a", "/a", "/b", "/c", "/gone"]
    made_library(tmp_path, np.eye(5), paths, [0, 1, 0, 0, 0], ["train"] * 5)
    made_library(tmp_path, np.eye(5)[:1], ["/b"], [0], ["train"], number=1)  # twice, by a mistake
    rows = [
        row("/a", "digest of /a", "test"),  # another split
        row("/b", "digest of /b", "train"),
        row("/c", "of another video", "train"),
    ]
    rows += [row("/elsewhere", "digest of /gone", "val")]
    known = adopt(Folder(tmp_path), VideoIndex(table=pa.Table.from_pylist(rows, schema=SCHEMA)))
    assert {path: list(starts) for path, starts in known.starts.items()} == {
        "/a": [0, 25],
        "/b": [0],
        "/elsewhere": [0],
    }
    assert list(stamps(tmp_path)) == ["000000.parquet"]
    table = pq.read_table(tmp_path / "parts" / "000000.parquet")
    assert table["split"].to_pylist() == ["test", "test", "train", "val"]
    first = np.stack(table["z"].to_pylist()).argmax(axis=1)
    assert first.tolist() == [0, 1, 2, 4], "each clip keeps its own vector"
    assert load_index(tmp_path / "videos.parquet").path.tolist() == ["/a", "/b", "/c", "/elsewhere"]
    before = stamps(tmp_path)
    adopt(Folder(tmp_path), VideoIndex(table=pa.Table.from_pylist(rows[:2], schema=SCHEMA)))
    assert stamps(tmp_path) == before
    kept = load_index(tmp_path / "videos.parquet").path.tolist()
    assert kept == ["/a", "/b", "/elsewhere"], "videos with clips stay"
