import errno
import math
import os
import shutil
import signal
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.video import probe, probing
from pipelines.video.given import LabelSources
from pipelines.video.index import IndexFileError, VideoIndex, load_index
from pipelines.video.indexer import IndexSettingError, IndexSummary, build_index
from pipelines.video.killable import Tick
from pipelines.video.labels import FactorsError
from pipelines.video.probe import Probe, Unusable, probe_video
from pipelines.video.probing import FileToProbe, probe_file
from pipelines.video.sampled import probe_sampled
from pipelines.video.splits import NoVideosError, hash_split
from tests.videos import BAD, FPS, GOOD, write_h264, write_hevc, write_text, write_video


def index(folder: Path, **options: float) -> IndexSummary:
    return build_index([folder], folder / "videos.parquet", **options)  # type: ignore[arg-type]


def rows(videos: VideoIndex) -> dict[str, dict[str, object]]:
    return {Path(row["path"]).name: row for row in videos.table.to_pylist()}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> IndexSummary:
    folder = tmp_path_factory.mktemp("mixed")
    for write in GOOD.values():
        write(folder)
    for write, _ in BAD.values():
        write(folder)
    return index(folder)


def test_every_good_file_is_usable_and_every_bad_one_has_its_reason(mixed: IndexSummary) -> None:
    found = rows(mixed.index)
    assert len(found) == mixed.num_files == len(GOOD) + len(BAD)
    assert {Path(name).stem for name, row in found.items() if row["usable"]} == set(GOOD)
    for name, (_, reason) in BAD.items():
        (row,) = (row for path, row in found.items() if Path(path).stem == name)
        assert str(row["reason"]).startswith(reason)
        assert row["split"] is None


def test_a_long_video_is_judged_as_if_all_of_it_were_compared(
    mixed: IndexSummary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "FRAMES_IN_ORDER", 10)
    for row in mixed.index.select().table.to_pylist():
        found = probe_video(row["path"], lambda share_done: None)
        assert isinstance(found, Probe)
        decoder = "pyav" if row["seek"] == "start" else row["decoder"]
        assert (found.decoder, found.seek) == (decoder, row["seek"]), row["path"]
        assert (found.num_frames, found.key_frames) == (row["num_frames"], row["key_frames"])


def test_a_sample_finds_what_the_full_check_finds(mixed: IndexSummary) -> None:
    by_sample = set()
    for row in mixed.index.select().table.to_pylist():
        found = probe_sampled(row["path"], lambda share_done: None)
        assert isinstance(found, Probe)
        row |= {"check": found.check, "digest": found.digest}
        assert asdict(found).items() <= row.items()
        by_sample |= {Path(row["path"]).stem} if found.check == "sample" else set()
    sure = {"h264", "hevc", "hevc_mkv", "av1", "variable", "odd", "turned", "trimmed"}
    assert by_sample == sure | {"empty_track"}
    for row in mixed.index.select(usable=False).table.to_pylist():
        found = probe_sampled(row["path"], lambda share_done: None)
        assert found == Unusable(reason=row["reason"])


def test_what_a_row_says(mixed: IndexSummary) -> None:
    found = rows(mixed.index)
    h264 = found["h264.mp4"]
    assert h264["num_frames"] == 60
    assert h264["fps"] == FPS
    assert (h264["width"], h264["height"], h264["rotation"]) == (128, 96, 0)
    assert h264["duration_seconds"] == pytest.approx(60 / FPS)
    assert (h264["codec"], h264["seek"], h264["key_frames"]) == ("h264", "exact", [0, 20, 40])
    assert h264["size_bytes"] == os.path.getsize(str(h264["path"]))
    turned = found["turned.mov"]
    assert (turned["width"], turned["height"], turned["rotation"]) == (96, 128, 90)
    assert found["hevc.mp4"]["key_frames"] == [0, 20, 40]  # as shown, not as stored
    assert found["av1.mkv"]["duration_seconds"] == pytest.approx(60 / FPS, abs=0.01)
    assert found["trimmed.mp4"]["num_frames"] == 55
    assert found["odd.mp4"]["width"] == 131


def test_the_index_is_read_back_as_written(mixed: IndexSummary) -> None:
    folder = Path(mixed.index.path[0]).parent
    videos = load_index(folder / "videos.parquet")
    assert videos.table.equals(mixed.index.table)
    assert videos.digest() == mixed.index.digest()
    assert len(videos.select()) == mixed.num_usable
    assert sum(len(videos.select(split=split)) for split in ("train", "val", "test")) == len(GOOD)
    two = videos.select().take([3, 1])
    assert list(two.path) == [videos.select().path[3], videos.select().path[1]]
    assert two.key_frames(1).tolist() == videos.select().key_frames(1).tolist()
    assert f"{len(GOOD)} usable" in videos.describe()
    assert "not a readable video (2)" in videos.describe()
    with pytest.raises(ValueError, match="must be one of train, val, test"):
        videos.select(split="training")


def test_a_second_run_probes_only_what_is_new_or_changed(tmp_path: Path) -> None:
    for name in ("same", "changed", "gone"):
        shutil.copy(write_h264(tmp_path), tmp_path / f"{name}.mp4")
    (tmp_path / "h264.mp4").unlink()
    write_text(tmp_path)
    assert index(tmp_path).num_probed == 4
    shutil.copy(write_hevc(tmp_path), tmp_path / "changed.mp4")
    (tmp_path / "gone.mp4").unlink()
    again = index(tmp_path)
    assert (again.num_probed, again.num_reused, again.num_dropped) == (2, 2, 1)
    found = rows(again.index)
    assert found["changed.mp4"]["codec"] == "hevc"
    assert "gone.mp4" not in found
    aside, total = index(tmp_path).lines()
    assert aside.endswith(
        "text.mp4: not a readable video: Invalid data found when processing input"
    )
    assert total.endswith("0 probed, 4 unchanged, 0 dropped")


def test_a_probe_that_hangs_is_killed_and_tried_again_next_time(tmp_path: Path) -> None:
    write_h264(tmp_path)
    os.mkfifo(tmp_path / "hangs.mp4")  # opening it waits for a writer
    write_hevc(tmp_path)
    summary = index(tmp_path, timeout_seconds=1)
    assert summary.num_usable == 2
    assert summary.skip == [(str(tmp_path / "hangs.mp4"), "probe timed out after 1 s")]
    (tmp_path / "hangs.mp4").unlink()
    assert (tmp_path / "h264.mp4").rename(tmp_path / "hangs.mp4")
    assert index(tmp_path).num_probed == 1


def test_ctrl_c_keeps_what_was_probed(tmp_path: Path) -> None:
    shutil.copy(write_h264(tmp_path), tmp_path / "a.mp4")
    (tmp_path / "h264.mp4").unlink()
    fifo = tmp_path / "b.mp4"
    os.mkfifo(fifo)

    def interrupt() -> None:
        while True:
            try:  # opens as soon as a probe waits at the other end
                os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
                break
            except OSError:
                time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        index(tmp_path, timeout_seconds=60, num_workers=1)
    assert list(rows(load_index(tmp_path / "videos.parquet"))) == ["a.mp4"]


def test_walking_skips_the_hidden_and_survives_loops(tmp_path: Path) -> None:
    deep = tmp_path / "deep" / "deeper"
    deep.mkdir(parents=True)
    write_h264(deep)
    (deep / "up").symlink_to(tmp_path)
    (tmp_path / "twice.mp4").symlink_to(deep / "h264.mp4")
    (tmp_path / ".hidden").mkdir()
    write_h264(tmp_path / ".hidden")
    (tmp_path / "notes.txt").write_text("no video")
    named = write_video(tmp_path / ".hidden" / "named.mkv", num_frames=5)
    summary = build_index([tmp_path, deep, named], tmp_path / "videos.parquet")
    assert summary.num_files == 2


def test_nothing_to_index_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoVideosError, match="nowhere: no such file or folder"):
        build_index([tmp_path / "nowhere"], tmp_path / "videos.parquet")
    with pytest.raises(NoVideosError, match="no video file in"):
        index(tmp_path)
    write_text(tmp_path)
    with pytest.raises(NoVideosError, match=r"no usable video .* not a readable video \(1\)"):
        index(tmp_path)
    with pytest.raises(ValueError, match="together they must leave something"):
        index(tmp_path, val_share=0.5, test_share=0.5)


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IndexFileError, match="adassl data index"):
        load_index(tmp_path / "nowhere.parquet")
    with pytest.raises(IndexFileError, match="not a Parquet file"):
        load_index(write_text(tmp_path))
    pq.write_table(pa.table({"path": ["a.mp4"]}), tmp_path / "videos.parquet")
    with pytest.raises(IndexFileError, match="not those of a video index"):
        index(tmp_path)


def test_splits_depend_on_content_alone(tmp_path: Path) -> None:
    for n in range(6):
        write_video(tmp_path / f"{n}.mp4", num_frames=5 + n)
    before = {row["digest"]: row["split"] for row in rows(index(tmp_path).index).values()}
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for n in range(6):
        (tmp_path / f"{n}.mp4").rename(moved / f"{n + 10}.mp4")
    after = {row["digest"]: row["split"] for row in rows(index(moved).index).values()}
    assert before == after


def test_the_shares_of_the_splits_are_met_on_average() -> None:
    digests = [f"{n * 0x9E3779B97F4A7C15 % 2**64:016x}" for n in range(10_000)]
    splits = [hash_split(digest, val_share=0.1, test_share=0.2) for digest in digests]
    assert splits.count("test") == pytest.approx(2000, abs=100)
    assert splits.count("val") == pytest.approx(1000, abs=100)
    assert {hash_split(digest, val_share=0, test_share=0) for digest in digests} == {"train"}


def test_factors_beside_the_videos_decide_their_split(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for n in range(3):
        write_video(tmp_path / "set" / f"{n}.mp4", num_frames=5 + n)
    labels = {"path": ["set/0.mp4", "set/0.mp4", "set/1.mp4"], "split": ["val", "val", "test"]}
    pq.write_table(pa.table(labels), tmp_path / "factors.parquet")
    found = rows(index(tmp_path, val_share=0, test_share=0).index)
    assert [found[f"{n}.mp4"]["split"] for n in range(3)] == ["val", "test", "train"]
    factors = str(tmp_path / "factors.parquet")
    assert [found[f"{n}.mp4"]["factors"] for n in range(3)] == [[factors], [factors], []]
    named = LabelSources(tables=(factors,))  # which is found as well
    summary = build_index([tmp_path], tmp_path / "videos.parquet", labels=named)
    assert summary.lines()[0] == f"labels of 2 videos: {factors}"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"name": ["0.mp4"]}, "no column path"),
        ({"path": ["0.mp4", "0.mp4"], "split": ["val", "train"]}, "in two splits"),
        ({"path": ["0.mp4"], "split": ["holdout"]}, "not one of train, val, test"),
    ],
)
def test_senseless_factors_are_refused(
    labels: dict[str, list[str]], message: str, tmp_path: Path
) -> None:
    write_video(tmp_path / "0.mp4", num_frames=5)
    pq.write_table(pa.table(labels), tmp_path / "factors.parquet")
    with pytest.raises(FactorsError, match=message):
        index(tmp_path)


def test_an_index_of_version_1_still_loads_and_is_probed_anew(tmp_path: Path) -> None:
    write_h264(tmp_path)
    write_text(tmp_path)
    place = tmp_path / "videos.parquet"
    table = index(tmp_path).index.table
    at = table.schema.get_field_index("factors")
    old = table.set_column(at, "factors", pa.nulls(len(table), pa.string()))
    old = old.drop_columns(["decoder", "stream", "key_times", "label", "group"])
    pq.write_table(old.replace_schema_metadata({b"adassl.index_version": b"1"}), place)
    videos = load_index(place)
    assert not videos.is_current
    access = videos.select().access(0)
    assert (access.decoder, access.seek, list(access.key_frames)) == (
        "decord",
        "exact",
        [0, 20, 40],
    )
    assert index(tmp_path).num_probed == 2
    assert index(tmp_path).num_reused == 2


@pytest.mark.parametrize("manner", ["hang", "crash"])
def test_a_file_on_which_decord_hangs_or_crashes_is_decoded_by_pyav(
    manner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "probe_file", {"hang": hang, "crash": crash}[manner])
    write_h264(tmp_path)
    found = rows(index(tmp_path, timeout_seconds=2).index)["h264.mp4"]
    assert (found["decoder"], found["num_frames"]) == ("pyav", 60)


def hang(file: FileToProbe, tick: Tick) -> Probe | Unusable:
    if file.try_decord:
        time.sleep(1000)
    return probe_file(file, tick)


def crash(file: FileToProbe, tick: Tick) -> Probe | Unusable:
    if file.try_decord:
        os.kill(os.getpid(), signal.SIGSEGV)
    return probe_file(file, tick)


def test_what_pyav_decodes_is_said(mixed: IndexSummary) -> None:
    by_pyav = list(mixed.index.column("decoder")).count("pyav")
    assert by_pyav >= 6
    assert f"{len(GOOD)} usable, {by_pyav} of them by PyAV (" in mixed.index.describe()


@pytest.mark.parametrize(
    "options",
    [
        {"val_share": 0.6, "test_share": 0.6},
        {"val_share": -0.1},
        {"test_share": math.nan},
        {"timeout_seconds": 0},
        {"timeout_seconds": -100},
        {"timeout_seconds": math.inf},
        {"timeout_seconds": math.nan},
    ],
)
def test_numbers_that_cannot_be_are_refused(options: dict[str, float], tmp_path: Path) -> None:
    write_text(tmp_path)
    with pytest.raises(IndexSettingError, match=f"{next(iter(options))}=.*usual"):
        index(tmp_path, **options)


def test_a_name_that_is_not_utf8_is_skipped_and_named(tmp_path: Path) -> None:
    write_h264(tmp_path)
    strange = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(strange)
    shutil.copy(os.fsencode(tmp_path / "h264.mp4"), strange + b"/a.mp4")
    summary = index(tmp_path)
    assert summary.num_usable == 1
    (skipped,) = summary.skip
    assert skipped[0].endswith(r"/caf\xe9/a.mp4")
    assert skipped[1].startswith("name is not UTF-8")
    assert r"caf\xe9" in summary.lines()[0]


def test_an_unreadable_folder_is_skipped_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_h264(tmp_path)
    lost = tmp_path / "lost+found"
    lost.mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:  # as it is for users who are not root
        if path == str(lost):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    summary = index(tmp_path)
    assert summary.num_usable == 1
    assert summary.skip == [(str(lost), "unreadable folder: Permission denied")]
    with pytest.raises(NoVideosError, match=r"lost\+found: cannot be read: Permission denied"):
        index(lost)


def test_a_pointer_of_git_lfs_is_called_so(tmp_path: Path) -> None:
    write_h264(tmp_path)
    pointer = tmp_path / "videos.parquet"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    with pytest.raises(IndexFileError, match="git lfs pull"):
        load_index(pointer)
    pointer.rename(tmp_path / "factors.parquet")
    with pytest.raises(FactorsError, match="git lfs pull"):
        index(tmp_path)
