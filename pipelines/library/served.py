"""A registered encoder as MLflow serves it: rows of a path and a second to representations.

MLflow imports this module by the name that the model gives, and hands it the exported folder.
"""

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from adassl.loaded import LoadedEncoder, load
from pipelines.library.clip_reader import ClipReader
from pipelines.library.encoders import data_of
from pipelines.video.batch import Frames
from pipelines.video.frames import DecodeError

_AT_ONCE = 32


class ClipEmbedder:
    """The model, as `mlflow.pyfunc.load_model` gives it."""

    def __init__(self, encoder: LoadedEncoder) -> None:
        """Read clips as the encoder takes them."""
        self._encoder, self._reader = encoder, ClipReader(data_of(encoder.preprocessing))

    def predict(self, rows: pd.DataFrame, params: dict[str, Any] | None = None) -> NDArray[Any]:
        """The representation h of the clip that begins at each moment, float32 [rows, dim].

        Args:
            rows: `path` of a video, as this machine sees it, and `start_seconds`.
            params: none.

        Raises:
            ValueError: naming every row whose video cannot be read there.
        """
        clips: list[Frames] = []
        failed: list[str] = []
        moments = zip(rows["path"], rows["start_seconds"], strict=True)
        for number, (path, seconds) in enumerate(moments):
            try:
                clips.append(self._reader.clip(str(path), float(seconds)))
            except DecodeError as error:
                failed.append(f"row {number}: {error}")
        if failed:
            raise ValueError(
                f"{len(failed)} of {len(rows)} rows cannot be read: " + "; ".join(failed)
            )
        parts = [np.empty((0, self._encoder.encoder.output_dim), np.float32)]
        for at in range(0, len(clips), _AT_ONCE):
            h = self._encoder.embed_clip(torch.from_numpy(np.stack(clips[at : at + _AT_ONCE])))
            parts.append(h.float().cpu().numpy())
        return np.concatenate(parts)


def _load_pyfunc(data_path: str) -> ClipEmbedder:
    """What MLflow calls."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return ClipEmbedder(load(data_path, device=device))
