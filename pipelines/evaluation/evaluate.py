"""`adassl evaluate`: freeze the encoder and measure what it knows, on videos never trained on.

Probes read the labels beside the videos, in tables, class folders and split lists: integers and
words are classes, fractions are values. They are fitted on training videos and tested on test
videos. Everything else needs no labels.
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
from pipelines.evaluation.embed import EmbeddedPairs, embed, pairs_to_embed
from pipelines.evaluation.factors import factors_of
from pipelines.evaluation.latent_action import latent_probes, leakage, mean_changes, transfer
from pipelines.evaluation.questions import questions
from pipelines.evaluation.similarity import similarity
from pipelines.pairs.plan import Index, find
from pipelines.pairs.table import PairTable
from pipelines.storage.runs import RunFolder, best_state, newest_state
from pipelines.training.learner import Learner, MakeMethod
from pipelines.training.metrics import dimension_metrics, latent_metrics, pair_metrics

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
    whole: bool = True,
    make_method: MakeMethod | None = None,
    videos_root: str | None = None,
) -> Evaluation:
    """Evaluate a run on the connected cluster, on its test videos or those of another split.

    `make_method` is what the run was trained with, if not what its config describes; `videos_root`
    is the folder that holds the videos now, if they were moved. Not `whole`, it is what trials are
    judged by: without pictures, and with the same metrics for a method with r and one without.

    Raises:
        ConfigError: if the run has no such checkpoint or its index no video of the split.
    """
    learner = restored(folder, checkpoint, videos_root, make_method)
    index = find(learner.config.data)
    test, factors = labelled(learner, index, split, num_pairs, num_decoders=num_decoders)
    metrics = label_free(test)
    if isinstance(index, PairTable):
        metrics |= similarity(learner, test, index)
    seed = learner.config.train.seed
    if len(factors.columns):
        train, known = labelled(learner, index, "train", num_pairs, num_decoders=num_decoders)
        metrics |= probe(train, known, test, factors)
        if whole:
            metrics |= latent_probes(train, known, test, factors)
            metrics |= mean_changes(metrics) | transfer(learner, test, factors, seed=seed)
    if whole:
        metrics |= leakage(test, seed=seed)
    named = {f"{split}/{name}": value for name, value in metrics.items()}
    if not whole:
        return Evaluation(metrics=named, pictures=[])
    pictures = _draw(folder, learner, test, factors)
    folder.publish()
    return Evaluation(metrics=named, pictures=pictures)


def restored(
    folder: RunFolder,
    checkpoint: str,
    videos_root: str | None = None,
    make_method: MakeMethod | None = None,
) -> Learner:
    """A run's learner as its newest or best checkpoint has it.

    Raises:
        ConfigError: if there is no run or no such checkpoint.
    """
    config = with_videos_root(folder.config(), videos_root)
    state = newest_state(folder) if checkpoint == "newest" else best_state(folder)
    if state is None:
        raise ConfigError(f"{folder} has no {checkpoint} checkpoint yet; go on with `adassl train`")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    learner = Learner(config, device, make_method)
    learner.load_state_dict(state)
    return learner


def labelled(
    learner: Learner, index: Index, split: str, num_pairs: int, *, num_decoders: int
) -> tuple[EmbeddedPairs, pd.DataFrame]:
    """Pairs of a split of its index, embedded on the connected cluster, and their labels.

    Raises:
        ConfigError: if the index has no video of the split.
    """
    config = learner.config
    videos = index.select(split=split)
    if not len(videos):
        raise ConfigError(
            f"{config.data.index} has nothing in the split {split}; make it again with a larger "
            f"--{split}-share"
        )
    pairs = embed(learner, pairs_to_embed(config, videos, num_pairs, num_decoders=num_decoders))
    return pairs, factors_of(pairs, videos)


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


def probe(
    train: EmbeddedPairs, train_factors: pd.DataFrame, test: EmbeddedPairs, factors: pd.DataFrame
) -> dict[str, float]:
    """Linear and kNN probes of h, and linear ones of the edited embedding.

    What h cannot know, such as a change that is still to come, only the edited embedding can show.
    The mean weighs both alike for each factor: where r copies x+, the edited embedding knows all
    and h little. Of two classes also the F1 of the rarer one, from h.
    """
    metrics: dict[str, float] = {}
    minority: dict[str, float] = {}
    for asked in questions(train_factors, factors):
        for source, prefix in (("representation", ""), ("edited", "edited/")):
            features = getattr(train, source), getattr(test, source)
            score = asked.linear_score(*features, groups=train.path)
            metrics |= {prefix + key: value for key, value in score.metrics(*asked.names).items()}
            if source == "representation" and score.minority_f1 is not None:
                minority[asked.names[0]] = score.minority_f1
        metrics |= asked.knn(train.representation, test.representation)
    scores = [max(0.0, v) for k, v in metrics.items() if "/linear_" in k]
    if scores:
        metrics["probe/mean"] = float(np.mean(scores))
    if minority:
        metrics |= {f"{name}/minority_f1": score for name, score in minority.items()}
        metrics["probe/minority_f1_mean"] = float(np.mean(list(minority.values())))
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
    are_pictures = test.clips.dtype == test.next_clips.dtype == np.uint8
    nearest = nearest_futures(learner, test, sources, NUM_FUTURES) if are_pictures else None
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
