"""What the experiments on moving digits share: their files, and test pairs with known factors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

from pipelines.evaluation.embed import EmbeddedPairs, embed, pairs_at_hand
from pipelines.evaluation.factors import factors_of
from pipelines.evaluation.probes import Kind, ProbeScore, linear_probe
from pipelines.recipes import SCENES
from pipelines.sources.digit_motion import SEGMENT_FRAMES, Setting
from pipelines.sources.moving_digits import write_moving_digits
from pipelines.storage.folder import Folder
from pipelines.training.learner import Learner
from pipelines.video.indexer import build_index
from pipelines.video.moved import find_indexed

Array = NDArray[Any]

VELOCITY = ("velocity_x", "velocity_y")


def write_digits(
    folder: Folder,
    name: str,
    *,
    num_videos: int,
    setting: Setting = "A",
    seed: int = 0,
    num_frames: int = SEGMENT_FRAMES,
    digits: int = 1,
    canvas: int = 64,
) -> str:
    """Write moving digits and their index below `folder`/data; returns the index."""
    assert folder.local is not None
    console, videos = Console(), folder.local / "data" / name
    write_moving_digits(
        videos,
        num_videos=num_videos,
        setting=setting,
        num_frames=num_frames,
        scenes=SCENES,
        digits=digits,
        canvas=canvas,
        seed=seed,
        console=console,
    )
    index = str((folder.local / "data" / f"{name}.parquet").absolute())
    build_index([videos], index, console=console)
    return index


@dataclass(frozen=True, kw_only=True)
class Split:
    """Embedded pairs of a split and what is known of them."""

    pairs: EmbeddedPairs
    factors: pd.DataFrame

    def labels(self, *names: str) -> Array:
        """Columns of the factors, a single one flat."""
        values: Array = self.factors[list(names)].to_numpy()
        return values[:, 0] if len(names) == 1 else values

    def features(self, *names: str) -> Array:
        """Embeddings side by side; `latent` is r."""
        parts = [
            self.pairs.latent.value.numpy()
            if name == "latent" and self.pairs.latent is not None
            else getattr(self.pairs, name)
            for name in names
        ]
        return np.concatenate(parts, axis=1)


Splits = Mapping[str, Split]
"""The splits train, val and test."""


def embedded(learner: Learner, num_pairs: Mapping[str, int]) -> Splits:
    """So many pairs of each split as the learner sees two moments, decoded in this process."""
    data = learner.config.data.model_copy(update={"views": "time"})
    index = find_indexed(data)
    splits = {}
    for name, most in num_pairs.items():
        pairs = embed(learner, pairs_at_hand(data, name, most))
        splits[name] = Split(pairs=pairs, factors=factors_of(pairs, index.select(split=name)))
    return splits


def probed(splits: Splits, sources: Sequence[str], asked: Sequence[str], kind: Kind) -> ProbeScore:
    """A linear probe fitted on training, regularised on validation and scored on test pairs."""
    x_train, x_val, x_test = (splits[s].features(*sources) for s in ("train", "val", "test"))
    y_train, y_val, y_test = (splits[s].labels(*asked) for s in ("train", "val", "test"))
    return linear_probe(x_train, y_train, x_test, y_test, kind=kind, validation=(x_val, y_val))
