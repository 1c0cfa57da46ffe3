"""`adassl evaluate --protocol full`: one table of encoders, each beside simple baselines.

Rows are encoders: raw pixels, the same encoder untrained, the run's own, other runs, and the same
encoder trained with the labels. Columns are ways to read them, on the same pairs: linear and kNN
probes, an attentive probe, retrieval, linear probes of few labels, and of averages over the clips
of a video. Fitted on training videos, scored on test videos.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from adassl.backbones import Backbone
from pipelines.config.run import ConfigError
from pipelines.evaluation.embed import EmbeddedPairs, represent
from pipelines.evaluation.evaluate import labelled, restored
from pipelines.evaluation.factors import CHANGE
from pipelines.evaluation.probes import Array, ProbeScore
from pipelines.evaluation.questions import Question, questions
from pipelines.evaluation.trained_heads import (
    AttentiveProbe,
    Supervised,
    answer,
    num_outputs,
)
from pipelines.pairs.plan import find
from pipelines.pairs.table import PairTable
from pipelines.storage.runs import RunFolder
from pipelines.training.build import build
from pipelines.training.learner import Learner

Others = Mapping[str, tuple[Learner, EmbeddedPairs, EmbeddedPairs]]
"""Other runs by name: a learner, its training pairs and its test pairs."""
SHARES = (0.01, 0.1)
"""Of the labels, beside all of them."""
PIXELS = 16
"""Side in pixels to which frames are averaged for the probe of raw pixels."""
PROBE_EPOCHS, PROBE_RATE = 20, 1e-3
SUPERVISED_EPOCHS = 30


@dataclass(frozen=True, kw_only=True)
class Arm:
    """An encoder in the table: its features of all training and test pairs, and itself if any."""

    name: str
    train: Array
    test: Array
    backbone: Backbone | None = None


def pixels(pairs: EmbeddedPairs) -> Array:
    """The frames of x averaged to at most 16 x 16 pixels, flattened, in [0, 1]."""
    clips = torch.from_numpy(pairs.clips).permute(0, 1, 4, 2, 3).flatten(1, 2)
    side = min(PIXELS, clips.shape[-1])
    parts = [
        torch.nn.functional.adaptive_avg_pool2d(part.float() / 255, side)
        for part in clips.split(256)
    ]
    return np.asarray(torch.cat(parts).flatten(1).numpy())


def fresh_backbone(learner: Learner) -> Backbone:
    """The encoder as the run's config builds it, a pretrained one with its weights."""
    torch.manual_seed(learner.config.train.seed)
    backbone = build(learner.config).encoder.backbone
    assert isinstance(backbone, Backbone)
    return backbone.to(learner.device)


def floors_of(learner: Learner, train: EmbeddedPairs, test: EmbeddedPairs) -> Iterator[Arm]:
    """Raw pixels and the untrained encoder, which any training should be above."""
    yield Arm(name="raw pixels", train=pixels(train), test=pixels(test))
    untrained = fresh_backbone(learner)
    yield Arm(
        name="untrained",
        train=represent(learner, untrained, train.clips),
        test=represent(learner, untrained, test.clips),
        backbone=untrained,
    )


def arms_of(
    learner: Learner,
    train: EmbeddedPairs,
    test: EmbeddedPairs,
    others: Others,
) -> Iterable[Arm]:
    """Raw pixels, the untrained encoder, the run's own and those of other runs."""
    yield from floors_of(learner, train, test)
    for name, (own, own_train, own_test) in {"h": (learner, train, test), **others}.items():
        backbone = own.method.encoder.backbone
        yield Arm(
            name=name,
            train=own_train.representation,
            test=own_test.representation,
            backbone=backbone if isinstance(backbone, Backbone) else None,
        )


def score_arm(
    arm: Arm, question: Question, train: EmbeddedPairs, test: EmbeddedPairs, learner: Learner
) -> dict[str, float]:
    """Every way to read an encoder for one question; the mean over its values."""
    seed = learner.config.train.seed
    scores = {
        "linear": question.linear(arm.train, arm.test, groups=train.path),
        "knn": question.knn(arm.train, arm.test),
    }
    for share in SHARES:
        few = question.with_share(share, seed=seed)
        if few is not None:
            scores[f"linear_{share:.0%}"] = few.linear(arm.train, arm.test, groups=train.path)
    means = {name: float(np.mean(list(each.values()))) for name, each in scores.items()}
    if question.is_class:
        for k in (1, 5):
            means[f"recall@{k}"] = question.recall(k, arm.train, arm.test)
        averaged = question.by_video(arm.train, train.path, arm.test, test.path)
        if averaged is not None:
            means["linear_clips_averaged"] = averaged
    if arm.backbone is not None:
        torch.manual_seed(seed)
        example = learner.to_input(train.clips[:2])
        probe = AttentiveProbe(arm.backbone, example, num_outputs(question))
        means["attentive"] = answer(
            probe,
            question,
            train.clips,
            test.clips,
            learner.to_input,
            epochs=PROBE_EPOCHS,
            learning_rate=PROBE_RATE,
            seed=seed,
        ).score
    return means


def score_supervised(
    question: Question,
    train: EmbeddedPairs,
    test: EmbeddedPairs,
    learner: Learner,
    *,
    epochs: int = SUPERVISED_EPOCHS,
) -> ProbeScore:
    """The same encoder, trained with the labels of the training pairs."""
    network = Supervised(fresh_backbone(learner), num_outputs(question)).to(learner.device)
    return answer(
        network.requires_grad_(True),
        question,
        train.clips,
        test.clips,
        learner.to_input,
        epochs=epochs,
        learning_rate=learner.config.optim.learning_rate,
        seed=learner.config.train.seed,
    )


def title(question: Question) -> str:
    """The class or the value, or how many values or changes of values are averaged."""
    if len(question.names) == 1:
        return question.names[0]
    changes = all(name.endswith(CHANGE) for name in question.names)
    return f"{len(question.names)} {'changes' if changes else 'values'}"


def table(
    asked: Iterable[Question],
    learner: Learner,
    train: EmbeddedPairs,
    test: EmbeddedPairs,
    others: Others,
) -> pd.DataFrame:
    """One row for each question and encoder, one column for each way to read it.

    Accuracy for classes, R² for values, a mean over the values of a question.
    """
    rows = []
    arms = list(arms_of(learner, train, test, others))
    for question in asked:
        for each in question.parts():
            about = {"factor": title(each), "measure": "accuracy" if each.is_class else "R²"}
            for arm in arms:
                scores = score_arm(arm, each, train, test, learner)
                rows.append({**about, "encoder": arm.name, **scores})
            labelled_score = score_supervised(each, train, test, learner).score
            rows.append({**about, "encoder": "supervised", "linear": labelled_score})
    return pd.DataFrame(rows)


def compare(
    folder: RunFolder,
    *,
    beside: Iterable[RunFolder] = (),
    checkpoint: str = "newest",
    num_pairs: int = 2000,
    num_decoders: int = 1,
    videos_root: str | None = None,
) -> pd.DataFrame:
    """The table of a run and of others that were trained on the same videos; see `table`.

    It is written to the run's folder too, as protocol.csv.

    Raises:
        ConfigError: if a run or its checkpoint is missing, or there are no labels.
    """

    def both(learner: Learner) -> tuple[EmbeddedPairs, pd.DataFrame, EmbeddedPairs, pd.DataFrame]:
        index = find(learner.config.data)
        if isinstance(index, PairTable) and "text" in index.about.kinds.values():
            raise ConfigError(
                f"{folder}: the table of the full protocol is of pixels, and this is a table of "
                "texts; use --protocol probes"
            )
        train, known = labelled(learner, index, "train", num_pairs, num_decoders=num_decoders)
        test, factors = labelled(learner, index, "test", num_pairs, num_decoders=num_decoders)
        return train, known, test, factors

    learner = restored(folder, checkpoint, videos_root)
    train, known, test, factors = both(learner)
    asked = list(questions(known, factors))
    if not asked:
        raise ConfigError(
            f"{folder}: no labels beside its videos that a probe can learn; see docs/data.md"
        )
    others = {}
    for other in beside:
        own = restored(other, checkpoint, videos_root)
        own_train, _, own_test, _ = both(own)
        same = [
            np.array_equal(a.path, b.path) and np.array_equal(a.start, b.start)
            for a, b in ((train, own_train), (test, own_test))
        ]
        if not all(same):
            raise ConfigError(
                f"{other} does not see the pairs of {folder}: index, data.gap and "
                "data.frames_per_clip of both must be the same"
            )
        others[other.name] = own, own_train, own_test
    found = table(asked, learner, train, test, others)
    with folder.folder.writing("protocol.csv") as path:
        found.to_csv(path, index=False)
    return found


def metrics_of(found: pd.DataFrame) -> dict[str, float]:
    """The table as flat metrics: `test/protocol/digit/untrained/linear`."""
    metrics: dict[str, float] = {}
    for row in found.to_dict("records"):
        about = (row.pop("factor"), row.pop("encoder"), row.pop("measure"))
        place = f"test/protocol/{about[0]}/{about[1]}".replace(" ", "_")
        metrics |= {
            f"{place}/{name}".replace("%", "pc").replace("@", "_at_"): float(value)
            for name, value in row.items()
            if np.isfinite(value)
        }
    return metrics
