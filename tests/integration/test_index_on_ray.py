"""An index made by all nodes of a cluster, one of which vanishes."""

import shutil
from pathlib import Path

import pytest

from pipelines.video.index import load_index
from tests.cluster import cluster
from tests.integration.test_submit import ROOT
from tests.processes import wait_until
from tests.videos import write_h264, write_text

pytestmark = [pytest.mark.ray, pytest.mark.slow]
NUM_VIDEOS = 60
PROBING = "_probe_batch"


def test_an_index_loses_a_node_and_no_file(tmp_path: Path) -> None:
    videos, out = tmp_path / "videos", tmp_path / "videos.parquet"
    videos.mkdir()
    first = write_h264(videos)
    for number in range(NUM_VIDEOS - 1):
        shutil.copy(first, videos / f"{number:02}.mp4")
    write_text(videos)
    with cluster(num_cpus=1) as nodes:
        nodes.add_node(num_cpus=1)
        nodes.start_job("index", "data", "index", str(videos), "--out", str(out), folder=ROOT)
        wait_until(lambda: all(PROBING in nodes.titles(n) for n in nodes.workers), seconds=120)
        nodes.kill(nodes.workers[0])
        printed = nodes.job_output("index")
    assert f"{NUM_VIDEOS + 1} probed, 0 unchanged" in printed
    index = load_index(out)
    assert len(index.select()) == NUM_VIDEOS, index.reasons()
    assert list(index.reasons()) == ["not a readable video"]
    assert not out.with_name("videos.parquet.parts").exists()
