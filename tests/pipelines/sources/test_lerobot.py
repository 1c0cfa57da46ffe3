"""LeRobot data sets of both versions, written here, as videos with labels."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.sources.lerobot import LeRobotError, write_lerobot
from pipelines.video.given import LabelSources
from pipelines.video.indexer import build_index
from tests.videos import FPS, read_number, spell, write_video

LENGTHS = (12, 20, 9)
CAMERA = "observation.images.front"
TASKS = ("pick", "place")


def features() -> dict[str, Any]:
    return {
        CAMERA: {"dtype": "video", "shape": [96, 128, 3], "names": ["height", "width", "channel"]},
        "observation.state": {
            "dtype": "float32",
            "shape": [2],
            "names": {"motors": ["elbow", "wrist"]},
        },
        "action": {"dtype": "float32", "shape": [2], "names": None},
        "reward": {"dtype": "float32", "shape": [1], "names": None},
        **{
            name: {"dtype": "int64", "shape": [1], "names": None}
            for name in ("frame_index", "episode_index", "index", "task_index")
        },
    }


def rows(episode: int) -> dict[str, Any]:
    frames = np.arange(LENGTHS[episode])
    state = np.stack([frames + 100 * episode, -frames], axis=1).astype(np.float32)
    return {
        "observation.state": state.tolist(),
        "action": (state / 2).tolist(),
        "reward": frames.astype(np.float32),
        "frame_index": frames,
        "episode_index": np.full(len(frames), episode),
        "index": frames,
        "task_index": np.full(len(frames), episode % 2),
    }


def write_version_2(root: Path, splits: dict[str, str]) -> Path:
    (root / "meta").mkdir(parents=True)
    info = {
        "codebase_version": "v2.1",
        "fps": FPS,
        "chunks_size": 1000,
        "splits": splits,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/"
        "episode_{episode_index:06d}.mp4",
        "features": features(),
    }
    (root / "meta/info.json").write_text(json.dumps(info))
    lines = [
        json.dumps({"episode_index": e, "tasks": [TASKS[e % 2]], "length": n})
        for e, n in enumerate(LENGTHS)
    ]
    (root / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")
    tasks = [json.dumps({"task_index": n, "task": task}) for n, task in enumerate(TASKS)]
    (root / "meta/tasks.jsonl").write_text("\n".join(tasks))
    for folder in ("data/chunk-000", f"videos/chunk-000/{CAMERA}"):
        (root / folder).mkdir(parents=True)
    for episode, length in enumerate(LENGTHS):
        name = f"episode_{episode:06d}"
        pq.write_table(pa.table(rows(episode)), root / f"data/chunk-000/{name}.parquet")
        write_video(root / f"videos/chunk-000/{CAMERA}/{name}.mp4", num_frames=length)
    return root


def write_version_3(root: Path, splits: dict[str, str], *, key_frames: bool) -> Path:
    """All episodes in one file; each begins with a key frame, or only the first."""
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    info = {
        "codebase_version": "v3.0",
        "fps": FPS,
        "splits": splits,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": features(),
    }
    (root / "meta/info.json").write_text(json.dumps(info))
    ends = np.cumsum(LENGTHS)
    begins = ends - LENGTHS
    episodes = {
        "episode_index": range(len(LENGTHS)),
        "tasks": [[TASKS[e % 2]] for e in range(len(LENGTHS))],
        "length": LENGTHS,
        "stats/action/mean": [[0.0]] * len(LENGTHS),
        **{f"{where}/{k}_index": [0] * 3 for where in ("data", f"videos/{CAMERA}") for k in KEYS},
        f"videos/{CAMERA}/from_timestamp": begins / FPS,
        f"videos/{CAMERA}/to_timestamp": ends / FPS,
    }
    pq.write_table(pa.table(episodes), root / "meta/episodes/chunk-000/file-000.parquet")
    tasks = pd.DataFrame({"task_index": range(len(TASKS))}, index=pd.Index(TASKS, name="task"))
    tasks.to_parquet(root / "meta/tasks.parquet")
    for folder in ("data/chunk-000", f"videos/{CAMERA}/chunk-000"):
        (root / folder).mkdir(parents=True)
    table = pa.concat_tables([pa.table(rows(episode)) for episode in range(len(LENGTHS))])
    pq.write_table(table, root / "data/chunk-000/file-000.parquet")
    with av.open(str(root / f"videos/{CAMERA}/chunk-000/file-000.mp4"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS, options={"threads": "1"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 128, 96, "yuv420p", 250
        for episode, length in enumerate(LENGTHS):
            for number in range(length):
                pixels = spell(100 * episode + number, 128, 96)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                if key_frames and number == 0:
                    frame.pict_type = av.video.frame.PictureType.I
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return root


KEYS = ("chunk", "file")


def shown(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        frames: Any = container.decode(video=0)
        return [read_number(frame.to_ndarray(format="rgb24")) for frame in frames]


@pytest.mark.parametrize("version", ["2.1", "3 cut", "3 encoded anew"])
def test_every_frame_keeps_its_labels(version: str, tmp_path: Path) -> None:
    splits = {"train": "0:2", "test": "2:3"}
    if version == "2.1":
        write_version_2(tmp_path / "set", splits)
    else:
        write_version_3(tmp_path / "set", splits, key_frames=version == "3 cut")
    summary = write_lerobot(tmp_path / "set", tmp_path / "out")
    assert not summary.skipped
    assert summary.labels == ("state.elbow", "state.wrist", "action.0", "action.1", "reward")
    factors = pd.read_parquet(tmp_path / "out/factors.parquet")
    for episode, length in enumerate(LENGTHS):
        name = f"videos/{CAMERA}/episode_{episode:06d}.mp4"
        first = 0 if version == "2.1" else 100 * episode
        assert shown(tmp_path / "out" / name) == list(range(first, first + length))
        own = factors[factors["path"] == name]
        assert own["frame"].tolist() == list(range(length))
        assert own["state.elbow"].tolist() == [100 * episode + n for n in range(length)]
        assert set(own["task"]) == {TASKS[episode % 2]}
        assert set(own["split"]) == {"test" if episode == 2 else "train"}
    index = build_index(
        [tmp_path / "out/videos"], tmp_path / "videos.parquet", labels=LabelSources(group="episode")
    ).index
    assert index.num_frames.tolist() == list(LENGTHS)
    assert index.column("split")[2] == "test"
    assert index.column("group").tolist() == ["0", "1", "2"]


def test_a_set_with_training_episodes_alone_has_no_splits(tmp_path: Path) -> None:
    write_version_2(tmp_path / "set", {"train": "0:3"})
    write_lerobot(tmp_path / "set", tmp_path / "out")
    write_lerobot(tmp_path / "set", tmp_path / "out", cameras=[CAMERA])  # again
    assert "split" not in pd.read_parquet(tmp_path / "out/factors.parquet")


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(LeRobotError, match="no LeRobot data set"):
        write_lerobot(tmp_path, tmp_path / "out")
    root = write_version_2(tmp_path / "set", {})
    with pytest.raises(LeRobotError, match=f"camera top: the set has {CAMERA}"):
        write_lerobot(root, tmp_path / "out", cameras=["top"])
    (root / f"videos/chunk-000/{CAMERA}/episode_000001.mp4").unlink()
    summary = write_lerobot(root, tmp_path / "out")
    (reason,) = summary.skipped.values()
    assert reason.endswith("episode_000001.mp4 is missing")
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps({**info, "codebase_version": "v1.6"}))
    with pytest.raises(LeRobotError, match=r"version v1.6; 2 and 3 can be read"):
        write_lerobot(root, tmp_path / "out")
