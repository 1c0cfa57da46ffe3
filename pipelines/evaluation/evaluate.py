"""`adassl evaluate`: freeze the encoder and measure what it knows, on videos never trained on.

Probes read the labels and factors in a `factors.parquet` beside the videos: integers and words are
classes, fractions are values. They are fitted on training videos and tested on test videos.
Everything else needs no labels.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from adassl import diagnostics
from pipelines import figures
from pipelines.config.run import ConfigError, with_videos_root
from pipelines.evaluation import probes
from pipelines.evaluation.embed import EmbeddedPairs, embed, pairs_to_embed
from pipelines.storage.runs import RunFolder, best_state, newest_state
from pipelines.training.learner import (
    Learner,
    MakeMethod,
    dimension_metrics,
    latent_metrics,
    pair_metrics,
)
from pipelines.video.index import VideoIndex
from pipelines.video.moved import find_indexed

NOT_FACTORS = {"path", "frame", "split"}
NUM_SOURCES, NUM_FUTURES = 6, 5


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Flat metrics, and the pictures that were drawn."""

    metrics: dict[str, float]
    pictures: list[Path]


def evaluate(
    folder: RunFolder,
    *,
    checkpoint: str = "newest",
    split: str = "test",
    num_pairs: int = 2000,
    num_decoders: int = 1,
    draw: bool = True,
    make_method: MakeMethod | None = None,
    videos_root: str | None = None,
) -> Evaluation:
    """Evaluate a run on the connected cluster, on its test videos or those of another split.

    `make_method` is what the run was trained with, if not what its config describes; `videos_root`
    is the folder that holds the videos now, if they were moved.

    Raises:
        ConfigError: if the run has no such checkpoint or its index no video of the split.
    """
    config = with_videos_root(folder.config(), videos_root)
    state = newest_state(folder) if checkpoint == "newest" else best_state(folder)
    if state is None:
        raise ConfigError(f"{folder} has no {checkpoint} checkpoint yet; go on with `adassl train`")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    learner = Learner(config, device, make_method)
    learner.load_state_dict(state)
    index = find_indexed(config.data)
    test_videos = index.select(split=split)
    if not len(test_videos):
        raise ConfigError(
            f"{config.data.index} has no {split} video; index again with a larger --{split}-share"
        )

    def embedded(videos: VideoIndex) -> EmbeddedPairs:
        pairs = pairs_to_embed(config, videos, num_pairs, num_decoders=num_decoders)
        return embed(learner, pairs)

    test = embedded(test_videos)
    metrics = label_free(test)
    factors = factors_of(test, test_videos)
    if len(factors.columns):
        train_videos = index.select(split="train")
        train = embedded(train_videos)
        metrics |= probe(train, factors_of(train, train_videos), test, factors)
    named = {f"{split}/{name}": value for name, value in metrics.items()}
    if not draw:
        return Evaluation(metrics=named, pictures=[])
    pictures = _draw(folder, learner, test, factors)
    folder.publish()
    return Evaluation(metrics=named, pictures=pictures)


def label_free(pairs: EmbeddedPairs) -> dict[str, float]:
    """Collapse, spread and the use of r."""
    context, target = torch.from_numpy(pairs.context), torch.from_numpy(pairs.target)
    metrics = pair_metrics(context, target)
    metrics["representation_rankme"] = float(
        diagnostics.rankme(torch.from_numpy(pairs.representation))
    )
    if pairs.latent is not None:
        metrics |= latent_metrics(pairs.latent)
        metrics |= dimension_metrics(pairs.latent)
    return metrics


def factors_of(pairs: EmbeddedPairs, videos: VideoIndex) -> pd.DataFrame:
    """Labels and factors of each pair, by its video and, where there is one, its first frame.

    A table without a `frame` column holds for all frames of a video. No columns where there is no
    table.
    """
    tables = sorted({str(t) for t in videos.column("factors") if t})
    if not tables:
        return pd.DataFrame(index=range(len(pairs)))
    parts = []
    for table in tables:
        part = pd.read_parquet(table)
        part["path"] = [str(Path(table).parent / p) for p in part["path"]]
        parts.append(part)
    known = pd.concat(parts, ignore_index=True)
    wanted = pd.DataFrame({"path": pairs.path, "frame": pairs.start})
    keys = ["path", "frame"] if "frame" in known else ["path"]
    found = wanted.merge(known.drop_duplicates(keys), on=keys, how="left", validate="m:1")
    return found[[c for c in found.columns if c not in NOT_FACTORS]]


def probe(
    train: EmbeddedPairs, train_factors: pd.DataFrame, test: EmbeddedPairs, factors: pd.DataFrame
) -> dict[str, float]:
    """Linear and kNN probes of h, and linear ones of the edited embedding.

    What h cannot know, such as a change that is still to come, only the edited embedding can show.
    The mean weighs both alike for each factor: where r copies x+, the edited embedding knows all
    and h little.
    """
    metrics: dict[str, float] = {}
    scores: list[float] = []
    for name in factors.columns:
        seen = train_factors[name].notna().to_numpy(), factors[name].notna().to_numpy()
        values = (train_factors[name].to_numpy()[seen[0]], factors[name].to_numpy()[seen[1]])
        if min(len(np.unique(values[0])), len(values[1])) < 2:
            continue
        is_value = pd.api.types.is_float_dtype(factors[name])
        kind: probes.Kind = "value" if is_value else "class"
        if kind == "class" and not np.isin(values[1], values[0]).all():
            continue  # such as the identity of a glyph: no probe can know one it never saw
        groups = train.path[seen[0]]
        for source in ("representation", "edited"):
            features = getattr(train, source)[seen[0]], getattr(test, source)[seen[1]]
            prefix = "" if source == "representation" else "edited/"
            linear = probes.linear_probe(
                features[0], values[0], features[1], values[1], kind=kind, groups=groups
            )
            found = linear.metrics(name)
            metrics |= {prefix + key: value for key, value in found.items()}
            scores += [max(0.0, v) for k, v in found.items() if k.endswith(("_accuracy", "_r2"))]
            if source == "representation":
                near = probes.knn_probe(features[0], values[0], features[1], values[1], kind=kind)
                metrics |= near.metrics(name)
    if scores:
        metrics["probe/mean"] = float(np.mean(scores))
    return metrics


def nearest_futures(
    learner: Learner, pairs: EmbeddedPairs, sources: NDArray[np.int64], num_futures: int
) -> NDArray[np.int64] | None:
    """For each source the pairs whose x+ lies nearest to each of its sampled futures.

    Returns:
        Indices [sources, futures]; None for a method that has no futures to sample.
    """
    if not learner.method.has_futures:
        return None
    noise = learner.generator(learner.config.train.seed)
    clips = learner.to_input(pairs.clips[sources])
    samples = learner.method.futures(clips, num_futures, noise).float().cpu()
    bank = torch.from_numpy(pairs.target)
    return np.asarray((samples @ bank.T).argmax(dim=-1).T.numpy(), np.int64)


def _draw(
    folder: RunFolder, learner: Learner, test: EmbeddedPairs, factors: pd.DataFrame
) -> list[Path]:
    label = next(iter(factors.columns), None)
    colours = factors[label].to_numpy() if label else test.path
    pictures = [
        figures.projection(
            test.representation, colours, folder.figures / "projection.png", label=label or "video"
        )
    ]
    sources = np.arange(min(NUM_SOURCES, len(test)))
    nearest = nearest_futures(learner, test, sources, NUM_FUTURES)
    if nearest is not None:
        pictures.append(
            figures.futures(
                test.clips[sources],
                test.next_clips[sources],
                test.next_clips[nearest],
                folder.figures / "futures.png",
            )
        )
    return pictures
