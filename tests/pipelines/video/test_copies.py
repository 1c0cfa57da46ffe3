"""A folder of copies, at a path and on a real S3 server."""

import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.storage.folder import Folder
from pipelines.storage.objects import Stamp, stamp_of
from pipelines.video.copies import (
    CopyJob,
    Made,
    NotCopied,
    NotWritten,
    PrepareError,
    copy_row,
    is_copy_of,
    keep_together,
    make_copy,
    names_of,
    path_of,
    records,
    register,
)
from pipelines.video.index import VideoIndex
from pipelines.video.indexer import build_index
from pipelines.video.prepare import job_of
from pipelines.video.transcode import CopySettings
from tests.buckets import KEYS
from tests.videos import write_video

SETTINGS = CopySettings(short_side=48)


def silent(_: float) -> None:
    """No progress."""


@pytest.fixture(params=["path", "URI"])
def out(
    request: pytest.FixtureRequest, tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> Folder:
    """A folder that is not there yet."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": server}.items():
        monkeypatch.setenv(name, value)
    uri = f"s3://bucket/{tmp_path.name}/out"
    return Folder(tmp_path / "out" if request.param == "path" else uri)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> VideoIndex:
    folder = tmp_path_factory.mktemp("originals")
    write_video(folder / "a.mp4", num_frames=20)
    return build_index([folder], folder / "videos.parquet", val_share=0, test_share=0).index


def job(originals: VideoIndex, out: Folder) -> CopyJob:
    return job_of(originals, 0, name="deep/a.mp4", out=out, settings=SETTINGS)


def test_a_copy_is_made_once(originals: VideoIndex, out: Folder) -> None:
    register(out, SETTINGS)
    made = make_copy(job(originals, out), silent)
    assert isinstance(made, Made)
    assert made.mean_psnr >= made.least_psnr > 38
    stamp = stamp_of(path_of(out, "deep/a.mp4"))
    assert records(out) == {made.original: made}
    register(out, SETTINGS)
    assert make_copy(job(originals, out), silent) == made
    assert stamp_of(path_of(out, "deep/a.mp4")) == stamp

    keep_together(out)
    assert not out.exists("made")
    assert records(out) == {made.original: made}
    assert is_copy_of(out, made, made.digest)
    assert not is_copy_of(out, made, "of other content")

    row = copy_row(out, made, originals.table.to_pylist()[0])
    assert row["original"] == originals.path[0]
    assert row["path"] == f"{out}/videos/deep/a.mp4"
    assert (row["size_bytes"], row["mtime_ns"]) == (stamp.size_bytes, stamp.mtime_ns)
    assert row["decoder"] == ("decord" if out.local else "pyav")
    assert (row["width"], row["height"], row["split"]) == (64, 48, "train")


def test_a_place_whose_copies_nobody_could_read_is_refused() -> None:
    with pytest.raises(PrepareError, match="name another server by AWS_ENDPOINT_URL"):
        register(Folder("s3://bucket/out?endpoint_override=127.0.0.1:1&scheme=http"), SETTINGS)


def test_other_settings_need_another_folder(out: Folder) -> None:
    register(out, SETTINGS)
    with pytest.raises(PrepareError, match=r"crf was 20, now 23\. Give these another folder"):
        register(out, replace(SETTINGS, crf=23))


def test_a_copy_that_is_gone_is_made_again(originals: VideoIndex, tmp_path: Path) -> None:
    out = Folder(tmp_path / "out")
    made = make_copy(job(originals, out), silent)
    copy, unfinished = (tmp_path / "out/videos/deep" / n for n in ("a.mp4", ".a.mp4.123.tmp"))
    copy.unlink()
    unfinished.touch()
    assert isinstance(made, Made)
    assert not is_copy_of(out, made, made.digest)
    register(out, SETTINGS)
    assert not unfinished.exists()
    assert isinstance(make_copy(job(originals, out), silent), Made)
    assert copy.exists()


def test_an_original_that_changed_is_refused(originals: VideoIndex, tmp_path: Path) -> None:
    stale = replace(job(originals, Folder(tmp_path)), stamp=Stamp(size_bytes=1, mtime_ns=1))
    reason = "changed since it was indexed: run `adassl data index` again"
    assert make_copy(stale, silent) == NotCopied(reason=reason)


def test_a_full_disk_is_no_fault_of_the_video(originals: VideoIndex, tmp_path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))  # as a disk with so much room
    try:
        end = make_copy(job(originals, Folder(tmp_path)), silent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert isinstance(end, NotWritten)
    assert end.reason == f"cannot write {tmp_path}/videos/deep/a.mp4: File too large"
    assert list((tmp_path / "videos/deep").iterdir()) == []


def test_names_are_unique_and_stay(tmp_path: Path) -> None:
    paths = ["/lib/a/x.mp4", "/lib/a/x.mov", "/lib/b/x.mp4"]
    first = names_of(paths, {})
    assert first == {
        "/lib/a/x.mov": "a/x.mp4",
        "/lib/a/x.mp4": "a/x.mp4.mp4",
        "/lib/b/x.mp4": "b/x.mp4",
    }
    more = names_of([*paths, "/other/a/x.mp4", "s3://bucket/what?.avi?scheme=http"], first)
    assert more.items() >= first.items()
    assert len(set(more.values())) == 5
    assert names_of(["/lib/a/x.mp4"], {}) == {"/lib/a/x.mp4": "x.mp4"}
    assert not any("?" in name or name.startswith(os.sep) for name in more.values())
