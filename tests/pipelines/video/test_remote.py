"""Videos in a bucket give the frames that they give from disk, over slow lines that fail, too."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import boto3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from pipelines.config.data import DataConfig
from pipelines.config.run import ConfigError
from pipelines.storage import objects
from pipelines.storage.folder import StorageError
from pipelines.video.decode import read_window
from pipelines.video.frames import DecodeError
from pipelines.video.index import VideoIndex, load_index
from pipelines.video.indexer import build_index
from pipelines.video.moved import find_indexed
from pipelines.video.pairs import PairCutter
from pipelines.video.remote_file import RemoteFile, window_ranges
from pipelines.video.schedule import Schedule
from pipelines.video.splits import NoVideosError, find_videos
from pipelines.video.stream import Share, WindowDecoder, pairs_here, windows_of
from tests.buckets import KEYS, s3_server
from tests.slow_line import Fault, Line, slow_line
from tests.videos import X265

GROUP, NUM_FRAMES = 40, 120
VIDEOS = "s3://bucket/videos"


def write_footage(path: Path, codec: str, options: dict[str, str]) -> Path:
    """A video of some size: a camera over noise."""
    scene = np.random.default_rng(0).integers(60, 190, (300, 400, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 192, 144, "yuv420p", GROUP
        for t in range(NUM_FRAMES):
            x, y = 3 * t % 200, 2 * t % 150
            view = np.ascontiguousarray(scene[y : y + 144, x : x + 192])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode())
    return path


def copied(whole: Path, path: Path, options: dict[str, str] | None = None) -> None:
    """The same packets in another container."""
    with av.open(str(whole)) as source, av.open(str(path), "w", options=options or {}) as target:
        stored: Any = source.streams.video[0]
        stream = target.add_stream_from_template(stored)
        packet: Any
        for packet in source.demux(stored):
            if packet.size:
                packet.stream = stream
                target.mux(packet)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of several containers with their labels; `local.parquet` is their index."""
    root = tmp_path_factory.mktemp("library")
    folder = root / "videos" / "walk"
    folder.mkdir(parents=True)
    plain = {"preset": "ultrafast", "threads": "1", "bf": "2", "crf": "30"}
    whole = write_footage(folder / "end.mp4", "libx264", plain)
    copied(whole, folder / "start.mp4", {"movflags": "faststart"})
    copied(whole, folder / "matroska.mkv")
    copied(whole, folder / "stream.ts")
    open_groups = X265["x265-params"].replace("20", str(GROUP)) + ":crf=30"
    write_footage(
        folder / "open.mp4", "libx265", {"preset": "ultrafast", "x265-params": open_groups}
    )
    pq.write_table(pa.table({"path": ["end"], "speed": [1.5]}), folder.parent / "factors.parquet")
    build_index([root / "videos"], root / "local.parquet", num_workers=2)
    return root


@pytest.fixture(scope="module")
def line(library: Path) -> Iterator[Line]:
    """The line to a server that has the library in its bucket."""
    with (
        pytest.MonkeyPatch.context() as patch,
        s3_server("bucket") as server,
        slow_line(server) as line,
    ):
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": line.address}.items():
            patch.setenv(name, value)
        for path in sorted((library / "videos").rglob("*.*")):
            put(path, str(path.relative_to(library)))
        yield line


def put(path: Path, key: str) -> None:
    public = {"ACL": "public-read", "ContentType": "video/mp4"}
    boto3.client("s3").upload_file(str(path), "bucket", key, ExtraArgs=public)


@pytest.fixture
def _clean(line: Line) -> Iterator[None]:
    yield
    line.latency_seconds, line.fault = 0.0, lambda method, path: None


@pytest.fixture(scope="module")
def index(line: Line, library: Path) -> VideoIndex:
    """Made of the bucket."""
    return build_index([VIDEOS], library / "remote.parquet", num_workers=2).index


def row_of(index: VideoIndex, name: str) -> int:
    (row,) = (i for i, path in enumerate(index.path) if path.endswith(f"/{name}"))
    return row


def window(index: VideoIndex, name: str, first: int, num_frames: int) -> NDArray[np.uint8]:
    row = row_of(index, name)
    return read_window(
        str(index.path[row]), first=first, num_frames=num_frames, access=index.access(row)
    )


def fetched(index: VideoIndex, name: str, first: int, num_frames: int) -> RemoteFile:
    row = row_of(index, name)
    path, access = str(index.path[row]), index.access(row)
    file = RemoteFile(path, access)
    file.fetch(window_ranges(path, access, first, num_frames))
    return file


def test_the_index_of_a_bucket_is_that_of_the_files(index: VideoIndex, library: Path) -> None:
    local = load_index(library / "local.parquet")
    names = ("num_frames", "key_frames", "key_times", "key_bytes", "header_bytes", "digest")
    for name in (*names, "size_bytes", "split", "stream"):
        assert index.table[name].to_pylist() == local.table[name].to_pylist(), name
    assert list(index.path) == [path.replace(str(library), "s3://bucket") for path in local.path]
    assert index.factors == [[f"{VIDEOS}/factors.parquet"], [], [], [], []]
    assert set(index.table["decoder"].to_pylist()) == {"pyav"}
    assert all(
        len(places) == NUM_FRAMES // GROUP for places in index.table["key_bytes"].to_pylist()
    )


def test_a_sample_of_an_object_finds_what_the_full_check_finds(
    line: Line, library: Path, tmp_path: Path
) -> None:
    for name in ("end.mp4", "matroska.mkv"):
        sampled, whole = (
            build_index(
                [f"{VIDEOS}/walk/{name}"], tmp_path / f"{check}-{name}.parquet", check=check
            )
            for check in ("sample", "full")
        )
        (found,), (expected,) = sampled.index.table.to_pylist(), whole.index.table.to_pylist()
        assert found["check"] == "sample"
        same = ("num_frames", "fps", "key_frames", "key_times", "key_bytes", "decoder", "seek")
        assert {name: found[name] for name in same} == {name: expected[name] for name in same}


@pytest.mark.parametrize("name", ["end.mp4", "start.mp4", "matroska.mkv", "stream.ts", "open.mp4"])
def test_frames_are_those_from_disk_and_no_more_is_fetched(
    index: VideoIndex, library: Path, name: str
) -> None:
    local = load_index(library / "local.parquet")
    row = row_of(index, name)
    access = index.access(row)
    fetched(index, name, 0, 1)  # what opening reads is in memory now
    for first, num_frames in (
        (0, GROUP),
        (GROUP, GROUP),
        (GROUP + 7, 9),
        (NUM_FRAMES - GROUP, GROUP),
    ):
        file = fetched(index, name, first, num_frames)
        frames = read_window(file, first=first, num_frames=num_frames, access=access)
        np.testing.assert_array_equal(frames, window(local, name, first, num_frames))
        if name.startswith(("end", "start", "matroska")):
            group = [*access.key_bytes, access.stamp.size_bytes if access.stamp else 0]
            at = first // GROUP
            assert file.requests == 2  # the bytes, and whether the object is still the same
            assert file.bytes_fetched <= group[at + 1] - group[at] + 2**15


@pytest.mark.parametrize("fault", ["503", "reset", "cut", "slow"])
@pytest.mark.usefixtures("_clean")
def test_a_request_that_fails_is_made_again(
    index: VideoIndex, library: Path, line: Line, fault: Fault
) -> None:
    local = load_index(library / "local.parquet")
    faults: Iterator[Fault | None] = iter([fault, fault])
    line.fault = lambda method, path: next(faults, None) if method == "GET" else None
    frames = window(index, "end.mp4", GROUP, 5)
    np.testing.assert_array_equal(frames, window(local, "end.mp4", GROUP, 5))
    assert next(faults, None) is None


@pytest.mark.usefixtures("_clean")
def test_a_service_that_does_not_recover_is_named_without_keys(
    index: VideoIndex, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "TRIES", 1)
    line.fault = lambda method, path: "503"
    with pytest.raises(DecodeError, match=r"walk/end\.mp4: cannot read s3://bucket") as failed:
        window(index, "end.mp4", GROUP, 5)
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in str(failed.value)


def schedule_of(index: VideoIndex) -> Schedule:
    data = DataConfig(frames_per_clip=1, frame_size=32, gap=(1, 3), max_failed_share=1.0)
    return Schedule(index, data, seed=0, global_batch_size=5)


def test_pairs_are_those_from_disk_and_what_they_cost_is_counted(
    index: VideoIndex, library: Path
) -> None:
    schedule = schedule_of(index)
    (pairs,) = pairs_here(schedule, range(1), Share(num_decoders=4))
    local = find_indexed(DataConfig(index=str(library / "local.parquet"), videos_root=VIDEOS))
    assert list(local.path) == list(index.path)
    (moved,) = pairs_here(schedule_of(local), range(1), Share(num_decoders=4))
    np.testing.assert_array_equal(pairs.context, moved.context)
    on_disk = load_index(library / "local.parquet")
    assert "decord" in on_disk.table["decoder"].to_pylist()
    (read,) = pairs_here(schedule_of(on_disk), range(1), Share(num_decoders=4))
    np.testing.assert_array_equal(pairs.context, read.context)

    cutter = PairCutter(schedule)
    decoder = WindowDecoder(schedule)
    turns = schedule.turns(range(1), rank=0, num_workers=1)
    numbers = [number for begun in turns for number in begun.number.tolist()]
    block = decoder(pa.table({"number": numbers}))
    list(cutter.batches((window for window in windows_of(block)), range(1)))
    metrics = cutter.counts.metrics()
    assert 1 <= metrics["data/requests_per_window"] <= 4
    assert metrics["data/bytes_fetched_per_pair"] > 1000


def test_videos_that_are_gone_are_missed_at_once(
    index: VideoIndex, line: Line, library: Path
) -> None:
    at = index.table.schema.get_field_index("path")
    paths = [path.replace("end.mp4", "gone.mp4") for path in index.path]
    table = index.table.set_column(at, index.table.schema.field(at), pa.array(paths))
    pq.write_table(table, library / "gone.parquet")
    line.requests.clear()
    with pytest.raises(ConfigError, match=r"1 of 5 videos .*walk/gone\.mp4"):
        find_indexed(DataConfig(index=str(library / "gone.parquet")))
    assert len(line.requests) == 1


@pytest.mark.usefixtures("_clean")
def test_an_object_replaced_while_it_is_read_is_named_and_skipped(
    index: VideoIndex, line: Line, library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schedule = schedule_of(index)
    other = library / "videos" / "walk" / "stream.ts"
    replaced = threading.Event()

    def replace_once(method: str, path: str) -> None:
        if method == "GET" and path.endswith("start.mp4") and not replaced.is_set():
            replaced.set()
            put(other, "videos/walk/start.mp4")

    line.fault = replace_once
    (pairs,) = pairs_here(schedule, range(1), Share())
    assert (pairs.row == -1).sum() == 1
    assert f"{VIDEOS}/walk/start.mp4: changed since it was indexed" in capsys.readouterr().out


def test_what_is_no_place_for_videos_is_said_in_words(line: Line) -> None:
    for where, what in (
        (f"{VIDEOS}/nothing", "there is nothing"),
        ("s3://key:secret@bucket/videos", "a key or password does not belong in it"),
        ("s3://bucket/videos?endpoint_override=host", "AWS_ENDPOINT_URL"),
        ("ftp://host/videos", "no place for files that is known"),
    ):
        with pytest.raises((NoVideosError, StorageError), match=what) as refused:
            find_videos([where])
        assert "secret" not in str(refused.value)


def test_videos_on_the_web_are_read_by_ranges(line: Line, library: Path) -> None:
    video = f"{line.address}/bucket/videos/walk/end.mp4"
    index = build_index([video], library / "web.parquet", num_workers=1).index
    assert list(index.path) == [video]
    line.requests.clear()
    local = load_index(library / "local.parquet")
    frames, before = window(index, "end.mp4", GROUP, 5), line.num_bytes
    np.testing.assert_array_equal(frames, window(local, "end.mp4", GROUP, 5))
    file = fetched(index, "end.mp4", 0, GROUP)
    assert line.num_bytes - before == file.bytes_fetched
    with pytest.raises(DecodeError, match="no such file"):
        read_window(f"{line.address}/bucket/videos/none.mp4", first=0, num_frames=1)
