"""Files at a path and on a real S3 server, by the same tests."""

import socket
import time
from pathlib import Path

import pytest

from pipelines.storage.folder import Folder, StorageError, absolute, parent_and_name
from tests.buckets import KEYS


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["path", "file URI", "S3 URI", "S3 variable"])
def folder(
    request: pytest.FixtureRequest, tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> Folder:
    """A folder that is not there yet."""
    host = server.removeprefix("http://")
    if request.param == "S3 variable":
        monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    where: dict[str, str | Path] = {
        "path": tmp_path / "a b" / "runs",
        "file URI": f"file://{tmp_path}/a%20b/runs",
        "S3 URI": f"s3://bucket/{tmp_path.name}/runs?endpoint_override={host}&scheme=http",
        "S3 variable": f"s3://bucket/{tmp_path.name}/runs",
    }
    return Folder(where[request.param])


def test_what_is_written_is_read_back(folder: Folder) -> None:
    assert folder.name == "runs"
    assert not folder.exists()
    assert folder.folders() == []
    assert folder.read_bytes("deep/a.bin") is None
    assert folder.read_text("a.txt") is None
    assert folder.read_json("a.json") is None
    folder.write_bytes("deep/a.bin", b"\0\1")
    folder.write_bytes("deep/a.bin", b"\2")
    folder.write_text("é.txt", "ü")
    folder.write_json("a.json", {"x": [1, None]})
    assert folder.exists()
    assert folder.exists("deep")
    assert folder.exists("deep/a.bin")
    assert not folder.exists("deep/b.bin")
    assert folder.read_bytes("deep/a.bin") == b"\2"
    assert folder.read_text("é.txt") == "ü"
    assert folder.read_json("a.json") == {"x": [1, None]}


def test_children_and_parents_are_found_again_by_their_names(folder: Folder) -> None:
    child = folder.child("one", "two")
    child.write_text("a", "x")
    assert child.name == "two"
    assert folder.read_text("one/two/a") == "x"
    assert Folder(str(child)).read_text("a") == "x"
    assert folder.child("one").folders() == ["two"]
    assert child.parent.parent.read_text("one/two/a") == "x"
    assert Folder(child).parent.uri == folder.child("one").uri
    home, name = parent_and_name(str(folder.child("one/two/a")))
    assert (home.read_text(name), name) == ("x", "a")


def test_folders_are_listed_without_files_and_removed_whole(folder: Folder) -> None:
    for name in ("b/x", "a/x", "a/deep/x", "file"):
        folder.write_text(name, "")
    assert folder.folders() == ["a", "b"]
    for name in ("a", "file", "missing", "a/x"):
        folder.remove(name)
    assert folder.folders() == ["b"]
    assert not folder.exists("a/deep/x")
    assert not folder.exists("file")


def test_a_local_file_is_put_and_fetched(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(range(256)) * 50_000)
    folder.put(tmp_path / "big", "there/big")
    with folder.reading("there/big") as path:
        assert path is not None
        assert path.read_bytes() == (tmp_path / "big").read_bytes()
    with folder.reading("there/none") as path:
        assert path is None
    with folder.reading("there") as path:
        assert path is None


def test_a_file_that_breaks_off_is_not_there_and_leaves_nothing(folder: Folder) -> None:
    folder.write_text("deep/a", "before")

    def write() -> None:
        with folder.writing("deep/a") as path:
            path.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert folder.read_text("deep/a") == "before"
    if folder.local:
        assert [path.name for path in (folder.local / "deep").iterdir()] == ["a"]


def test_what_is_no_json_is_named(folder: Folder) -> None:
    folder.write_text("run.json", "{")
    with pytest.raises(StorageError, match=r"run\.json.* is not JSON"):
        folder.read_json("run.json")


def test_a_relative_path_is_made_absolute_and_a_uri_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Folder("runs").uri == str(tmp_path / "runs")
    assert Folder("runs").child("a").local == tmp_path / "runs" / "a"
    assert absolute("videos.parquet") == str(tmp_path / "videos.parquet")
    assert absolute("file:///a/videos.parquet") == "/a/videos.parquet"
    assert absolute("s3://b/v.parquet?region=x") == "s3://b/v.parquet?region=x"


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("s3://", "it names no bucket"),
        ("s3:/bucket/runs", "it names no bucket"),
        ("s3://AKIA:secret@bucket/runs", "AWS_PROFILE"),
        ("s3://bucket/runs?secret_key=secret", "unknown secret_key"),
        ("gs://bucket/runs?foo=secret", "gs://bucket/runs"),
        ("hdfs://host/runs", "write s3://, gs:// or a path"),
        ("file://host/runs", "absolute path"),
    ],
)
def test_a_uri_that_cannot_work_is_refused_at_once(where: str, words: str) -> None:
    began = time.monotonic()
    with pytest.raises(StorageError) as caught:
        Folder(where)
    assert words in str(caught.value)
    assert "secret@" not in str(caught.value)
    assert "=secret" not in str(caught.value)
    assert time.monotonic() - began < 2


def test_a_missing_bucket_is_named_with_the_remedy(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server)
    (tmp_path / "a").write_text("x")
    folder = Folder("s3://nowhere/runs")
    assert folder.read_bytes("run.json") is None
    with pytest.raises(StorageError, match=r"s3://nowhere/runs/a: make the bucket"):
        folder.write_text("a", "x")
    with pytest.raises(StorageError, match=r"s3://nowhere/runs/a: make the bucket"):
        folder.put(tmp_path / "a", "a")


@pytest.mark.parametrize("scheme", ["s3", pytest.param("gs", marks=pytest.mark.slow)])
def test_a_server_that_is_not_there_is_said_soon(scheme: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    query = f"?endpoint_override=127.0.0.1:{port}&scheme=http"
    query += "&retry_limit_seconds=2" if scheme == "gs" else ""
    folder = Folder(f"{scheme}://bucket/runs{query}")
    began = time.monotonic()
    with pytest.raises(StorageError, match=rf"cannot read {scheme}://bucket/runs/run.json"):
        folder.read_bytes("run.json")
    assert time.monotonic() - began < 20


@pytest.mark.slow
def test_a_server_that_says_nothing_is_given_up_within_a_minute() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        folder = Folder(f"s3://bucket/runs?endpoint_override=127.0.0.1:{port}&scheme=http")
        began = time.monotonic()
        with pytest.raises(StorageError, match="the network reaches it"):
            folder.read_bytes("run.json")
        assert time.monotonic() - began < 60


def test_a_place_that_may_not_be_written_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StorageError, match=r"cannot write .*/file/a: (Not a directory|File exists)"
    ):
        Folder(tmp_path / "file").write_text("a", "x")
