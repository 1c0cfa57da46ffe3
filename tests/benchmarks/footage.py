"""Videos big enough to matter, made once: a camera gliding over a random texture."""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image
from rich.console import Console

from pipelines.video.index import VideoIndex
from pipelines.video.indexer import build_index

NUM_FILES, NUM_FRAMES, FPS = 48, 300, 30
NUM_LARGE = 4


def footage(folder: Path, console: Console) -> VideoIndex:
    """48 H.264 files of 300 frames at 320×240, as libx264 makes them by default, indexed."""
    return _indexed(folder, "videos", NUM_FILES, (320, 240), console)


def large_footage(folder: Path, console: Console) -> VideoIndex:
    """4 files of 300 frames at 1920×1080, made likewise."""
    return _indexed(folder, "large", NUM_LARGE, (1920, 1080), console)


def _indexed(
    folder: Path, name: str, num_files: int, size: tuple[int, int], console: Console
) -> VideoIndex:
    videos = folder / name
    videos.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        list(pool.map(partial(_write, videos, size), range(num_files)))
    index = folder / f"{name}.parquet"
    return build_index([videos], index, val_share=0, test_share=0, console=console).index


def _write(folder: Path, size: tuple[int, int], number: int) -> None:
    path = folder / f"{number:03}.mp4"
    if path.exists():
        return
    width, height = size
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8))
    scene = np.asarray(coarse.resize((width + 380, height + 360), Image.Resampling.BICUBIC))
    temporary = path.with_suffix(".part")
    with av.open(str(temporary), "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for t in range(NUM_FRAMES):
            x = int(190 + 180 * np.sin(t / 37 + number))
            y = int(180 + 170 * np.cos(t / 29 + number))
            view = np.ascontiguousarray(scene[y : y + height, x : x + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode())
    temporary.rename(path)
