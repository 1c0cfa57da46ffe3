"""What a run expects to follow moments of a library, by what the rest of the library shows.

Futures are those of `adassl.forecaster`, fitted on pairs of the library itself: no labels, and no
pair of the video that is asked about, or what came would be among what it expects. A method without
r has one future, as its editor makes it: a regression would take it to the mean of what may come.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adassl.forecaster import Forecaster
from adassl.next_clip import next_clip_temperature
from pipelines.training.learner import Learner

FOLDS = 4
MOST_FITTED = 16_384
"""Pairs that a forecaster is fitted on, spread over the library."""
PAIRS_FOR_TEMPERATURE, FUTURES_FOR_TEMPERATURE = 512, 16
NOISE_SEED = 3_000_017


class Pairs(Protocol):
    """Embedded pairs, as those of a library are."""

    @property
    def video(self) -> NDArray[np.int64]:
        """Of each."""

    @property
    def context(self) -> Tensor:
        """Z of x, not normalised [pairs, dim]."""

    @property
    def target(self) -> Tensor:
        """Unit embeddings of x+ [pairs, dim]."""

    @property
    def latent(self) -> Tensor | None:
        """R of each [pairs, latent]; None for a method without r."""


def forecaster_of(learner: Learner, pairs: Pairs, rows: NDArray[np.int64]) -> Forecaster | None:
    """A forecaster fitted on some pairs of a library, on all if none are given.

    None for a method without r.
    """
    if pairs.latent is None:
        return None
    rows = spread(rows if len(rows) else np.arange(len(pairs.video)), MOST_FITTED)
    parts = (part[rows].to(learner.device) for part in (pairs.context, pairs.target, pairs.latent))
    return Forecaster.fit(learner.method, *parts)


def futures_of(
    learner: Learner, forecaster: Forecaster | None, context: Tensor, num_samples: int
) -> Tensor:
    """Unit embeddings [samples, contexts, dim] of what may follow contexts z [contexts, dim]."""
    context = context.to(learner.device)
    if forecaster is None:
        return learner.method.futures_of(context, 1)
    return forecaster.futures(context, num_samples, learner.generator(NOISE_SEED))


class Expectation:
    """Futures of the moments of a library, each by other videos than its own.

    Args:
        learner: of the run.
        pairs: of the library.
    """

    def __init__(self, learner: Learner, pairs: Pairs) -> None:
        self._learner, self._pairs, self._fold = learner, pairs, folds_of(pairs.video)
        self._forecasters = {
            fold: forecaster_of(learner, pairs, np.flatnonzero(self._fold != fold))
            for fold in np.unique(self._fold).tolist()
        }

    def futures(self, rows: NDArray[np.int64], num_samples: int) -> Tensor:
        """Unit embeddings [samples, rows, dim]; a method without r has one sample."""
        found, order = [], []
        for fold in np.unique(self._fold[rows]).tolist():
            here = np.flatnonzero(self._fold[rows] == fold)
            context, forecaster = self._pairs.context[rows[here]], self._forecasters[fold]
            found.append(futures_of(self._learner, forecaster, context, num_samples))
            order.append(here)
        place = torch.from_numpy(np.argsort(np.concatenate(order))).to(self._learner.device)
        return torch.cat(found, dim=1)[:, place]

    def temperature(self) -> float:
        """The τ at which futures tell what came from what came at other moments best.

        At other moments of the same video where there are some: which video it is tells x itself.
        """
        pairs, learner = self._pairs, self._learner
        rows = spread(np.arange(len(pairs.video)), PAIRS_FOR_TEMPERATURE)
        futures = self.futures(rows, FUTURES_FOR_TEMPERATURE)
        target = pairs.target[rows].to(learner.device)
        group = torch.from_numpy(pairs.video[rows]).to(learner.device)
        within = next_clip_temperature(futures, target, group)
        return within if np.isfinite(within) else next_clip_temperature(futures, target)


def folds_of(video: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which of the folds each pair is in: whole videos, or stretches of the only one."""
    number = np.unique(video, return_inverse=True)[1]
    if not number.any():
        number = np.arange(len(video)) * FOLDS // len(video)
    return number % FOLDS


def spread(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """So many rows at most, evenly from all of them."""
    places = np.linspace(0, len(rows) - 1, min(most, len(rows)))
    return rows[np.unique(places.round().astype(np.int64))]
