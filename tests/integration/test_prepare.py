"""`adassl data prepare`: copies made on Ray, resumed after a kill, and trained on."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipelines.evaluation.factors import factors_of
from pipelines.video.decode import read_window
from pipelines.video.index import VideoIndex, load_index
from pipelines.video.indexer import build_index
from pipelines.video.prepare import prepare
from pipelines.video.transcode import CopySettings
from tests.cluster import cluster
from tests.integration.test_submit import ROOT
from tests.integration.test_train import command
from tests.processes import run, started, wait_during, wait_until
from tests.videos import read_number, write_turned, write_video

pytestmark = pytest.mark.ray
SETTINGS = CopySettings(short_side=48)


def labels_of(index: VideoIndex) -> dict[str, list[Any]]:
    """What evaluation knows of the first frames of two pairs of each video."""
    videos = index.select()
    pairs: Any = SimpleNamespace(
        path=np.repeat(videos.path, 2), start=np.tile([3, 7], len(videos)), gap=np.array([1])
    )
    pairs.gap = np.ones(len(pairs.path), int)
    return {str(name): list(column) for name, column in factors_of(pairs, videos).items()}


@pytest.mark.usefixtures("ray_cluster")
def test_a_library_is_copied_and_gone_on_with(tmp_path: Path) -> None:
    library, index, out = tmp_path / "library", tmp_path / "videos.parquet", tmp_path / "out"
    (library / "deep").mkdir(parents=True)
    write_video(library / "a.mp4", num_frames=20)
    write_turned(library / "deep")
    lost = write_video(library / "lost.mp4", num_frames=21)
    (library / "factors.csv").write_text(
        "path,frame,kind,split\n"
        + "".join(f"a.mp4,{n},{n % 5},train\ndeep/turned.mov,{n},9,test\n" for n in range(20))
    )
    build_index([library], index)
    lost.unlink()

    summary = prepare(index, out, SETTINGS)
    assert summary.num_copied == 2
    assert summary.lines()[0] == f"skipped {lost}: not copied: no such file"
    copies = load_index(out / "videos.parquet")
    assert copies.path.tolist() == [
        *(str(out / "videos" / name) for name in ("a.mp4", "deep/turned.mp4")),
        str(lost),
    ]
    usable, originals = copies.select(), load_index(index).take([0, 1])
    assert usable.named.tolist() == originals.path.tolist()
    for name in ("num_frames", "fps", "split", "factors"):
        assert usable.column(name).tolist() == originals.column(name).tolist()
    window = read_window(usable.path[0], first=7, num_frames=2, access=usable.access(0))
    assert [read_number(frame) for frame in window] == [7, 8]
    assert labels_of(copies) == labels_of(originals) != {}

    stamps = {path: Path(path).stat().st_mtime_ns for path in usable.path}
    write_video(library / "a.mp4", num_frames=25)  # changed
    write_video(library / "new.mp4", num_frames=22)
    build_index([library], index)
    again = prepare(index, out, SETTINGS)
    assert again.num_copied == 2
    assert again.index.select().num_frames.tolist() == [25, 60, 22]
    assert Path(usable.path[1]).stat().st_mtime_ns == stamps[usable.path[1]]
    assert Path(usable.path[0]).stat().st_mtime_ns > stamps[usable.path[0]]


@pytest.mark.slow
def test_a_killed_command_makes_no_copy_twice_and_training_takes_the_copies(
    digits: Path, tmp_path: Path
) -> None:
    prepared = ["data", "prepare", str(digits), "out", "--short-side", "32"]
    made = tmp_path / "out" / "made"
    with started(tmp_path, prepared) as process:
        wait_during(process, lambda: len(list(made.glob("*.json"))) >= 5)
        process.kill()
        process.wait()
    finished = {path.stem for path in made.glob("*.json")}
    names = {json.loads((made / f"{key}.json").read_text())["name"] for key in finished}
    stamps = {name: (tmp_path / "out/videos" / name).stat().st_mtime_ns for name in names}
    assert len(finished) < 120

    printed = run(tmp_path, prepared)
    new = re.search(r"120 prepared videos, (\d+) of them new, 0 skipped", printed)
    assert new, printed
    assert int(new[1]) <= 120 - len(finished)
    assert "PSNR of luma" in printed
    for name, stamp in stamps.items():
        assert (tmp_path / "out/videos" / name).stat().st_mtime_ns == stamp

    index = tmp_path / "out" / "videos.parquet"
    printed = run(tmp_path, command(str(index), "runs", "first", "--set=train.steps=6", workers=1))
    assert "test/digit/linear_accuracy" in printed


@pytest.mark.slow
def test_the_videos_of_a_lost_node_are_copied_by_another(digits: Path, tmp_path: Path) -> None:
    made = tmp_path / "out" / "made"
    with cluster(num_cpus=2) as nodes:
        nodes.add_node(num_cpus=2)
        nodes.start_job(
            "prepare", "data", "prepare", str(digits), str(tmp_path / "out"), folder=ROOT
        )
        wait_until(lambda: len(list(made.glob("*.json"))) >= 5)
        nodes.kill(nodes.with_process("_copy_some"))
        finished = list(made.glob("*.json"))
        printed = nodes.job_output("prepare")
    assert len(finished) < 120
    assert "120 prepared videos, 120 of them new, 0 skipped" in printed
