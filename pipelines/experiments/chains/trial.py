"""One training on pairs or chains of moving digits, judged by its futures of one to three steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adassl.chains import chain_futures
from pipelines.evaluation.embed import Moments, pairs_at_hand
from pipelines.evaluation.factors import factors_of
from pipelines.evaluation.forecasts import energy_score
from pipelines.evaluation.probes import Kind, linear_probe
from pipelines.experiments.digits import VELOCITY
from pipelines.experiments.moving_digits.forecasts import (
    Truth,
    VelocityReader,
    retrieval_metrics,
)
from pipelines.experiments.moving_digits.trial import CHANGE
from pipelines.experiments.trained import trained
from pipelines.sources.digit_motion import CHANGE_EVERY
from pipelines.training.learner import Learner
from pipelines.trials.trial import TrialJob, TrialRun, run_trial, train_on_videos
from pipelines.video.moved import find_indexed

Array = NDArray[Any]

NUM_FRAMES = 22
"""Of a scene: the moments at frames 0, 6, 12 and 18, each of three frames at one velocity. Its half
is a multiple at which pairs of moments begin that do not reach into the next scene."""
NUM_MOMENTS = 4
STEPS = tuple(range(1, NUM_MOMENTS))
"""The setting that names the split that judges."""
NUM_CHAINS = {"train": 1500, "val": 500, "test": 1000}
NUM_SAMPLES = 64


def run_chain_trial(trial: Mapping[str, Any], *, job: TrialJob) -> None:
    """What Tune runs: the training job of `adassl train`, and its futures."""
    run_trial(trial, job=job, body=lambda this: train_on_videos(this, judge))


@dataclass(frozen=True, kw_only=True)
class EmbeddedChains:
    """Chains of a split and what is known of them.

    Attributes:
        representation: h of x_1.
        contexts: z of x_1, not normalised.
        moments: unit embeddings of x_1 to x_4, by the encoder of targets [chains, 4, dim].
        velocities: of each, px/frame [chains, 4, 2].
        digits: of each chain.
    """

    representation: Array
    contexts: torch.Tensor
    moments: Array
    velocities: Array
    digits: Array


def judge(trial: TrialRun) -> dict[str, float]:
    """Forecasts of one to three steps and probes of h, on the split that the trial names."""
    learner, state = trained(trial)
    learner.load_state_dict(state)
    learner.method.eval()
    split, seed = trial.split, trial.config.train.seed
    chains = {name: embedded_chains(learner, name) for name in {"train", "val", split}}
    metrics = forecast_metrics(learner, chains["train"], chains[split], seed)
    metrics |= {name: probed(chains, split, name) for name in ("digit", "velocity")}
    return {f"{split}/{name}": value for name, value in metrics.items()}


def probed(chains: Mapping[str, EmbeddedChains], split: str, asked: str) -> float:
    """A linear probe of h for the digit or the velocity of x_1, scored on a split."""
    train, val, test = (
        (each.representation, each.digits if asked == "digit" else each.velocities[:, 0])
        for each in (chains["train"], chains["val"], chains[split])
    )
    kind: Kind = "class" if asked == "digit" else "value"
    return linear_probe(*train, *test, kind=kind, validation=val).score


@torch.no_grad()
def embedded_chains(learner: Learner, split: str) -> EmbeddedChains:
    """Chains of four moments, the same for every arm, whatever it was trained on."""
    data = learner.config.data.model_copy(
        update={
            "moments_per_chain": NUM_MOMENTS,
            "start_multiple": NUM_FRAMES,
            "reuse": 1,
        }
    )
    pairs, method = pairs_at_hand(data, split, NUM_CHAINS[split]), learner.method
    found: dict[str, list[torch.Tensor]] = {"h": [], "z": [], "moments": []}
    for batch in pairs.batches:
        views = learner.views(batch)
        context = method.encode(views.context)
        found["h"].append(context.representation.float())
        found["z"].append(context.embedding.float())
        found["moments"].append(torch.stack([method.encode_target(x) for x in views.moments], 1))
    h, z, moments = (torch.cat(each)[: pairs.num_pairs] for each in found.values())
    paths = np.asarray(pairs.rows.index.path)
    path = np.concatenate([paths[batch.video] for batch in pairs.batches])[: pairs.num_pairs]
    start = np.concatenate([batch.start for batch in pairs.batches])[: pairs.num_pairs]
    index = find_indexed(data).select(split=split)
    gap = np.full(len(start), CHANGE_EVERY)
    known = [
        factors_of(Moments(path=path, start=start + step * CHANGE_EVERY, gap=gap), index)
        for step in range(NUM_MOMENTS - 1)
    ]
    velocities = [table[list(VELOCITY)].to_numpy(float) for table in known]
    velocities.append(velocities[-1] + known[-1][list(CHANGE)].to_numpy(float))
    return EmbeddedChains(
        representation=h.numpy(),
        contexts=z,
        moments=moments.numpy(),
        velocities=np.stack(velocities, axis=1),
        digits=known[0]["digit"].to_numpy(),
    )


def forecast_metrics(
    learner: Learner, train: EmbeddedChains, test: EmbeddedChains, seed: int
) -> dict[str, float]:
    """Scores of the futures of x_1 after each step, by what came in that very scene.

    `energy_N` in px/frame, lower is better, of futures that are edited again as they are;
    `rescaled/energy_N` of those that get the length of real embeddings first (`adassl.chains`);
    `score` is the better of the two at two steps, negative. `spread_N` is the root of the mean
    variance over the true one; `recall_1_N` how often the moment that came is found.
    """
    later = train.moments[:, 1:], train.velocities[:, 1:]
    read = VelocityReader(*(each.reshape(-1, each.shape[-1]) for each in later), seed=seed)
    metrics: dict[str, float] = {}
    for prefix, rescaled in (("", False), ("rescaled/", True)):
        futures = chain_futures(
            learner.method,
            test.contexts,
            NUM_SAMPLES,
            NUM_MOMENTS - 1,
            learner.generator(seed),
            rescaled=rescaled,
        ).numpy()
        for step in STEPS:
            found = scores(read(futures[step - 1]), test, step, np.random.default_rng(seed))
            if not rescaled:
                bank = test.moments[:, step]
                recall = retrieval_metrics(futures[step - 1], bank)
                found |= {name: recall[name] for name in ("recall_1", "recall_1_best")}
            metrics |= {f"{prefix}{name}_{step}": value for name, value in found.items()}
    still = read(test.moments[:, 0])
    for step in STEPS:
        came = test.velocities[:, step]
        real = read(test.moments[:, step]) - came
        metrics[f"reader_r2_{step}"] = float(1 - real.var(axis=0).sum() / came.var(axis=0).sum())
        for name, point in (("last_velocity", test.velocities[:, 0]), ("no_change", still)):
            metrics[f"energy_{name}_{step}"] = float(energy_score(point[:, None], came).mean())
    metrics["score"] = -min(metrics["energy_2"], metrics["rescaled/energy_2"])
    return metrics


def scores(
    samples: Array, test: EmbeddedChains, step: int, rng: np.random.Generator
) -> dict[str, float]:
    """Of sampled velocities [chains, samples, 2] after so many steps, and of true ones."""
    came = test.velocities[:, step]
    truth = Truth(
        velocity=test.velocities[:, 0], next_velocity=came, digit=test.digits, setting="A"
    )
    oracle = truth.draw_path(rng, NUM_SAMPLES, step)
    return {
        "energy": float(energy_score(samples, came).mean()),
        "energy_oracle": float(energy_score(oracle, came).mean()),
        "spread": float(np.sqrt(samples.var(axis=1).mean() / oracle.var(axis=1).mean())),
    }
