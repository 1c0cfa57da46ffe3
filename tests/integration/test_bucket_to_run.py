"""From videos in a bucket to a trained encoder, on a cluster that loses a node."""

from pathlib import Path

import boto3
import pytest

from pipelines.storage.folder import Folder
from pipelines.storage.runs import RunFolder, newest_state
from pipelines.video.index import load_index
from tests.buckets import KEYS, s3_server
from tests.cluster import cluster
from tests.integration import test_train
from tests.integration.test_submit import ROOT
from tests.processes import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
STEPS = 300


def test_videos_in_a_bucket_are_indexed_prepared_and_trained_on(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server("bucket") as server:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": server}.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        files = [path for path in (digits.parent / "set").rglob("*") if path.is_file()]
        for path in files:
            key = str(path.relative_to(digits.parent))
            client.upload_file(str(path), "bucket", key)
        runs = Folder(tmp_path / "runs")
        with cluster(num_cpus=2) as nodes:
            nodes.add_node(num_cpus=2)

            def job(name: str, *arguments: str) -> str:
                nodes.start_job(name, *arguments, folder=ROOT)
                return nodes.job_output(name)

            indexed = "s3://bucket/videos.parquet"
            job("index", "data", "index", "s3://bucket/set", "--out", indexed)
            job("prepare", "data", "prepare", indexed, "s3://bucket/small", "--short-side", "32")
            small = "s3://bucket/small/videos.parquet"
            more = (f"--set=train.steps={STEPS}", "--set=train.checkpoint_every=20")
            train = test_train.command(small, runs.uri, "lost", *more, workers=1)
            nodes.start_job("train", *train, folder=ROOT)
            run = RunFolder(runs.child("lost"))
            try:
                wait_until(lambda: (run.checkpoints.step() or 0) > 0)
            except AssertionError:
                print(nodes.ray("job", "logs", "train").stdout)
                raise
            nodes.kill(nodes.with_process("RayTrainWorker"))
            printed = nodes.job_output("train")
        original, copies = load_index(indexed), load_index(small)
        state = newest_state(run)
        assert state is not None
        summary = run.folder.read_json("summary.json")
    assert f"of {STEPS}, 1 worker" in printed, printed
    assert state["step"] == STEPS
    assert len(copies) == len(original) == len([f for f in files if f.suffix == ".mp4"])
    assert list(copies.named) == list(original.path)
    assert "test/digit/linear_accuracy" in summary, "labels are found by the originals' names"
    assert 0 < summary["data/bytes_fetched_per_pair"] < 100_000
