"""Which factors are asked of a representation: the columns of labels that a probe can learn."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.evaluation import probes
from pipelines.evaluation.factors import CHANGE, is_value
from pipelines.evaluation.probes import Array


@dataclass(frozen=True, kw_only=True)
class Question:
    """A class, or values that are known of the same pairs.

    Attributes:
        names: of the columns; a class is alone.
        kind: what they are.
        train_rows: which training pairs have an answer.
        train: their answers, [pairs] for a class, [pairs, columns] for values.
        test_rows: which test pairs have one.
        test: their answers.
    """

    names: tuple[str, ...]
    kind: probes.Kind
    train_rows: NDArray[np.bool_]
    train: Array
    test_rows: NDArray[np.bool_]
    test: Array

    def linear(self, train: Array, test: Array, *, groups: Array) -> dict[str, float]:
        """The scores of `linear_score` by name."""
        return self.linear_score(train, test, groups=groups).metrics(*self.names)

    def linear_score(self, train: Array, test: Array, *, groups: Array) -> probes.ProbeScore:
        """Linear probes of features of all training and all test pairs.

        Args:
            train: features of all training pairs.
            test: of all test pairs.
            groups: the video of each training pair.
        """
        data = train[self.train_rows], self.train, test[self.test_rows], self.test
        groups = groups[self.train_rows]
        if self.is_class:
            return probes.linear_probe(*data, kind="class", groups=groups)
        return probes.value_probe(*data, groups=groups)

    def knn(self, train: Array, test: Array) -> dict[str, float]:
        """Probes by nearest neighbours of the same."""
        data = train[self.train_rows], self.train, test[self.test_rows], self.test
        return probes.knn_probe(*data, kind=self.kind).metrics(*self.names)

    @property
    def is_class(self) -> bool:
        """Whether it is a class."""
        return self.kind == "class"

    def parts(self) -> Iterator["Question"]:
        """Values and changes of values apart; a class as it is."""
        if self.is_class:
            yield self
            return
        is_change = np.array([name.endswith(CHANGE) for name in self.names])
        for chosen in (~is_change, is_change):
            if chosen.any():
                names = tuple(np.asarray(self.names)[chosen].tolist())
                train, test = self.train[:, chosen], self.test[:, chosen]
                yield replace(self, names=names, train=train, test=test)

    def score(self, predicted: Array) -> probes.ProbeScore:
        """Score of answers to the test pairs that have one."""
        columns = probes.scores(self.kind, self.test, predicted)
        return probes.ProbeScore(probe="linear", kind=self.kind, columns=columns)

    def with_share(self, share: float, *, seed: int) -> "Question | None":
        """The question with the labels of a share of the training pairs, of each class alike.

        At least one pair of each class, or ten pairs; None where that is not fewer than all.
        """
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(self.train))
        kinds = self.train[order] if self.is_class else np.zeros(len(order))
        least = 1 if self.is_class else 10
        chosen: list[int] = []
        for kind in np.unique(kinds):
            own = order[kinds == kind]
            chosen += own[: max(least, round(share * len(own)))].tolist()
        if len(chosen) >= len(order):
            return None
        few = np.sort(chosen)
        rows = np.zeros_like(self.train_rows)
        rows[np.flatnonzero(self.train_rows)[few]] = True
        return replace(self, train_rows=rows, train=self.train[few])

    def recall(self, k: int, train: Array, test: Array) -> float:
        """Share of test pairs of whose k nearest training pairs, by cosine, one is of their class.

        Queries are test pairs, the gallery is all training pairs: R@k of video retrieval.
        """
        gallery, queries = (
            x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
            for x in (train[self.train_rows], test[self.test_rows])
        )
        k = min(k, len(gallery))
        nearest = np.argpartition(-(queries @ gallery.T), k - 1, axis=1)[:, :k]
        return float((self.train[nearest] == self.test[:, None]).any(axis=1).mean())

    def by_video(
        self, train: Array, train_videos: Array, test: Array, test_videos: Array
    ) -> float | None:
        """Accuracy of a linear probe of features that are averaged over the clips of a video.

        None where a video has several classes.
        """
        sides: list[Array] = []
        for features, videos, rows, answers in (
            (train, train_videos, self.train_rows, self.train),
            (test, test_videos, self.test_rows, self.test),
        ):
            paths, first, numbers = np.unique(
                videos[rows].astype(str), return_index=True, return_inverse=True
            )
            if (answers[first][numbers] != answers).any():
                return None
            sums = np.zeros((len(paths), features.shape[1]))
            np.add.at(sums, numbers, features[rows])
            sides += [sums / np.bincount(numbers)[:, None], answers[first]]
        x, y, x_test, y_test = sides
        return probes.linear_probe(x, y, x_test, y_test, kind="class").score


def questions(train: pd.DataFrame, test: pd.DataFrame) -> Iterator[Question]:
    """The columns that both have and that vary.

    A class of which the test shows what training never did, such as the identity of an episode, is
    not asked: no probe can know one that it never saw.
    """
    values: dict[tuple[bytes, bytes], list[str]] = {}
    rows: dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]] = {}
    for name in test.columns.intersection(train.columns):
        known = train[name].notna().to_numpy(), test[name].notna().to_numpy()
        answers = train[name].to_numpy()[known[0]], test[name].to_numpy()[known[1]]
        if len(answers[1]) < 2 or len(np.unique(answers[0])) < 2:
            continue
        if is_value(test[name]):
            rows[name] = known
            values.setdefault((known[0].tobytes(), known[1].tobytes()), []).append(name)
        elif np.isin(answers[1], answers[0]).all():
            yield Question(
                names=(name,),
                kind="class",
                train_rows=known[0],
                train=answers[0],
                test_rows=known[1],
                test=answers[1],
            )
    for names in values.values():
        known = rows[names[0]]
        yield Question(
            names=tuple(names),
            kind="value",
            train_rows=known[0],
            train=train.loc[known[0], names].to_numpy(np.float64),
            test_rows=known[1],
            test=test.loc[known[1], names].to_numpy(np.float64),
        )
