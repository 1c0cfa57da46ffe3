"""Small runs, videos of different scenes, and folders of embeddings with known vectors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image

from pipelines.config.run import RunConfig, with_overrides
from pipelines.library.parts import MANIFEST, VIDEOS, PartWriter
from pipelines.storage.folder import Folder
from pipelines.storage.runs import RunFolder
from pipelines.training.learner import Learner
from pipelines.video.index import SCHEMA

FPS = 25
SETTINGS = {
    "data.frame_size": 32,
    "backbone.hidden_dims": (4, 8, 16),
    "method.latent": "none",
    "method.editor": "identity",
    "train.steps": 10,
}


def made_run(folder: Path, *, seed: int = 0, scale: float = 1.0, **settings: Any) -> RunFolder:
    """A run with an untrained encoder, whose representations are `scale` times as long."""
    config = with_overrides(RunConfig(), {**SETTINGS, "train.seed": seed, **settings})
    learner = Learner(config, torch.device("cpu"))
    with torch.no_grad():
        for name, value in learner.method.encoder.backbone.named_parameters():
            if name == last_weight(learner):
                value.mul_(scale)
    return saved_run(folder, learner)


def saved_run(folder: Path, learner: Learner) -> RunFolder:
    """Write a learner as a run whose only checkpoint it is."""
    run = RunFolder(folder)
    run.register(learner.config, "digest")
    run.checkpoints.save(max(1, learner.step), learner.state_dict(), best_value=1.0)
    return run


def last_weight(learner: Learner) -> str:
    names = [n for n, v in learner.method.encoder.backbone.named_parameters() if v.ndim > 1]
    return names[-1]


def write_scene(path: Path, seed: int, *, num_frames: int = 60) -> Path:
    """A camera gliding over a coarse texture of its own."""
    rng = np.random.default_rng(seed)
    texture = Image.fromarray(rng.integers(0, 255, (5, 6, 3), dtype=np.uint8))
    scene = np.asarray(texture.resize((128 + num_frames, 96), Image.Resampling.BICUBIC))
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.gop_size = 20
        for at in range(num_frames):
            view = np.ascontiguousarray(scene[20:68, at : at + 64])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode())
    return path


def made_library(
    folder: Path,
    vectors: NDArray[np.floating[Any]],
    paths: Sequence[str],
    starts: Sequence[float],
    splits: Sequence[str | None] | None = None,
    *,
    what: str = "z",
    number: int = 0,
) -> Path:
    """A folder with one part more: clips of 3 frames at 25 frames/s with these vectors."""
    place = Folder(folder)
    values = vectors.astype(np.float16)
    frames = np.rint(np.asarray(starts) * FPS).astype(np.int64)
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    rows = pa.table(
        {
            "path": pa.array(list(paths), pa.string()),
            "digest": pa.array([f"digest of {path}" for path in paths], pa.string()),
            "split": pa.array(splits or [None] * len(paths), pa.string()),
            "start_frame": frames,
            "start_seconds": frames / FPS,
            "end_seconds": (frames + 3) / FPS,
            what: fixed,
        }
    )
    writer = PartWriter(place, number)
    writer.add(rows)
    writer.write()
    manifest = {
        "run": str(folder / "no-run"),
        "checkpoint": "newest",
        "step": 1,
        "fingerprint": "f",
        "weights": "w",
        "index": "index",
        "stride_seconds": 1.0,
        "frames_per_clip": 3,
        "what": what,
        "precision": "float16",
    }
    place.write_json(MANIFEST, manifest)
    pq.write_table(pa.Table.from_pylist([], schema=SCHEMA), folder / VIDEOS)
    return folder
