"""Forecasts that can be checked: sampled futures against the true distribution.

For moving digits the distribution of the next velocity given the source is known (`digit_motion`),
so a method's samples r ~ p(r | x) can be scored as a forecast: the next velocity is read out of
each sampled embedding and compared with what came and with draws of the true distribution.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pipelines.evaluation.forecasts import (
    crps,
    energy_score,
    rank_histogram,
    recall_at,
    uniformity_p,
)
from pipelines.sources.digit_motion import Setting, draw_changes

Array = NDArray[Any]

NUM_SAMPLES = 64
"""Futures of each source; the scores are fair for any number."""
NUM_RANKED, NUM_RETRIEVED = 19, 16
NUM_STEPS = 2
"""Of a roll-out."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is known of some pairs.

    Attributes:
        velocity: of the source, px/frame [pairs, 2].
        next_velocity: of the clip that came.
        digit: on which the true distribution depends in setting B.
        setting: of the true distribution.
    """

    velocity: Array
    next_velocity: Array
    digit: Array
    setting: Setting

    def draw(self, rng: np.random.Generator, num_samples: int) -> Array:
        """Next velocities of the true distribution: the best forecast [pairs, samples, 2]."""
        return self.velocity[:, None] + draw_changes(
            rng,
            setting=self.setting,
            digits=self.digit,
            velocities=self.velocity,
            num_samples=num_samples,
        )

    def draw_path(
        self, rng: np.random.Generator, num_samples: int, num_steps: int = NUM_STEPS
    ) -> Array:
        """Velocities after so many changes, one after another [pairs, samples, 2]."""
        velocity = np.repeat(self.velocity, num_samples, axis=0)
        digits = np.repeat(self.digit, num_samples)
        for _ in range(num_steps):
            velocity = (
                velocity
                + draw_changes(
                    rng, setting=self.setting, digits=digits, velocities=velocity, num_samples=1
                )[:, 0]
            )
        return velocity.reshape(len(self.velocity), num_samples, 2)


class VelocityReader:
    """Reads the velocity of a clip out of its unit embedding: an MLP fitted on training clips.

    Velocities have two numbers, or two for each of several digits.
    """

    def __init__(self, embeddings: Array, velocities: Array, *, seed: int) -> None:
        """Fit on real clips of training videos: unit embeddings and their velocities."""
        self._mean, self._sd = velocities.mean(axis=0), velocities.std(axis=0)
        network = MLPRegressor(
            hidden_layer_sizes=(128,), early_stopping=True, max_iter=300, random_state=seed
        )
        self._model = make_pipeline(StandardScaler(), network)
        with threadpool_limits(limits=1):  # as in pipelines/evaluation/probes.py
            self._model.fit(embeddings, (velocities - self._mean) / self._sd)

    def __call__(self, embeddings: Array) -> Array:
        """Velocities, px/frame [..., numbers], of embeddings [..., dim]."""
        flat = self._model.predict(embeddings.reshape(-1, embeddings.shape[-1]))
        shape = (*embeddings.shape[:-1], len(self._mean))
        velocities: Array = flat.reshape(shape) * self._sd + self._mean
        return velocities


def forecast_metrics(samples: Array, truth: Truth, rng: np.random.Generator) -> dict[str, float]:
    """Scores of sampled next velocities [pairs, samples, 2], with those of the true distribution.

    `energy` and `crps` in px/frame, lower is better; `_oracle` marks the score of draws of the true
    distribution, `energy_last_velocity` that of the source's velocity, known exactly, as a point
    forecast. `spread` is the root of the mean variance over the true one; `rank_p` the p-value of
    a flat rank histogram; `share_x` and `share_y` the shares of futures whose larger change is
    along x and along y; `slope` how the latter depends on the digit (0.8/9 a digit in setting B);
    `cross` the median of the smaller over the larger change (truly 0).
    """
    oracle = truth.draw(rng, NUM_SAMPLES)
    came = truth.next_velocity
    changes, true_changes = (drawn - truth.velocity[:, None] for drawn in (samples, oracle))
    metrics = {
        "energy": energy_score(samples, came).mean(),
        "energy_oracle": energy_score(oracle, came).mean(),
        "energy_last_velocity": energy_of_point(truth.velocity, truth),
        "crps": np.mean([crps(samples[..., i], came[:, i]).mean() for i in (0, 1)]),
        "crps_oracle": np.mean([crps(oracle[..., i], came[:, i]).mean() for i in (0, 1)]),
        "spread": np.sqrt(samples.var(axis=1).mean() / oracle.var(axis=1).mean()),
        **axis_metrics(changes, truth.digit),
        **{f"{name}_oracle": share for name, share in axis_shares(true_changes).items()},
    }
    if samples.shape[1] > NUM_RANKED:
        counts = rank_counts(samples, came, rng)
        metrics["rank_p"] = uniformity_p(counts)
        metrics["rank_edges"] = counts[[0, -1]].sum() / counts.sum() * (NUM_RANKED + 1) / 2
    return {name: float(value) for name, value in metrics.items()}


def energy_of_point(velocities: Array, truth: Truth) -> float:
    """Energy score of one forecast velocity a pair [pairs, 2]: its mean distance from what came."""
    return float(energy_score(velocities[:, None], truth.next_velocity).mean())


def rank_counts(samples: Array, came: Array, rng: np.random.Generator) -> Array:
    """Rank histogram over both axes, of the first samples."""
    parts = [rank_histogram(samples[:, :NUM_RANKED, axis], came[:, axis], rng) for axis in (0, 1)]
    counts: Array = np.sum(parts, axis=0)
    return counts


def axis_shares(changes: Array) -> dict[str, float]:
    """Shares of the futures whose larger change is along x and along y; where none is, neither."""
    x, y = np.moveaxis(np.abs(changes), -1, 0)
    return {"share_x": float((x > y).mean()), "share_y": float((y > x).mean())}


def axis_metrics(changes: Array, digits: Array) -> dict[str, float]:
    """Along which axis the futures change, over all and by digit, and how clearly along one."""
    sizes = np.abs(changes)
    along_y = sizes[..., 1] > sizes[..., 0]
    by_digit = {d: float(along_y[digits == d].mean()) for d in range(10) if (digits == d).any()}
    slope = np.polyfit(list(by_digit), list(by_digit.values()), 1)[0] if len(by_digit) > 1 else 0.0
    larger = np.maximum(sizes.max(axis=-1), 1e-9)
    return {
        **axis_shares(changes),
        "slope": float(slope),
        "cross": float(np.median(sizes.min(axis=-1) / larger)),
        **{f"share_y/{digit}": share for digit, share in by_digit.items()},
    }


def retrieval_metrics(futures: Array, bank: Array) -> dict[str, float]:
    """Recall of the true next clip among all of the bank, by one future and by the best of some."""
    truth = np.arange(len(bank))
    metrics: dict[str, float] = {}
    for k in (1, 10):
        found = recall_at(k, futures[:, :NUM_RETRIEVED], bank, truth)
        metrics |= {f"recall_{k}": found.one, f"recall_{k}_best": found.best}
    return metrics


def path_metrics(samples: Array, truth: Truth, rng: np.random.Generator) -> dict[str, float]:
    """Energy score and spread of a roll-out's last velocities against one true path each."""
    came = truth.draw_path(rng, 1)[:, 0]
    oracle = truth.draw_path(rng, NUM_SAMPLES)
    return {
        "path_energy": float(energy_score(samples, came).mean()),
        "path_energy_oracle": float(energy_score(oracle, came).mean()),
        "path_spread": float(np.sqrt(samples.var(axis=1).mean() / oracle.var(axis=1).mean())),
    }
