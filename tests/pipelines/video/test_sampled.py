"""Files checked by their container and a sample of their frames."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import pytest

from pipelines.video.index import digest_of, load_index
from pipelines.video.indexer import build_index
from pipelines.video.probe import Probe, Unusable, probe_video
from pipelines.video.sampled import probe_sampled
from tests.processes import wait_until
from tests.videos import (
    KEY_FRAME_EVERY,
    TRIMMED_FRAMES,
    X265,
    write_h264,
    write_trimmed,
    write_video,
)

NUM_FRAMES = 400


def tick(share_done: float) -> None:
    pass


def write_long(folder: Path, kind: str) -> Path:
    if kind == "h264":  # B-frames
        return write_video(folder / "film.mp4", num_frames=NUM_FRAMES)
    if kind == "fragmented":
        options = {"movflags": "frag_keyframe+empty_moov"}
        return write_video(
            folder / "film.mp4", num_frames=NUM_FRAMES, turn=90, container_options=options
        )
    return write_video(folder / "film.mkv", "libx265", num_frames=NUM_FRAMES, options=X265)


@pytest.mark.parametrize("kind", ["h264", "fragmented", "hevc"])
def test_a_sample_of_a_film_gives_what_the_full_check_gives(kind: str, tmp_path: Path) -> None:
    path = str(write_long(tmp_path, kind))
    full, sample = probe_video(path, tick), probe_sampled(path, tick)
    assert isinstance(full, Probe)
    assert isinstance(sample, Probe)
    assert (sample.check, sample.num_frames) == ("sample", NUM_FRAMES)
    assert sample.key_frames == list(range(0, NUM_FRAMES, KEY_FRAME_EVERY))
    unlike = {"check": full.check, "digest": full.digest}
    assert asdict(sample) | unlike == asdict(full)


def spoil(path: Path, group: int) -> None:
    """Damage the frames of a group of pictures, but for its key frame."""
    with av.open(str(path)) as container:
        stream: Any = container.streams.video[0]
        entries = [(e.pos, e.size, e.is_keyframe) for e in stream.index_entries]
    first = group * KEY_FRAME_EVERY
    data = bytearray(path.read_bytes())
    for pos, size, is_key in entries[first : first + KEY_FRAME_EVERY]:
        if not is_key:
            data[pos + 5 : pos + size] = bytes(0xFF for _ in range(size - 5))
    path.write_bytes(data)


@pytest.mark.parametrize(("group", "seen"), [(7, False), (0, True), (9, True), (19, True)])
def test_damage_is_seen_where_the_sample_decodes_and_nowhere_else(
    group: int, seen: bool, tmp_path: Path
) -> None:
    path = write_long(tmp_path, "h264")
    spoil(path, group)
    full, sample = probe_video(str(path), tick), probe_sampled(str(path), tick)
    assert isinstance(full, Unusable)
    assert full.reason.startswith("damaged or encrypted")
    if seen:
        assert sample == full
    else:
        assert isinstance(sample, Probe)
        assert sample.check == "sample"


def test_a_film_that_is_cut_off_is_left_to_the_full_check_and_one_that_is_trimmed_is_not(
    tmp_path: Path,
) -> None:
    cut = write_long(tmp_path, "fragmented")
    cut.write_bytes(cut.read_bytes()[:-3000])
    assert probe_sampled(str(cut), tick) == probe_video(str(cut), tick)
    trimmed = probe_sampled(str(write_trimmed(tmp_path)), tick)
    assert isinstance(trimmed, Probe)
    assert (trimmed.check, trimmed.num_frames) == ("sample", 60 - TRIMMED_FRAMES)


def test_a_row_by_a_sample_is_found_anew_where_full_is_asked_for(tmp_path: Path) -> None:
    path, out = write_h264(tmp_path), tmp_path / "videos.parquet"
    by_sample = build_index([tmp_path], out, check="sample")
    assert "1 usable, 1 checked by a sample (" in by_sample.index.describe()
    assert by_sample.index.column("check").tolist() == ["sample"]
    assert by_sample.index.column("digest").tolist() == [digest_of(str(path), "sample")]
    assert build_index([tmp_path], out).num_probed == 0
    full = build_index([tmp_path], out, check="full")
    assert (full.num_probed, full.index.column("check").tolist()) == (1, ["full"])
    assert full.index.column("digest").tolist() == [digest_of(str(path), "full")]
    assert build_index([tmp_path], out, check="sample").num_probed == 0


def test_the_digest_of_a_sample_sees_size_head_and_tail(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    content = bytearray(os.urandom(1 << 14) * 512)
    path.write_bytes(content)
    shutil.copy(path, tmp_path / "copy.mp4")
    digest = digest_of(str(path), "sample")
    assert digest == digest_of(str(path.with_name("copy.mp4")), "sample")
    assert digest != digest_of(str(path), "full")
    for at in (0, len(content) - 1):
        changed = bytearray(content)
        changed[at] ^= 1
        path.write_bytes(changed)
        assert digest_of(str(path), "sample") != digest
    path.write_bytes(b"")
    assert digest_of(str(path), "sample") == ""


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    shutil.copy(write_h264(tmp_path), tmp_path / "a.mp4")
    fifo, out = tmp_path / "z.mp4", tmp_path / "videos.parquet"
    os.mkfifo(fifo)  # opening it waits for a writer
    code = (
        "from pipelines.video import indexer, parts\n"
        "parts.PART_ROWS = 1\n"
        "if __name__ == '__main__':\n"
        f"    indexer.build_index([{str(tmp_path)!r}], {str(out)!r}, num_workers=1)\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code)
    parts = tmp_path / "videos.parquet.parts"
    run = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": "."})
    try:
        wait_until(lambda: len(list(parts.glob("part-*.parquet"))) == 2, seconds=60)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
        with suppress(OSError):  # its probe, which waits, ends
            os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    assert not out.exists()
    fifo.unlink()
    shutil.copy(tmp_path / "a.mp4", fifo)
    summary = build_index([tmp_path], out, val_share=0, test_share=0)
    assert (summary.num_probed, summary.num_reused, summary.num_usable) == (1, 2, 3)
    assert load_index(out).column("split").tolist() == ["train"] * 3
    assert not parts.exists()
