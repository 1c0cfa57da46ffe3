"""The gap of each pair, against what the frames themselves say."""

from pathlib import Path

import numpy as np

from pipelines.config.data import DataConfig
from pipelines.evaluation.embed import gaps, pairs_at_hand
from pipelines.video.indexer import build_index
from tests.videos import read_number, write_video


def test_the_gap_is_that_between_the_frames(tmp_path: Path) -> None:
    for name, num_frames in (("a", 40), ("b", 25)):
        write_video(tmp_path / f"{name}.mp4", num_frames=num_frames)
    build_index([tmp_path], tmp_path / "videos.parquet", val_share=0, test_share=0)
    data = DataConfig(
        index=str(tmp_path / "videos.parquet"), frames_per_clip=1, gap=(2, 7), surrogate=True
    )
    pairs = pairs_at_hand(data, "train", 30)
    seen = set()
    for batch in pairs.batches:
        found = gaps(pairs.rows, batch.row)
        shown = [
            [read_number(clip[0]) for clip in clips] for clips in (batch.context, batch.target)
        ]
        assert found.tolist() == np.subtract(shown[1], shown[0]).tolist()
        assert batch.start.tolist() == shown[0]
        seen |= set(found.tolist())
    assert len(seen) > 3
    assert gaps(pairs.rows, np.array([-1])).tolist() == [0]
