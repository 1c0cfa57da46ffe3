"""Videos that lie elsewhere than when the index was made."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config.data import DataConfig
from pipelines.config.run import ConfigError, RunConfig, with_overrides
from pipelines.pairs.plan import decoded_here, plan
from pipelines.video.index import load_index
from pipelines.video.indexer import build_index
from pipelines.video.moved import find_indexed
from pipelines.video.stream import Share
from tests.videos import write_video


@pytest.fixture
def library(tmp_path: Path) -> tuple[DataConfig, Path]:
    """An index and the folder to which its videos were moved, in another order of folders."""
    old, new = tmp_path / "old", tmp_path / "new"
    for part in ("a", "b"):
        (old / part).mkdir(parents=True)
        write_video(old / part / "clip.mp4", num_frames=5 if part == "a" else 6)
    pq.write_table(
        pa.table({"path": ["clip.mp4"], "split": ["val"]}), old / "a" / "factors.parquet"
    )
    build_index([old], tmp_path / "videos.parquet")
    (new / "deeper").mkdir(parents=True)
    shutil.move(old / "a", new / "deeper" / "a")
    shutil.move(old / "b", new / "c")
    return DataConfig(index=str(tmp_path / "videos.parquet")), new


def test_moved_videos_are_missed_in_words(library: tuple[DataConfig, Path]) -> None:
    data, _ = library
    with pytest.raises(ConfigError, match=r"2 of 2 videos .*a/clip\.mp4.*--videos-root FOLDER"):
        find_indexed(data)


def test_moved_videos_are_found_below_another_folder(library: tuple[DataConfig, Path]) -> None:
    data, new = library
    index = find_indexed(data.model_copy(update={"videos_root": str(new)}))
    assert list(index.path) == [str(new / "deeper/a/clip.mp4"), str(new / "c/clip.mp4")]
    assert index.factors[0] == [str(new / "deeper" / "a" / "factors.parquet")]
    with pytest.raises(ConfigError, match=r"2 of 2 videos .* are not there"):
        find_indexed(data.model_copy(update={"videos_root": str(new / "deeper" / "nowhere")}))


def test_files_alike_in_name_and_size_are_told_apart_by_their_content(
    library: tuple[DataConfig, Path],
) -> None:
    data, new = library
    original = new / "c" / "clip.mp4"
    (new / "aside" / "b").mkdir(parents=True)
    changed = bytearray(original.read_bytes())
    changed[-1] ^= 1
    (new / "aside" / "b" / "clip.mp4").write_bytes(changed)  # in the folder that the index names
    index = find_indexed(data.model_copy(update={"videos_root": str(new)}))
    assert index.path[1] == str(original)


def test_a_run_cuts_the_same_pairs_from_moved_videos(
    library: tuple[DataConfig, Path],
) -> None:
    data, new = library
    changes = {"data.index": data.index, "data.videos_root": str(new), "train.val_pairs": 0}
    small = {"data.gap": (1, 2), "train.global_batch_size": 2}
    run = plan(with_overrides(RunConfig(), {**changes, **small}))
    assert run.digest == load_index(data.index).digest()  # so the run may go on
    (batch,) = decoded_here(run.train, range(1), Share())
    assert (batch.row == [0, 1]).all()
    assert batch.context.any()


def test_where_the_videos_lie_is_no_part_of_what_is_trained() -> None:
    elsewhere = with_overrides(RunConfig(), {"data.videos_root": "/elsewhere"})
    assert elsewhere.fingerprint() == RunConfig().fingerprint()
