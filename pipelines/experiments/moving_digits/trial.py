"""One training on moving digits, evaluated on glyphs that were never trained on.

Probes are fitted on training videos, their regularisation is chosen on validation videos, and the
test videos are used once, at the end. Nothing of it reaches the encoder.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adassl.chains import chain_futures
from adassl.forecaster import Forecaster
from pipelines.config.run import RunConfig, with_overrides
from pipelines.evaluation import probes
from pipelines.evaluation.embed import context_embeddings
from pipelines.evaluation.evaluate import label_free
from pipelines.experiments.digits import VELOCITY, Split, Splits, embedded, probed
from pipelines.experiments.moving_digits import forecasts
from pipelines.experiments.moving_digits.forecasts import Truth, VelocityReader
from pipelines.experiments.trained import trained
from pipelines.storage.runs import RunFolder
from pipelines.training.learner import Learner
from pipelines.trials.trial import TrialJob, TrialRun, run_trial, train_on_videos

Array = NDArray[Any]

CHANGE = ("change_x", "change_y")
NUM_PAIRS = {"train": 2000, "val": 600, "test": 1500}
SHOWN = 6
"""Sources of the test videos kept for pictures."""
FORECAST_FILE = "forecasts.npz"
"""In the trial's folder: the arrays that the pictures are drawn from."""


def run_digit_trial(trial: Mapping[str, Any], *, job: TrialJob) -> None:
    """What Tune runs: train on the videos of the trial's setting, and evaluate."""

    def body(this: TrialRun) -> dict[str, float]:
        config = with_overrides(this.config, {"data.index": index_of(this.config, this.setting)})
        return train_on_videos(this.with_config(config), judge)

    run_trial(trial, job=job, body=body)


def index_of(config: RunConfig, setting: str) -> str:
    """The index of the videos of a setting, beside that of the other."""
    return config.data.index.replace("{setting}", setting)


def judge(trial: TrialRun) -> dict[str, float]:
    """Probes, and sampled futures against the true distribution, on the split of the trial.

    The score, by which settings are chosen, is the mean of what h knows of digit and velocity and
    (z, r), or (z, z+) where there is no r, of the change.
    """
    learner, state = trained(trial)
    learner.load_state_dict(state)
    split, seed = trial.split, trial.config.train.seed
    needed = {name: NUM_PAIRS[name] for name in dict.fromkeys(("train", "val", split))}
    found = embedded(learner, needed)
    splits = {**found, "test": found[split]}
    metrics = {**label_free(splits["test"].pairs), **probe_metrics(splits, seed)}
    change = metrics.get("change_latent/linear", metrics["change_pair/linear"])
    known = [metrics["digit/linear"], metrics["velocity/linear"], change]
    metrics["score"] = float(np.mean(known))
    if split == "test":
        metrics |= future_metrics(learner, splits, trial.setting, trial.folder, seed)
    return {f"{split}/{name}": value for name, value in metrics.items()}


PROBED: dict[str, tuple[tuple[str, ...], tuple[str, ...], probes.Kind]] = {
    "digit": (("representation",), ("digit",), "class"),
    "digit_z": (("context",), ("digit",), "class"),
    "velocity": (("representation",), VELOCITY, "value"),
    "change_pair": (("context", "target"), CHANGE, "value"),
    "change_edited": (("edited",), CHANGE, "value"),
    "change_source_edited": (("context", "edited"), CHANGE, "value"),
    "change_latent": (("context", "latent"), CHANGE, "value"),
}
"""Metric → what is read, what is asked, and of which kind it is."""
BY_MLP_TOO = ("change_pair", "change_edited")


def probe_metrics(splits: Splits, seed: int) -> dict[str, float]:
    """Scores of linear probes, and of MLPs and neighbours where they add something."""
    metrics: dict[str, float] = {}
    for name, (sources, asked, kind) in PROBED.items():
        if "latent" in sources and splits["train"].pairs.latent is None:
            continue
        metrics[f"{name}/linear"] = probed(splits, sources, asked, kind).score
        x_train, x_val, x_test = (s.features(*sources) for s in splits.values())
        y_train, y_val, y_test = (s.labels(*asked) for s in splits.values())
        if name in BY_MLP_TOO:
            mlp = probes.mlp_probe(
                x_train, y_train, x_test, y_test, kind=kind, validation=(x_val, y_val), seed=seed
            )
            metrics[f"{name}/mlp"] = mlp.score
        if name == "digit":
            near = probes.knn_probe(x_train, y_train, x_test, y_test, kind=kind)
            metrics["digit/knn"] = near.score
    return metrics


def future_metrics(
    learner: Learner, splits: Splits, setting: Any, folder: RunFolder, seed: int
) -> dict[str, float]:
    """The sampled futures of the test sources as a forecast of what comes.

    `forecast/` is of the prior that is fitted after training; `prior/` of the one that was learnt,
    where there is one, with its futures read as they come from the editor.
    """
    train, test = splits["train"], splits["test"]
    read = VelocityReader(train.pairs.target, next_velocity(train), seed=seed)
    truth = Truth(
        velocity=test.labels(*VELOCITY),
        next_velocity=next_velocity(test),
        digit=test.labels("digit"),
        setting=setting,
    )
    method, latent = learner.method, train.pairs.latent
    forecaster = Forecaster.fit(
        method,
        context_embeddings(learner, train.pairs.clips),
        torch.from_numpy(train.pairs.target),
        None if latent is None else latent.value,
    )
    embedded, noise = (
        context_embeddings(learner, test.pairs.clips),
        torch.Generator().manual_seed(seed),
    )
    futures = chain_futures(
        method,
        embedded,
        forecasts.NUM_SAMPLES,
        forecasts.NUM_STEPS,
        noise,
        forecaster=forecaster,
    ).numpy()
    samples = [read(step) for step in futures]
    rng = np.random.default_rng(seed)
    with torch.no_grad():  # the source's own embedding in the place of a future
        still = read(method.encode_target(learner.to_input(test.pairs.clips)).numpy())
    metrics = {"energy_no_change": forecasts.energy_of_point(still, truth)}
    metrics |= forecasts.forecast_metrics(samples[0], truth, rng)
    metrics |= forecasts.path_metrics(samples[-1], truth, rng)
    metrics |= forecasts.retrieval_metrics(futures[0], test.pairs.target)
    real = read(test.pairs.target) - truth.next_velocity
    metrics["reader_r2"] = float(1 - real.var(axis=0).sum() / truth.next_velocity.var(0).sum())
    save_shown(folder, test, futures[0], samples[0], truth, rng)
    found = {f"forecast/{name}": value for name, value in metrics.items()}
    if method.latent is not None and method.has_futures:
        learnt = method.futures_of(embedded, forecasts.NUM_SAMPLES, noise).transpose(0, 1).numpy()
        scores = forecasts.forecast_metrics(read(learnt), truth, rng)
        found |= {f"prior/{name}": scores[name] for name in ("energy", "spread", "slope")}
    return found


def next_velocity(split: Split) -> Array:
    """Of the clips that came, px/frame [pairs, 2]."""
    return split.labels(*VELOCITY) + split.labels(*CHANGE)


def save_shown(
    folder: RunFolder,
    test: Split,
    futures: Array,
    samples: Array,
    truth: Truth,
    rng: np.random.Generator,
) -> None:
    """What the pictures need: some sources with their nearest real futures, clouds and ranks."""
    moving = np.argsort(-truth.velocity.min(axis=1))[: 40 * SHOWN : 40][:SHOWN]
    nearest = (futures[moving, :16] @ test.pairs.target.T).argmax(axis=-1)
    ranks = (
        forecasts.rank_counts(samples, truth.next_velocity, rng)
        if samples.shape[1] > forecasts.NUM_RANKED
        else np.zeros(forecasts.NUM_RANKED + 1, np.int64)
    )
    with folder.folder.writing(FORECAST_FILE) as path, path.open("wb") as file:
        np.savez_compressed(
            file,
            sources=test.pairs.clips[moving],
            came=test.pairs.next_clips[moving],
            nearest=test.pairs.next_clips[nearest],
            samples=samples[moving],
            true=truth.draw(rng, forecasts.NUM_SAMPLES)[moving],
            velocity=truth.velocity[moving],
            next_velocity=truth.next_velocity[moving],
            ranks=ranks,
        )
