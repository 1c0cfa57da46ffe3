"""One training on real videos, and what its encoder and its r know of videos never trained on.

Trials of the tuning are judged on validation videos, all others on test videos. Values are those
that change within a video; what differs from video to video alone, such as a light or an arm that
stands still, tells videos apart and no moments. Classes are those of whole videos.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.config.data import AugmentConfig
from pipelines.config.run import ConfigError, with_overrides
from pipelines.evaluation.embed import EmbeddedPairs, Moments, embed, pairs_at_hand
from pipelines.evaluation.evaluate import label_free
from pipelines.evaluation.factors import CHANGE, factors_of, is_value
from pipelines.evaluation.latent_action import SOURCES, carry_over, features, leakage
from pipelines.evaluation.probes import ProbeScore
from pipelines.evaluation.protocol import floors_of, score_supervised
from pipelines.evaluation.questions import Question, questions
from pipelines.experiments.pictures import keep_pictures
from pipelines.experiments.trained import trained
from pipelines.recipes import AUGMENT, WHOLE_FRAMES, settings_of
from pipelines.training.learner import Learner
from pipelines.trials.trial import TASK, TrialJob, TrialRun, run_trial, train_on_videos
from pipelines.video.index import VideoIndex
from pipelines.video.moved import find_indexed

INDEX = f"{TASK}index"
"""The setting of an arm that names its videos."""
FLOORS = f"{TASK}floors"
"""Whether it measures raw pixels, the untrained and the supervised encoder too."""
FEWER = f"{TASK}fewer"
"""By how much `NUM_PAIRS` are divided."""
VIEWS = f"{TASK}views"
"""How clips are augmented, one of `AUGMENTED`."""
AUGMENTED: Mapping[str, AugmentConfig] = {
    "whole": WHOLE_FRAMES,
    "most": AUGMENT.model_copy(update={"area": (0.8, 1.0)}),
    "parts": AUGMENT,
}
"""What fills a frame, as a sign does, is known by its place in it; what is small in it, as a hand
is, has to be found."""
GAP_SECONDS = 0.5
"""Between the two moments that are judged."""
NUM_PAIRS = {"train": 2000, "val": 600, "test": 1200}
NUM_LABELLED, EPOCHS = 6000, 6
"""Training pairs whose labels the supervised encoder has, and its passes over them."""
WITHIN = 0.5
"""Share of a value's variance that must lie within videos."""
KNOWN = 0.8
"""Share of the test videos whose class training pairs must show for it to be asked."""
HAND = ("hand", "gripper", "finger", "thumb")
"""Words in the names of values of a hand; all others are of an arm."""
ACTION = "action"
"""Begins the names of commands, which are not states."""

Array = NDArray[Any]


def run_real_trial(trial: Mapping[str, Any], *, job: TrialJob) -> None:
    """What Tune runs: the training job of `adassl train`, and its evaluation."""

    def body(this: TrialRun) -> dict[str, float]:
        index = this.config.data.index.replace("{group}", str(this.task["index"]))
        views = settings_of(AUGMENTED[str(this.task["views"])])
        config = with_overrides(this.config, {"data.index": index, **views})
        return train_on_videos(this.with_config(config), judge)

    run_trial(trial, job=job, body=body)


@dataclass(frozen=True, kw_only=True)
class Side:
    """Embedded pairs of a split and what is known of them."""

    pairs: EmbeddedPairs
    factors: pd.DataFrame


def judge(trial: TrialRun) -> dict[str, float]:
    """All metrics of a trained encoder, and `<split>/score`, by which settings are chosen.

    The score is the mean of what there is of: R² of arm and of hand from h, R² of their changes
    from (z, r), or z where there is no r, and the accuracy of classes from h.
    """
    learner, state = trained(trial)
    learner.load_state_dict(state)
    split = trial.split
    fewer = int(trial.task["fewer"])
    index = find_indexed(learner.config.data)
    train, test = (embedded(learner, index, s, NUM_PAIRS[s] // fewer) for s in ("train", split))
    values, classes = asked_of(
        train.factors, test.factors, train.pairs.path, of_tests=labels_of_tests(index)
    )
    metrics = {**label_free(test.pairs), **knowledge(values, classes, train.pairs, test.pairs)}
    score = [metrics[f"{name}/h"] for name in ("arm", "hand", "class") if f"{name}/h" in metrics]
    score += [metrics.get("change/z_r", metrics["change/z"])] if "change/z" in metrics else []
    if not score:
        raise ConfigError(
            f"{learner.config.data.index}: neither a value that changes within videos nor a class "
            f"of whole videos is known of both its training and its {split} videos"
        )
    metrics["score"] = float(np.mean(score))
    if split == "test":
        seed = trial.config.train.seed
        named = [name for asked in values for name in asked.names]
        carried = carry_over(learner, test.pairs, test.factors[named], seed=seed)
        metrics |= leakage(test.pairs, seed=seed)
        if carried is not None:
            metrics |= carried.metrics()
        if trial.task.get("floors"):
            metrics |= floors(learner, values, classes, train.pairs, test.pairs)
            labelled = embedded(learner, index, "train", NUM_LABELLED // fewer)
            metrics |= supervised(learner, labelled, test, of_tests=labels_of_tests(index))
        if seed == 0 and learner.method.latent is not None:
            keep_pictures(trial, learner, test.pairs, carried)
    return {f"{split}/{name}": value for name, value in metrics.items()}


def embedded(learner: Learner, index: VideoIndex, split: str, num_pairs: int) -> Side:
    """Pairs of two moments `GAP_SECONDS` apart, decoded once for all trials of a process."""
    data = learner.config.data
    same = {"gap": (GAP_SECONDS, GAP_SECONDS), "reuse": 1, "moments_per_video": 1}
    decoded = pairs_at_hand(data.model_copy(update=same), split, num_pairs)
    pairs = embed(learner, decoded)
    return Side(pairs=pairs, factors=factors_of(pairs, index.select(split=split)))


def labels_of_tests(index: VideoIndex) -> pd.DataFrame:
    """What is known of the first frame of each test video."""
    videos = index.select(split="test")
    nothing = np.zeros(len(videos), np.int64)
    return factors_of(Moments(path=videos.path, start=nothing, gap=nothing), videos)


def asked_of(
    train: pd.DataFrame, test: pd.DataFrame, videos: Array, *, of_tests: pd.DataFrame
) -> tuple[list[Question], list[Question]]:
    """The values that change within videos, with their changes, and the classes of videos.

    Values that are known of different pairs, as where a table ends before its video, are questions
    of their own. Only classes that are asked of test videos too: not the number of a session or of
    a track, of which the test videos have others. A class that the few training pairs of `--quick`
    happen to lack is not asked.
    """
    own = train.groupby(pd.Series(videos.astype(str), index=train.index))
    names = [str(name) for name in train.columns if not str(name).startswith(ACTION)]
    values = [n for n in names if is_value(train[n]) and not n.endswith(CHANGE)]
    inside = {n: own[n].transform(lambda x: x - x.mean()).var() / train[n].var() for n in values}
    moving = [n for n in values if inside[n] > WITHIN and n + CHANGE in names]
    whole = [n for n in names if not is_value(train[n]) and own[n].nunique().max() == 1]
    whole = [n for n in whole if of_tests[n].dropna().isin(train[n]).mean() >= KNOWN]
    known = test[whole].apply(lambda column: column.where(column.isin(train[column.name])))
    chosen = [*moving, *(n + CHANGE for n in moving)]
    classes: dict[bytes, Question] = {}  # a number and a name of one class are asked once
    for asked in questions(train[whole], known):
        if asked.is_class:
            classes.setdefault(pd.factorize(asked.train)[0].tobytes(), asked)
    return list(questions(train[chosen], test[chosen])), list(classes.values())


def knowledge(
    values: list[Question], classes: list[Question], train: EmbeddedPairs, test: EmbeddedPairs
) -> dict[str, float]:
    """What is read of values from h, of their changes from each source, and of classes from h."""
    metrics: dict[str, float] = {}
    sources = {
        "h": ("representation",),
        **SOURCES,
        "edited": ("edited",),
        "h_r": ("representation", "latent"),
    }
    for name, parts in sources.items():
        known, unknown = features(train, parts), features(test, parts)
        if known is not None and unknown is not None:
            metrics |= of_values(values, name, known, unknown, train.path)
    return metrics | of_classes(
        classes, "h", train, test, train.representation, test.representation
    )


def of_values(
    asked: Iterable[Question], source: str, train: Array, test: Array, videos: Array
) -> dict[str, float]:
    """R² from one source: `arm/h`, `hand/h`, `change/h`, `arm_change/h`, and `joint/NAME/h`."""
    answers = [each.linear(train, test, groups=videos) for each in asked]
    scores = chain.from_iterable(each.items() for each in answers)
    return by_part(((key.rpartition("/")[0], r2) for key, r2 in scores), source)


def by_part(scores: Iterable[tuple[str, float]], source: str) -> dict[str, float]:
    """Scores of values by name, and their means over arm, hand, and the changes of each."""
    groups: dict[str, list[float]] = {}
    metrics: dict[str, float] = {}
    for name, value in scores:
        part = "hand" if any(word in name.lower() for word in HAND) else "arm"
        if name.endswith(CHANGE):
            groups.setdefault("change", []).append(value)
            part += CHANGE
        else:
            metrics[f"joint/{name}/{source}"] = value
        groups.setdefault(part, []).append(value)
    return metrics | {f"{k}/{source}": float(np.mean(v)) for k, v in groups.items()}


def of_classes(
    asked: Iterable[Question],
    source: str,
    train: EmbeddedPairs,
    test: EmbeddedPairs,
    x_train: Array,
    x_test: Array,
) -> dict[str, float]:
    """Accuracy by a linear probe and by neighbours, and R@1: means over the classes."""
    found: dict[str, list[float]] = {}
    for question in asked:
        linear = question.linear(x_train, x_test, groups=train.path)
        scores = {
            "class": float(np.mean(list(linear.values()))),
            "class_knn": float(np.mean(list(question.knn(x_train, x_test).values()))),
            "class_recall_at_1": question.recall(1, x_train, x_test),
        }
        for name, score in scores.items():
            found.setdefault(f"{name}/{source}", []).append(score)
    return {name: float(np.mean(scores)) for name, scores in found.items()}


def floors(
    learner: Learner,
    values: list[Question],
    classes: list[Question],
    train: EmbeddedPairs,
    test: EmbeddedPairs,
) -> dict[str, float]:
    """The same of raw pixels and of the untrained encoder."""
    metrics: dict[str, float] = {}
    for source, floor in zip(("raw", "untrained"), floors_of(learner, train, test), strict=True):
        metrics |= of_values(values, source, floor.train, floor.test, train.path)
        metrics |= of_classes(classes, source, train, test, floor.train, floor.test)
    return metrics


def supervised(
    learner: Learner, train: Side, test: Side, *, of_tests: pd.DataFrame
) -> dict[str, float]:
    """The same encoder trained with labels, of more pairs than the probes have; its own answers."""
    values, classes = asked_of(train.factors, test.factors, train.pairs.path, of_tests=of_tests)

    def score(question: Question) -> ProbeScore:
        return score_supervised(question, train.pairs, test.pairs, learner, epochs=EPOCHS)

    found: dict[str, float] = {}
    for now in (part for asked in values for part in asked.parts()):
        if not now.names[0].endswith(CHANGE):  # which one moment does not show
            found |= dict(zip(now.names, score(now).columns, strict=True))
    metrics = by_part(found.items(), "supervised")
    scores = [score(question).score for question in classes]
    return metrics | ({"class/supervised": float(np.mean(scores))} if scores else {})
