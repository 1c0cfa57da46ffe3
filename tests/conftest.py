"""A Ray of the tests' own, and small sets of real videos."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.sources.moving_digits import write_moving_digits
from pipelines.video.index import VideoIndex
from pipelines.video.indexer import build_index
from tests.videos import X265, write_video


@pytest.fixture(scope="session", autouse=True)
def _no_cluster_of_others() -> None:
    """No test joins a cluster or writes to a tracking server that happens to be named."""
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI", "RAY_API_SERVER_ADDRESS"):
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of 120 moving digits."""
    folder = tmp_path_factory.mktemp("digits")
    write_moving_digits(folder / "set", num_videos=120)
    build_index([folder / "set"], folder / "videos.parquet")
    return folder / "videos.parquet"


@pytest.fixture(scope="session")
def spelled(tmp_path_factory: pytest.TempPathFactory) -> VideoIndex:
    """Square videos of several codecs whose pixels spell their frame numbers."""
    folder = tmp_path_factory.mktemp("spelled")
    square: dict[str, Any] = {"width": 96, "height": 96}
    write_video(folder / "h264.mp4", **square)
    write_video(folder / "hevc.mp4", "libx265", options=X265, **square)
    write_video(folder / "hevc.mkv", "libx265", options=X265, num_frames=45, **square)
    gaps = np.random.default_rng(0).integers(10, 90, 60)
    write_video(folder / "variable.mp4", times_ms=np.cumsum(gaps) - gaps[0], **square)
    write_video(folder / "odd.mp4", width=97, height=97, pix_fmt="yuv444p")
    write_video(folder / "turned.mov", turn=90, **square)
    return build_index([folder], folder / "videos.parquet", val_share=0, test_share=0).index


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    """A local Ray with room for two workers and their decoders."""
    import ray

    from pipelines.cluster import quiet_ray

    quiet_ray()
    ray.init(
        num_cpus=5, include_dashboard=False, logging_config=ray.LoggingConfig(log_level="ERROR")
    )
    yield
    ray.shutdown()
