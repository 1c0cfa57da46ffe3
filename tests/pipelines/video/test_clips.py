from pathlib import Path

import numpy as np
import pytest

from pipelines.config.data import DataConfig
from pipelines.config.run import ConfigError
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


def test_a_stride_must_be_positive(index: VideoIndex) -> None:
    with pytest.raises(ConfigError, match="positive"):
        ClipSchedule(index, DataConfig(), stride_seconds=0.0)
