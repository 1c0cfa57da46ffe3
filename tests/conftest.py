"""One Ray for all tests of a process, small sets of real videos, and which tests run together."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from pipelines.cli.app import QUIET_RAY
from pipelines.sources.moving_digits import write_moving_digits
from pipelines.video.index import VideoIndex, load_index
from pipelines.video.indexer import build_index
from tests.videos import X265, write_video

os.environ.update(QUIET_RAY)  # before Ray is imported, as the command line does it
os.environ.update(RAY_worker_niceness="0")  # or Ray's processes give way to the other tests
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is: each process has a core


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two processes share the tests: those on one cluster in one, and the long ones first.

    Every other file is a group of its own, so that its fixtures are made once.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            group = shared_cluster(item) or item.path.relative_to(item.config.rootpath)
            item.add_marker(pytest.mark.xdist_group(str(group)))
    items.sort(key=lambda i: (shared_cluster(i) is None, i.get_closest_marker("ray") is None))


def shared_cluster(item: pytest.Item) -> str | None:
    """The cluster of several test files on which a test runs."""
    fixtures = getattr(item, "fixturenames", ())
    return next((name for name in ("nodes", "ray_cluster") if name in fixtures), None)


@pytest.fixture(scope="session", autouse=True)
def _no_cluster_of_others() -> None:
    """No test joins a cluster or writes to a tracking server that happens to be named."""
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI", "RAY_API_SERVER_ADDRESS"):
        os.environ.pop(name, None)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first of the processes fills and the others find."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = shared / name, shared / f"{name}.done"
    with FileLock(shared / f"{name}.lock"):
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of 120 moving digits."""

    def make(folder: Path) -> None:
        write_moving_digits(folder / "set", num_videos=120)
        build_index([folder / "set"], folder / "videos.parquet")

    return made_once(tmp_path_factory, "digits", make) / "videos.parquet"


@pytest.fixture(scope="session")
def spelled(tmp_path_factory: pytest.TempPathFactory) -> VideoIndex:
    """Square videos of several codecs whose pixels spell their frame numbers."""
    square: dict[str, Any] = {"width": 96, "height": 96}

    def make(folder: Path) -> None:
        write_video(folder / "h264.mp4", **square)
        write_video(folder / "hevc.mp4", "libx265", options=X265, **square)
        write_video(folder / "hevc.mkv", "libx265", options=X265, num_frames=45, **square)
        gaps = np.random.default_rng(0).integers(10, 90, 60)
        write_video(folder / "variable.mp4", times_ms=np.cumsum(gaps) - gaps[0], **square)
        write_video(folder / "odd.mp4", width=97, height=97, pix_fmt="yuv444p")
        write_video(folder / "turned.mov", turn=90, **square)
        build_index([folder], folder / "videos.parquet", val_share=0, test_share=0)

    return load_index(made_once(tmp_path_factory, "spelled", make) / "videos.parquet")


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A Ray with room for two workers and their decoders, one for all tests of the process."""
    import ray

    from pipelines.cluster import DRIVER, quiet_ray

    quiet_ray()
    ray.init(
        num_cpus=5,
        resources={DRIVER: 1000.0},
        include_dashboard=False,
        logging_config=ray.LoggingConfig(log_level="ERROR"),
    )
    yield
    ray.shutdown()
