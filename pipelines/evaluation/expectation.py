"""What a run expects to follow moments of a library: futures whose r are those of like pairs.

They are those of `adassl.forecaster`, fitted on training pairs of the run. Where its training
videos are not here, they are fitted on the library itself, for each video on the others: what came
must not be among what is expected. A method without r has one future, as its editor makes it: a
regression would take it to the mean of what may come.

Fitted on a library in which a third of the moments are cuts between scenes, futures expect cuts:
of the run of `make demo` the AUROC of cuts was 0.957 so, and 1.000 with training pairs, which lie
within scenes.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adassl.forecaster import Forecaster, folds_of
from adassl.next_clip import next_clip_temperature
from pipelines.errors import UserError
from pipelines.evaluation.embed import EmbeddedPairs, context_embeddings, embed, pairs_at_hand
from pipelines.numbers import plural
from pipelines.training.learner import Learner
from pipelines.video.pairs import TooManyFailuresError

TRAINING_PAIRS = 1024
MOST_FITTED = 16_384
"""Pairs of a library that a forecaster is fitted on, spread over it."""
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


@dataclass(frozen=True, kw_only=True)
class FittedPairs:
    """Embedded pairs of a split, as `Pairs` has them."""

    video: NDArray[np.int64]
    context: Tensor
    target: Tensor
    latent: Tensor | None


def pairs_of(learner: Learner, split: str, num_pairs: int) -> FittedPairs:
    """Pairs of a split of the run's own videos, decoded in this process.

    Raises:
        UserError: if the videos are not here.
        TooManyFailuresError: if too many of them cannot be decoded.
    """
    return fitted_pairs(
        learner, embed(learner, pairs_at_hand(learner.config.data, split, num_pairs))
    )


def fitted_pairs(learner: Learner, found: EmbeddedPairs) -> FittedPairs:
    """Pairs as an evaluation embeds them, with z of x not normalised."""
    return FittedPairs(
        video=np.unique(found.path, return_inverse=True)[1],
        context=context_embeddings(learner, found.clips),
        target=torch.from_numpy(found.target),
        latent=None if found.latent is None else found.latent.value,
    )


def trained_forecaster(learner: Learner) -> Forecaster | None:
    """A forecaster fitted on training pairs of the run.

    None for a method without r, and where the training videos are not here.
    """
    if learner.method.latent is None:
        return None
    try:
        pairs = pairs_of(learner, "train", TRAINING_PAIRS)
    except (UserError, TooManyFailuresError):
        return None
    return forecaster_of(learner, pairs, np.arange(len(pairs.video)))


def source_of(learner: Learner, forecaster: Forecaster | None) -> str:
    """What the futures are made of, in words; the forecaster is that of `trained_forecaster`."""
    if learner.method.latent is None:
        return "one future of each moment: the method has no r"
    if forecaster is None or forecaster.prior is None:
        return "futures fitted on the library itself, for the run's training videos are not here"
    return f"futures fitted on {plural(len(forecaster.prior.place), 'training pair')} of the run"


def forecaster_of(learner: Learner, pairs: Pairs, rows: NDArray[np.int64]) -> Forecaster | None:
    """A forecaster fitted on some of the pairs, on all if none are given.

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
    """Futures of the moments of a library.

    Args:
        learner: of the run.
        pairs: of the library.
        forecaster: fitted on other pairs; None: on those of the library, for each video on others.
    """

    def __init__(self, learner: Learner, pairs: Pairs, forecaster: Forecaster | None) -> None:
        self._learner, self._pairs = learner, pairs
        self._fold = folds_of(torch.from_numpy(pairs.video)).numpy()
        self._forecasters = {
            fold: forecaster or forecaster_of(learner, pairs, np.flatnonzero(self._fold != fold))
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


def spread(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """So many rows at most, evenly from all of them."""
    places = np.linspace(0, len(rows) - 1, min(most, len(rows)))
    return rows[np.unique(places.round().astype(np.int64))]
