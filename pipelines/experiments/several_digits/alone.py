"""Futures in which one digit alone varies, and whether it is the digit that was meant.

Each dimension of r goes to the digit whose change it tells most of, by the same rule for every
editor. A digit's futures are those in which only its dimensions are drawn and all others stay at
the posterior's mean for the pair. The velocities of all digits are read out of them, and the
variance over the samples shows which digits moved.

r is drawn by `adassl.forecaster.FittedPrior`, whose draws have the correlations and the spread that
r has near z. The learnt prior has neither: it is factorised, and free bits leave it apart from what
the posterior gives.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from adassl.forecaster import Forecaster
from adassl.variational import PosteriorLatent
from pipelines.evaluation.embed import context_embeddings, most_likely_latent, pairs_at_hand
from pipelines.experiments.digits import Splits
from pipelines.experiments.moving_digits.forecasts import VelocityReader
from pipelines.experiments.several_digits.scenes import Scenes
from pipelines.storage.runs import RunFolder
from pipelines.training.learner import Learner

Array = NDArray[Any]

NUM_PAIRS, NUM_SAMPLES = 250, 32
"""Test pairs whose futures are drawn, and futures of each for each digit."""
AT_ONCE = 250
"""Clips that are encoded at once."""
SHOWN = 4
"""Pairs that are kept for pictures."""
ALONE_FILE = "alone.npz"
"""In the trial's folder: the arrays that the pictures are drawn from."""


def digit_of_each(
    latent: Float[Array, "pairs latent"], changes: Float[Array, "pairs digits 2"]
) -> Int[Array, " latent"]:
    """The digit, from 0, whose change each dimension of r tells most of.

    By R² of a least-squares fit of the dimension to x and y of the change and to their sizes: r may
    tell that something changes apart from where to.
    """
    centred = latent - latent.mean(axis=0)
    left = []
    for change in changes.swapaxes(0, 1):
        features = np.column_stack([np.ones(len(change)), change, np.abs(change)])
        fit, *_ = np.linalg.lstsq(features, centred, rcond=None)
        left.append(((centred - features @ fit) ** 2).sum(axis=0))
    found: Int[Array, " latent"] = np.argmin(left, axis=0)
    return found


@dataclass(frozen=True, kw_only=True)
class FuturesAlone:
    """Draws futures of some pairs in which a part of r varies.

    Attributes:
        forecaster: fitted after training; with a prior.
        context_embedding: z of x, not normalised.
        latent: the posterior's mean for each pair.
    """

    forecaster: Forecaster
    context_embedding: Float[Tensor, "pairs dim"]
    latent: Float[Tensor, "pairs latent"]

    @torch.no_grad()
    def draw(
        self, own: Bool[Tensor, " latent"], num_samples: int, generator: torch.Generator
    ) -> Float[Array, "pairs samples dim"]:
        """Unit embeddings: `own` dimensions are drawn, the others stay at the mean."""
        assert self.forecaster.prior is not None
        drawn = self.forecaster.prior.sample(self.context_embedding, num_samples, generator)
        mixed = torch.where(own, drawn, self.latent)
        futures = self.forecaster.futures_of(self.context_embedding, mixed)
        embeddings: Float[Array, "pairs samples dim"] = futures.transpose(0, 1).numpy()
        return embeddings


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads the velocities of all digits out of unit embeddings of clips."""

    model: VelocityReader
    num_digits: int

    @classmethod
    def fit(
        cls,
        embeddings: Float[Array, "pairs dim"],
        velocities: Float[Array, "pairs digits 2"],
        seed: int,
    ) -> "Reader":
        """Fit to real clips of training videos."""
        flat = velocities.reshape(len(velocities), -1)
        model = VelocityReader(embeddings, flat, seed=seed)
        return cls(model=model, num_digits=velocities.shape[1])

    def __call__(self, embeddings: Float[Array, "*clips dim"]) -> Float[Array, "*clips digits 2"]:
        """Velocities, px/frame."""
        flat = self.model(embeddings)
        return flat.reshape(*flat.shape[:-1], self.num_digits, 2)

    def r2(
        self, embeddings: Float[Array, "pairs dim"], velocities: Float[Array, "pairs digits 2"]
    ) -> Float[Array, " digits"]:
        """R² of each digit, both axes together."""
        error = (self(embeddings) - velocities).var(axis=0).sum(axis=-1)
        found: Float[Array, " digits"] = 1 - error / velocities.var(axis=0).sum(axis=-1)
        return found


def variances(velocities: Float[Array, "pairs samples digits 2"]) -> Float[Array, " digits"]:
    """Variance over the samples of each digit's velocity, both axes, as a mean over the pairs."""
    found: Float[Array, " digits"] = velocities.var(axis=1).sum(axis=-1).mean(axis=0)
    return found


def share_of(variance: Float[Array, " digits"], meant: int) -> float:
    """Share of the variance that falls on the digit that was meant; 0 where nothing varies."""
    total = float(variance.sum())
    return float(variance[meant] / total) if total > 1e-12 else 0.0


def future_metrics(
    learner: Learner, splits: Splits, num_digits: int, folder: RunFolder, seed: int
) -> dict[str, float]:
    """How well futures vary one digit alone, for each digit and as a mean.

    `alone` is the share of the variance that falls on the digit that was meant, `width` the root of
    its variance over that of the true distribution, `dimensions` how many of r the digit got;
    `alone_true` is the share for clips that show one digit redrawn from the true distribution,
    which is what reader and encoder allow; `spread` is as `width` with all of r drawn; `reader_r2`
    that of the reader on real clips. With one digit there are no shares.
    """
    train, test = splits["train"], splits["test"]
    assert train.pairs.latent is not None
    of_train, of_test = Scenes.of(train, num_digits), Scenes.of(test, num_digits)
    num_pairs = min(NUM_PAIRS, len(test.pairs))
    scenes = Scenes.of(test, num_digits, num_pairs)
    read = Reader.fit(train.pairs.target, of_train.next_velocity, seed)
    futures = FuturesAlone(
        forecaster=Forecaster.fit(
            learner.method,
            context_embeddings(learner, train.pairs.clips),
            torch.from_numpy(train.pairs.target),
            train.pairs.latent.value,
        ),
        context_embedding=context_embeddings(learner, test.pairs.clips[:num_pairs]),
        latent=posterior_means(learner, num_pairs),
    )
    digit_of = torch.from_numpy(digit_of_each(train.pairs.latent.value.numpy(), of_train.change))
    noise, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    all_drawn = variances(read(futures.draw(digit_of >= 0, NUM_SAMPLES, noise)))
    reader_r2 = read.r2(test.pairs.target, of_test.next_velocity)
    metrics: dict[str, float] = {}
    samples, true = [], []
    for meant in range(num_digits):
        own = digit_of == meant
        samples.append(read(futures.draw(own, NUM_SAMPLES, noise)))
        changes = scenes.redrawn(meant, NUM_SAMPLES, rng)
        true.append(scenes.velocity[:, None] + changes)
        of_futures, true_variance = variances(samples[-1]), variances(true[-1])[meant]
        found = {
            "dimensions": own.sum(),
            "width": np.sqrt(of_futures[meant] / true_variance),
            "spread": np.sqrt(all_drawn[meant] / true_variance),
            "reader_r2": reader_r2[meant],
        }
        if num_digits > 1:
            clips = scenes.clips_after(changes, *test.pairs.clips.shape[1:3])
            seen = variances(read(embedded_clips(learner, clips)))
            found |= {
                "alone": share_of(of_futures, meant),
                "alone_true": share_of(seen, meant),
            }
        metrics |= {f"{name}_{meant + 1}": float(value) for name, value in found.items()}
    means = {name: [metrics[f"{name}_{k + 1}"] for k in range(num_digits)] for name in found}
    save_shown(folder, scenes, samples, true)
    return {**metrics, **{name: float(np.mean(values)) for name, values in means.items()}}


def save_shown(folder: RunFolder, scenes: Scenes, samples: list[Array], true: list[Array]) -> None:
    """What the pictures need, of the first pairs: [digit meant, pairs, samples, digits, 2]."""
    with folder.folder.writing(ALONE_FILE) as path, path.open("wb") as file:
        np.savez_compressed(
            file,
            samples=np.stack(samples)[:, :SHOWN],
            true=np.stack(true)[:, :SHOWN],
            velocity=scenes.velocity[:SHOWN],
            next_velocity=scenes.next_velocity[:SHOWN],
        )


@torch.no_grad()
def posterior_means(learner: Learner, num_pairs: int) -> Float[Tensor, "pairs latent"]:
    """The posterior's mean of r of the first test pairs, in the order of `embedded`."""
    method = learner.method.eval()
    assert isinstance(method.latent, PosteriorLatent)
    data = learner.config.data.model_copy(update={"views": "time"})
    found = []
    for batch in pairs_at_hand(data, "test", num_pairs).batches:
        pairs = method.encode_views(learner.views(batch))
        latent = most_likely_latent(method, pairs.source, pairs.steps[0].evidence)
        found.append(latent[: pairs.num_pairs])
    return torch.cat(found)[:num_pairs]


@torch.no_grad()
def embedded_clips(
    learner: Learner, clips: UInt8[Array, "pairs samples frames height width 1"]
) -> Float[Array, "pairs samples dim"]:
    """Unit embeddings of clips x+."""
    learner.method.eval()
    flat = clips.reshape(-1, *clips.shape[2:])
    parts = (flat[at : at + AT_ONCE] for at in range(0, len(flat), AT_ONCE))
    found = torch.cat([learner.method.encode_target(learner.to_input(part)) for part in parts])
    embeddings: Float[Array, "pairs samples dim"] = (
        found.float().unflatten(0, clips.shape[:2]).numpy()
    )
    return embeddings
