import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.video.decode import read_window
from pipelines.video.frames import Access, DecodeError, last_key_frame, luma, resized_shape
from pipelines.video.index import VideoIndex
from pipelines.video.indexer import build_index
from pipelines.video.probe import Probe, probe_video
from tests.videos import GOOD, read_number, shown_numbers, write_cut_mpeg4, write_h264, write_text


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> VideoIndex:
    folder = tmp_path_factory.mktemp("videos")
    for write in GOOD.values():
        write(folder)
    return build_index([folder], folder / "videos.parquet").index


@pytest.fixture(scope="module")
def h264(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_h264(tmp_path_factory.mktemp("h264"))


@pytest.mark.parametrize("kind", GOOD)
def test_the_frames_asked_for_are_the_frames_delivered(kind: str, videos: VideoIndex) -> None:
    row = [Path(path).stem for path in videos.path].index(kind)
    num_frames = int(videos.num_frames[row])
    numbers = shown_numbers(kind)
    assert num_frames == len(numbers)
    for first in range(num_frames):
        for length in {1, min(7, num_frames - first), num_frames - first}:
            window = read_window(
                videos.path[row],
                first=first,
                num_frames=length,
                width=40,
                height=40,
                access=videos.access(row),
            )
            upright = np.rot90(window, axes=(1, 2)) if kind == "turned" else window
            expected = numbers[first : first + length]
            assert [read_number(frame) for frame in upright] == expected


def test_open_groups_of_pictures_need_no_reading_from_the_start(videos: VideoIndex) -> None:
    ways = {
        Path(path).stem: seek for path, seek in zip(videos.path, videos.column("seek"), strict=True)
    }
    assert ways["hevc"] != "start"
    assert ways["hevc_mkv"] != "start"


def test_reading_from_the_start_agrees(h264: Path) -> None:
    for first in (0, 19, 20, 21, 57):
        window = read_window(h264, first=first, num_frames=3, access=Access(seek="start"))
        assert [read_number(frame) for frame in window] == [first, first + 1, first + 2]


@pytest.mark.parametrize("width", [16, 24, 32, 33, 48, 64, 85, 96, 112, 144, 224])
def test_every_width_comes_out_whole(width: int, h264: Path) -> None:
    height = width * 3 // 4
    window = read_window(h264, first=21, num_frames=2, width=width, height=height)
    assert window.shape == (2, height, width, 3)
    assert [read_number(frame) for frame in window] == [21, 22]


def test_grayscale_is_the_luma_of_the_colours(h264: Path) -> None:
    colour = read_window(h264, first=5, num_frames=2, width=32, height=32)
    gray = read_window(h264, first=5, num_frames=2, width=32, height=32, grayscale=True)
    assert gray.shape == (2, 32, 32, 1)
    assert np.abs(gray[..., 0] - colour @ np.array([0.299, 0.587, 0.114])).max() <= 1


def test_luma_keeps_black_and_white() -> None:
    frames = np.array([[0, 0, 0], [255, 255, 255]], np.uint8)
    assert luma(frames).tolist() == [[0], [255]]


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((320, 240), 64, (85, 64)),
        ((240, 320), 64, (64, 85)),
        ((1920, 1080), 224, (398, 224)),
        ((50, 50), 64, (64, 64)),
        ((10_000, 9_999), 64, (64, 64)),
    ],
)
def test_resized_shape(size: tuple[int, int], short_side: int, expected: tuple[int, int]) -> None:
    assert resized_shape(*size, short_side) == expected


def test_resized_shape_refuses_nothing_to_show() -> None:
    with pytest.raises(ValueError, match="320x0"):
        resized_shape(320, 0, 64)


def test_the_cost_of_a_window() -> None:
    key_frames = [0, 20, 40]
    assert last_key_frame(39, key_frames) == 20
    exact = Access(key_frames=key_frames)
    assert exact.decoded_frames(20, 10) == 10
    assert exact.decoded_frames(39, 10) == 29
    assert Access(key_frames=key_frames, seek="key_frame").decoded_frames(39, 10) == 29
    assert Access(key_frames=key_frames, seek="start").decoded_frames(39, 10) == 49


def test_what_cannot_be_read_is_an_error_with_its_path(tmp_path: Path, h264: Path) -> None:
    with pytest.raises(DecodeError, match=r"nowhere\.mp4: no such file"):
        read_window(tmp_path / "nowhere.mp4", first=0, num_frames=1)
    with pytest.raises(DecodeError, match=r"text\.mp4: "):
        read_window(write_text(tmp_path), first=0, num_frames=1)
    with pytest.raises(DecodeError, match="frames 58 to 60 asked for, it has 60"):
        read_window(h264, first=58, num_frames=3)


def test_a_senseless_window_is_refused(h264: Path) -> None:
    with pytest.raises(ValueError, match="first=-1"):
        read_window(h264, first=-1, num_frames=1)
    with pytest.raises(ValueError, match="must be one of exact, key_frame, start"):
        Access(seek="fast")  # type: ignore[arg-type]


def test_reading_an_index_needs_neither_ray_nor_torch() -> None:
    code = "import sys, pipelines.video.indexer; print({'ray', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("kind", ["h264", "odd", "turned", "variable"])
@pytest.mark.parametrize("size", [(None, None), (40, 40), (85, 64)])
def test_both_decoders_give_the_same_pixels(
    kind: str, size: tuple[int | None, int | None], videos: VideoIndex
) -> None:
    row = [Path(path).stem for path in videos.path].index(kind)
    by_decord, by_pyav = (
        read_window(
            videos.path[row],
            first=19,
            num_frames=4,
            width=size[0],
            height=size[1],
            access=Access(decoder=decoder, seek="start"),
        )
        for decoder in ("decord", "pyav")
    )
    np.testing.assert_array_equal(by_pyav, by_decord)


def test_pyav_says_what_it_cannot_read(tmp_path: Path, h264: Path) -> None:
    pyav = Access(decoder="pyav", seek="start")
    with pytest.raises(DecodeError, match=r"nowhere\.mp4: no such file"):
        read_window(tmp_path / "nowhere.mp4", first=0, num_frames=1, access=pyav)
    with pytest.raises(DecodeError, match=r"text\.mp4: PyAV says 'Invalid data"):
        read_window(write_text(tmp_path), first=0, num_frames=1, access=pyav)
    with pytest.raises(DecodeError, match="only 2 of 3 frames from frame 58 on"):
        read_window(h264, first=58, num_frames=3, access=pyav)


def test_mpeg4_that_begins_without_a_key_frame_shows_nothing_predicted_from_nothing(
    tmp_path: Path,
) -> None:
    probe = probe_video(str(write_cut_mpeg4(tmp_path)), lambda share: None)
    assert isinstance(probe, Probe)
    assert probe.num_frames == 40
    access = Access(decoder="pyav", seek="start")
    window = read_window(tmp_path / "cut_mpeg4.mkv", first=0, num_frames=2, access=access)
    assert [read_number(frame) for frame in window] == [20, 21]


def test_nothing_of_decord_reaches_the_terminal(tmp_path: Path) -> None:
    broken = write_text(tmp_path)
    code = (
        "import sys; from pipelines.video import decord_reader\n"
        f"try: decord_reader.inspect({str(broken)!r})\n"
        "except Exception: print('refused', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "refused\n")
