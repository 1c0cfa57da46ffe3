"""Rows that outlive a run of the indexer that is killed."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.storage.folder import Folder
from pipelines.video import parts
from pipelines.video.parts import Parts
from tests.buckets import KEYS, s3_server


@pytest.fixture(params=["here", "s3"])
def folder(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Folder]:
    if request.param == "here":
        yield Folder(tmp_path)
        return
    with s3_server("bucket") as address:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": address}.items():
            monkeypatch.setenv(name, value)
        yield Folder("s3://bucket/data")


def paths(folder: Folder) -> list[str]:
    tables = Parts(folder, "videos.parquet").tables
    return [path for table in tables for path in table["path"].to_pylist()]


def test_what_was_kept_is_found_again_until_it_is_removed(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_ROWS", 2)
    first = Parts(folder, "videos.parquet")
    for number in range(5):
        first.add({"path": f"{number}.mp4", "key_frames": [0, number]})
    assert paths(folder) == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]
    first.keep_sometimes()  # too early
    second = Parts(folder, "videos.parquet")
    second.add({"path": "5.mp4"})
    monkeypatch.setattr(parts, "PART_SECONDS", 0.0)
    second.keep_sometimes()
    assert paths(folder) == ["0.mp4", "1.mp4", "2.mp4", "3.mp4", "5.mp4"]
    assert second.tables[-1]["usable"].to_pylist() == [None]
    second.remove()
    assert paths(folder) == []


def test_parts_of_another_version_do_not_count(tmp_path: Path) -> None:
    kept = Parts(Folder(tmp_path), "videos.parquet")
    kept.add({"path": "a.mp4"})
    kept.keep()
    (file,) = (tmp_path / "videos.parquet.parts").iterdir()
    pq.write_table(pq.read_table(file).replace_schema_metadata({}), file)
    assert paths(Folder(tmp_path)) == []
    file.write_bytes(b"cut off")
    assert paths(Folder(tmp_path)) == []
