"""r as the action: what it tells of the change between two moments, and whether it carries over.

Of two moments of a robot's video r should be what was done between them. Three questions:

- *Probes.* What is read of each value and each change from r, from (z, r), and, to compare with,
  from z alone, from (z, z+) and from the edited embedding. Without r, only the last three.
- *Transfer.* r of one pair edits the context of a pair of another video. Among the other moments
  of that video, does the edited embedding find the one in which the same change has happened?
- *Leakage.* r should not tell which video it is from, as z does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from pipelines.evaluation import probes
from pipelines.evaluation.embed import EmbeddedPairs, context_embeddings
from pipelines.evaluation.factors import CHANGE
from pipelines.evaluation.questions import questions
from pipelines.training.learner import Learner

SOURCES: Mapping[str, tuple[str, ...]] = {
    "z": ("context",),
    "z_pair": ("context", "target"),
    "r": ("latent",),
    "z_r": ("context", "latent"),
}
"""What values are read from, by the prefix of the metric's name, beside h and the edited
embedding."""
AT = (1, 5)
"""Moments that transfer may name, the nearest first."""
DONORS = 8
"""Pairs of other videos whose r is carried over to each context."""
LEAST_MOMENTS = 10
"""Of a video, for transfer and leakage to be judged in it."""
_AT_ONCE = 512


def features(pairs: EmbeddedPairs, names: Sequence[str]) -> NDArray[np.float32] | None:
    """Embeddings side by side, with `latent` for r; None where there is no r."""
    parts = []
    for name in names:
        if name != "latent":
            parts.append(getattr(pairs, name))
        elif pairs.latent is None:
            return None
        else:
            parts.append(pairs.latent.value.numpy())
    return np.concatenate(parts, axis=1)


def latent_probes(
    train: EmbeddedPairs, train_factors: pd.DataFrame, test: EmbeddedPairs, factors: pd.DataFrame
) -> dict[str, float]:
    """R² of values and their changes from each of the sources: `z_r/arm_change/linear_r2`."""
    metrics: dict[str, float] = {}
    values = [asked for asked in questions(train_factors, factors) if not asked.is_class]
    for prefix, names in SOURCES.items():
        known, unknown = features(train, names), features(test, names)
        if known is None or unknown is None:
            continue
        for asked in values:
            answer = asked.linear(known, unknown, groups=train.path)
            metrics |= {f"{prefix}/{name}": value for name, value in answer.items()}
    return metrics


def mean_changes(metrics: Mapping[str, float]) -> dict[str, float]:
    """The mean R² over all changes by what they are read from: `change_mean/z_r`, `…/h`."""
    ending = f"{CHANGE}/linear_r2"
    by_source: dict[str, list[float]] = {}
    for name, value in metrics.items():
        if name.endswith(ending):
            by_source.setdefault(name.rpartition("/")[0].rpartition("/")[0] or "h", []).append(
                value
            )
    return {f"change_mean/{source}": float(np.mean(of)) for source, of in by_source.items()}


@dataclass(frozen=True, kw_only=True)
class Carried:
    """Each r of a donor, carried over to a context of another video: numbers of pairs.

    Attributes:
        contexts: the pairs whose x is edited.
        donors: the pairs that r is from.
        right: of the context's video, the pair in whose x+ the donor's change has happened.
        found: the pair whose x+ is nearest to the edited embedding.
        ranks: how many moments of the video are nearer than the right one.
        counts: how many moments the video has.
    """

    contexts: NDArray[np.int64]
    donors: NDArray[np.int64]
    right: NDArray[np.int64]
    found: NDArray[np.int64]
    ranks: NDArray[np.int64]
    counts: NDArray[np.int64]

    def metrics(self) -> dict[str, float]:
        """`transfer/recall_at_1`, `…_5` and the same by chance (`transfer/chance_at_1`, …)."""
        metrics = {}
        for most in AT:
            metrics[f"transfer/recall_at_{most}"] = float(np.mean(self.ranks < most))
            metrics[f"transfer/chance_at_{most}"] = float(np.mean(most / self.counts))
        return metrics


def transfer(
    learner: Learner, pairs: EmbeddedPairs, factors: pd.DataFrame, *, seed: int
) -> dict[str, float]:
    """The recall of `carry_over`; nothing where too little is known."""
    carried = carry_over(learner, pairs, factors, seed=seed)
    return {} if carried is None else carried.metrics()


@torch.no_grad()
def carry_over(
    learner: Learner, pairs: EmbeddedPairs, factors: pd.DataFrame, *, seed: int
) -> Carried | None:
    """How often an r from another video finds the moment in which the same change has happened.

    For each pair of a video, `DONORS` pairs of other videos give their change and their r. Of the
    moments x+ of the video, the right one is that whose values differ from the context's most
    nearly by the donor's change, in units of each value's spread. What is found is the moment
    nearest to the edited embedding. Without r, the edit is the same for every donor: the control.

    Returns:
        None where too little is known.
    """
    names = [n for n in factors.columns if n.endswith(CHANGE) and n.removesuffix(CHANGE) in factors]
    if not names or learner.method.objective.traits.assigns:  # which edits nothing
        return None
    change = factors[names].to_numpy(np.float64)
    before = factors[[n.removesuffix(CHANGE) for n in names]].to_numpy(np.float64)
    known = np.isfinite(change).all(axis=1) & np.isfinite(before).all(axis=1)
    scale = before[known].std(axis=0) if known.any() else np.ones(len(names))
    varies = scale > 0
    before, change = before[:, varies] / scale[varies], change[:, varies] / scale[varies]
    rng = np.random.default_rng(seed)
    contexts, donors, right, moments = [], [], [], []
    for path in np.unique(pairs.path[known].astype(str)):
        own = np.flatnonzero(known & (pairs.path == path))
        others = np.flatnonzero(known & (pairs.path != path))
        if len(own) < LEAST_MOMENTS or not len(others):
            continue
        after = before[own] + change[own]
        for context in own:
            chosen = rng.choice(others, min(DONORS, len(others)), replace=False)
            wanted = before[context] + change[chosen]
            contexts += [context] * len(chosen)
            donors += chosen.tolist()
            right += own[((wanted[:, None] - after) ** 2).sum(axis=2).argmin(axis=1)].tolist()
            moments += [own] * len(chosen)
    if not contexts:
        return None
    edited = _edited(learner, pairs, np.asarray(contexts), np.asarray(donors))
    target = torch.from_numpy(pairs.target)
    found, ranks = [], []
    for vector, answer, own in zip(edited, right, moments, strict=True):
        likeness = target[own] @ vector
        found.append(int(own[int(likeness.argmax())]))
        ranks.append(int((likeness > target[answer] @ vector).sum()))
    return Carried(
        contexts=np.asarray(contexts),
        donors=np.asarray(donors),
        right=np.asarray(right),
        found=np.asarray(found),
        ranks=np.asarray(ranks),
        counts=np.asarray([len(own) for own in moments]),
    )


def _edited(
    learner: Learner, pairs: EmbeddedPairs, contexts: NDArray[np.int64], donors: NDArray[np.int64]
) -> Tensor:
    """Unit embeddings of contexts, each edited by the r of a donor."""
    method = learner.method.eval()
    embedded = context_embeddings(learner, pairs.clips)
    parts = []
    for at in range(0, len(contexts), _AT_ONCE):
        rows = slice(at, at + _AT_ONCE)
        latent = None
        if pairs.latent is not None:
            latent = pairs.latent.value[donors[rows]].to(learner.device)
        edited = method.edit(embedded[contexts[rows]].to(learner.device), latent)
        parts.append(normalize(method.predictor(edited).float(), dim=-1).cpu())
    return torch.cat(parts)


def leakage(pairs: EmbeddedPairs, *, seed: int) -> dict[str, float]:
    """How well r and z tell which video a pair is from, beside chance.

    The vote of the nearest pairs, by cosine, among a half of the pairs of each video, for those of
    the other half.
    """
    if pairs.latent is None:
        return {}
    rng = np.random.default_rng(seed)
    halves = np.zeros(len(pairs), bool)
    videos = pairs.path.astype(str)
    for path in np.unique(videos):
        own = rng.permutation(np.flatnonzero(videos == path))
        if len(own) >= LEAST_MOMENTS:
            halves[own[: len(own) // 2]] = True
    fitted = np.unique(videos[halves])
    scored = ~halves & np.isin(videos, fitted)
    if len(fitted) < 2 or scored.sum() < 2:
        return {}
    metrics = {"leakage/chance": 1 / len(fitted)}
    for name, values in (("z", pairs.context), ("r", pairs.latent.value.numpy())):
        found = probes.knn_probe(
            values[halves],
            videos[halves],
            values[scored],
            videos[scored],
            kind="class",
            num_neighbors=5,
        )
        metrics[f"leakage/{name}"] = found.score
    return metrics
