"""One training on a table of pairs, and what its encoder and its r know of pairs not trained on.

The same for images, texts and sounds; what is asked of each stands in its own module. Trials of the
tuning are judged on validation pairs, all others on test pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.config.data import DataConfig
from pipelines.config.run import ConfigError, with_overrides
from pipelines.evaluation.embed import EmbeddedPairs, embed, pairs_at_hand
from pipelines.evaluation.evaluate import label_free
from pipelines.evaluation.factors import CHANGE, factors_of, is_value, of_targets
from pipelines.evaluation.latent_action import SOURCES, features
from pipelines.evaluation.protocol import floors_of
from pipelines.evaluation.questions import questions
from pipelines.experiments.trained import trained
from pipelines.pairs.table import PairTable, find_table
from pipelines.training.learner import Learner
from pipelines.trials.trial import TASK, TrialJob, TrialRun, run_trial, train_on_videos

TABLE = f"{TASK}table"
"""The setting of an arm that names its table."""
FLOORS = f"{TASK}floors"
"""Whether it measures raw pixels and the untrained encoder too."""
FEWER = f"{TASK}fewer"
"""By how much the pairs that judge are divided."""
ALL_SOURCES: Mapping[str, Sequence[str]] = {"h": ("representation",), **SOURCES}
NEXT = "next_"
"""Begins the names of classes of x+."""

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Side:
    """Embedded pairs of a split and what is known of them; classes of x+ begin with `NEXT`."""

    pairs: EmbeddedPairs
    factors: pd.DataFrame
    table: PairTable


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished training, to be judged in its own process."""

    trial: TrialRun
    learner: Learner

    @property
    def split(self) -> str:
        """The split that judges it."""
        return self.trial.split

    @property
    def seed(self) -> int:
        """Of the training, and of what is drawn to judge it."""
        return self.learner.config.train.seed

    @property
    def is_shown(self) -> bool:
        """Whether it is one that the page may draw."""
        return self.split == "test" and self.seed == 0

    @property
    def sources(self) -> tuple[str, ...]:
        """What is asked: of a tuning h alone, by which it chooses; of a test all sources."""
        return ("h",) if self.split == "val" else tuple(ALL_SOURCES)

    @property
    def has_floors(self) -> bool:
        """Whether it measures what any training should be above."""
        return bool(self.trial.task.get("floors"))

    def data_of(self, name: str | None = None) -> DataConfig:
        """How entries are read, of its own table or of another one beside it."""
        data = self.learner.config.data
        index = str(Path(data.index).with_name(f"{name}.parquet")) if name else data.index
        return data.model_copy(update={"views": "time", "index": index})

    def side(self, split: str, num_pairs: int, *, name: str | None = None) -> Side:
        """Pairs of a split, read once for all trials of a process."""
        data = self.data_of(name)
        table = find_table(data).select(split=split)
        most = max(1, num_pairs // int(self.trial.task["fewer"]))
        pairs = embed(self.learner, pairs_at_hand(data, split, most))
        known = factors_of(pairs, table)
        return Side(pairs=pairs, factors=known.join(_next_classes(pairs, table)), table=table)


Measure = Callable[[Trained], dict[str, float]]
"""Metrics of a trained encoder, among them `score`, by which its settings are chosen."""


def run_pair_trial(trial: Mapping[str, Any], *, job: TrialJob, measure: Measure) -> None:
    """What Tune runs: the training job of `adassl train` on a table, and its evaluation."""

    def body(this: TrialRun) -> dict[str, float]:
        index = this.config.data.index.replace("{table}", str(this.task["table"]))
        config = with_overrides(this.config, {"data.index": index})
        return train_on_videos(this.with_config(config), partial(_judge, measure))

    run_trial(trial, job=job, body=body)


def _judge(measure: Measure, trial: TrialRun) -> dict[str, float]:
    learner, state = trained(trial)
    learner.load_state_dict(state)
    this = Trained(trial=trial, learner=learner)
    return {f"{this.split}/{name}": value for name, value in measure(this).items()}


def _next_classes(pairs: EmbeddedPairs, table: PairTable) -> pd.DataFrame:
    """The classes of x+ that the pairing rule leaves open."""
    known, rule = of_targets(pairs, table), table.rule
    given = () if rule is None or rule.corrupted else (*rule.columns, rule.within)
    open_ = [name for name in known if not is_value(known[name]) and name not in given]
    return known[open_].add_prefix(NEXT)


def knowledge(
    train: Side, test: Side, sources: Sequence[str] = tuple(ALL_SOURCES)
) -> dict[str, float]:
    """What is read of x from h, and of the change to x+ from each of the sources; collapse.

    `NAME/SOURCE` is the R² of a value or the accuracy of a class by a linear probe, such as
    `angle_change/z_r`; their means are `values/h`, `changes/z_r`. The sources are h and those of
    `latent_action.SOURCES`; r is asked of x too, of which it should tell little.
    """
    metrics = label_free(test.pairs)
    for source in sources:
        parts = ALL_SOURCES[source]
        known, unknown = features(train.pairs, parts), features(test.pairs, parts)
        if known is not None and unknown is not None:
            metrics |= answers(source, known, unknown, train, test, of_x=source in ("h", "r"))
    return metrics


def floors(this: Trained, train: Side, test: Side) -> dict[str, float]:
    """What is read of x from raw pixels and from the untrained encoder."""
    metrics: dict[str, float] = {}
    arms = floors_of(this.learner, train.pairs, test.pairs)
    for source, floor in zip(("raw", "untrained"), arms, strict=True):
        metrics |= answers(source, floor.train, floor.test, train, test, of_pair=False)
    return metrics


def answers(
    source: str,
    known: Array,
    unknown: Array,
    train: Side,
    test: Side,
    *,
    of_x: bool = True,
    of_pair: bool = True,
) -> dict[str, float]:
    """Scores of linear probes of features of all training and all test pairs, and their means.

    Args:
        source: names the metrics.
        known: features of the training pairs.
        unknown: features of the test pairs.
        train: the training pairs.
        test: the test pairs.
        of_x: whether values and classes of x are asked.
        of_pair: whether changes to x+ and classes of x+ are asked.
    """
    names = [name for name in map(str, train.factors) if (of_pair if _is_of_pair(name) else of_x)]
    metrics: dict[str, float] = {}
    means: dict[str, list[float]] = {}
    for asked in questions(train.factors[names], test.factors[names]):
        score = asked.linear_score(known, unknown, groups=train.pairs.path)
        for name, value in zip(asked.names, score.columns, strict=True):
            metrics[f"{name}/{source}"] = value
            if not asked.is_class:
                what = "changes" if name.endswith(CHANGE) else "values"
                means.setdefault(f"{what}/{source}", []).append(value)
    return metrics | {name: float(np.mean(scores)) for name, scores in means.items()}


def score_of(this: Trained, metrics: Mapping[str, float], name: str) -> float:
    """The metric that judges a trial.

    Raises:
        ConfigError: if it could not be asked.
    """
    if name not in metrics:
        raise ConfigError(
            f"{this.learner.config.data.index}: {name} cannot be asked of its {this.split} pairs; "
            "they show what no training pair does, or are too few: give more"
        )
    return metrics[name]


def _is_of_pair(name: str) -> bool:
    return name.endswith(CHANGE) or name.startswith(NEXT)
