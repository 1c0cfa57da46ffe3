import pickle
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from pipelines.config.data import DataConfig
from pipelines.config.run import ConfigError
from pipelines.video.clip_pairs import ClipPairs, PairSchedule
from pipelines.video.clips import ClipSchedule, clips_here
from pipelines.video.index import VideoIndex, load_index
from pipelines.video.indexer import build_index
from tests.videos import FPS, X264, read_number, write_video


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> VideoIndex:
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "long.mp4", num_frames=100)
    one_group = {**X264, "x264-params": "keyint=250:scenecut=0"}
    write_video(folder / "one_group.mp4", num_frames=61, options=one_group)
    write_video(folder / "short.mp4", num_frames=2)
    build_index([folder], folder / "index.parquet", val_share=0, test_share=0)
    return load_index(folder / "index.parquet")


@pytest.mark.parametrize("stride", [0.01, 0.25, 0.3, 1.0, 60.0])
def test_each_clip_comes_once_with_its_own_frames(index: VideoIndex, stride: float) -> None:
    schedule = ClipSchedule(index, DataConfig(frame_size=64), stride_seconds=stride)
    assert [Path(left.path).name for left in schedule.left_out] == ["short.mp4"]
    found: dict[str, list[int]] = {}
    for clips in clips_here(schedule, range(schedule.num_windows), num_decoders=2):
        assert clips.frames is not None
        assert clips.frames.shape == (len(clips), 3, 64, 64, 3)
        for start, frames in zip(clips.start.tolist(), clips.frames, strict=True):
            found.setdefault(Path(schedule.index.path[clips.video]).name, []).append(start)
            assert [read_number(frame) for frame in frames] == [start, start + 1, start + 2]
    step = max(1.0, stride * FPS)
    for name, num_frames in (("long.mp4", 100), ("one_group.mp4", 61)):
        expected = np.floor(np.arange(1000) * step + 0.5)
        assert found[name] == expected[expected <= num_frames - 3].tolist()
    assert schedule.num_clips == sum(map(len, found.values()))


def test_a_sparse_stride_decodes_little(index: VideoIndex) -> None:
    schedule = ClipSchedule(index, DataConfig(frame_size=64), stride_seconds=2.0)
    [long] = [row for row, path in enumerate(schedule.index.path) if path.endswith("long.mp4")]
    windows = [schedule.window(number) for number in schedule.windows_of([long])]
    assert [window.first for window in windows] == [0, 50]
    assert [window.num_frames for window in windows] == [3, 3]


def test_too_short_videos_leave_a_schedule_without_clips(index: VideoIndex) -> None:
    schedule = ClipSchedule(index, DataConfig(frames_per_clip=101), stride_seconds=1.0)
    assert (len(schedule.left_out), schedule.num_clips, schedule.num_windows) == (3, 0, 0)


@pytest.mark.parametrize(
    ("gap", "unit", "frames"), [((2, 5), "frames", 4), ((0.2, 0.4), "seconds", 8)]
)
def test_each_moment_comes_with_what_came_the_middle_of_the_gap_later(
    index: VideoIndex, gap: tuple[float, float], unit: Literal["frames", "seconds"], frames: int
) -> None:
    data = DataConfig(frame_size=64, gap=gap, gap_unit=unit)
    schedule = pickle.loads(pickle.dumps(PairSchedule(index, data, stride_seconds=0.2)))
    found: dict[str, list[int]] = {}
    for pairs in clips_here(schedule, range(schedule.num_windows)):
        assert isinstance(pairs, ClipPairs)
        assert pairs.frames is not None
        assert pairs.next_frames is not None
        assert pairs.gap == frames
        for start, clip, came in zip(pairs.start, pairs.frames, pairs.next_frames, strict=True):
            assert [read_number(frame) for frame in clip] == list(range(start, start + 3))
            later = start + frames
            assert [read_number(frame) for frame in came] == list(range(later, later + 3))
            found.setdefault(Path(schedule.index.path[pairs.video]).name, []).append(int(start))
    assert found["long.mp4"] == list(range(0, 100 - 3 - frames + 1, 5))
    assert found["one_group.mp4"] == list(range(0, 61 - 3 - frames + 1, 5))


def test_a_stride_must_be_positive(index: VideoIndex) -> None:
    with pytest.raises(ConfigError, match="positive"):
        ClipSchedule(index, DataConfig(), stride_seconds=0.0)
