"""One training on moving digits, judged on glyphs never trained on.

Probes are fitted on training videos, their regularisation is chosen on validation videos, and the
test videos are looked at once, at the end. Nothing of it reaches the encoder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pipelines.config.run import RunConfig, with_overrides
from pipelines.evaluation import probes
from pipelines.evaluation.embed import EmbeddedPairs, embed, pairs_at_hand
from pipelines.evaluation.evaluate import factors_of, label_free
from pipelines.experiments.moving_digits import forecasts
from pipelines.experiments.moving_digits.forecasts import Truth, VelocityReader
from pipelines.storage.runs import RunFolder, newest_state
from pipelines.training.learner import Learner
from pipelines.trials.trial import TrialJob, TrialRun, run_trial, train_on_videos
from pipelines.video.index import load_index

Array = NDArray[Any]

VELOCITY, CHANGE = ("velocity_x", "velocity_y"), ("change_x", "change_y")
MOST_PAIRS = {"train": 2000, "val": 600, "test": 1500}
SHOWN = 6
"""Sources of the test videos kept for pictures."""
WORLD_FILE = "forecasts.npz"
"""In the trial's folder: the arrays that the pictures are drawn from."""


def run_digit_trial(trial: Mapping[str, Any], *, job: TrialJob) -> None:
    """What Tune runs: train on the videos of the trial's setting of the law, and judge."""

    def body(this: TrialRun) -> dict[str, float]:
        config = with_overrides(this.config, {"data.index": index_of(this.config, this.setting)})
        return train_on_videos(this.with_config(config), judge)

    run_trial(trial, job=job, body=body)


def index_of(config: RunConfig, setting: str) -> str:
    """The index of the videos of a setting, beside that of the other."""
    return config.data.index.replace("{setting}", setting)


@dataclass(frozen=True, kw_only=True)
class Split:
    """Embedded pairs of a split and what is known of them."""

    pairs: EmbeddedPairs
    factors: pd.DataFrame

    def labels(self, *names: str) -> Array:
        """Columns of the factors, one of them flat."""
        values: Array = self.factors[list(names)].to_numpy()
        return values[:, 0] if len(names) == 1 else values

    def features(self, *names: str) -> Array:
        """Embeddings side by side; `latent` is r."""
        parts = [
            self.pairs.latent.value.numpy()
            if name == "latent" and self.pairs.latent is not None
            else getattr(self.pairs, name)
            for name in names
        ]
        return np.concatenate(parts, axis=1)

    @property
    def next_velocity(self) -> Array:
        """Of the clip that came, px/frame [pairs, 2]."""
        return self.labels(*VELOCITY) + self.labels(*CHANGE)


def judge(trial: TrialRun) -> dict[str, float]:
    """Probes, and futures against the law, on the test videos."""
    state = newest_state(trial.folder)
    assert state is not None
    torch.set_num_threads(1)
    learner = Learner(trial.config, torch.device("cpu"))
    learner.load_state_dict(state)
    splits = {name: embedded(learner, name) for name in ("train", "val", "test")}
    seed = trial.config.train.seed
    figures = {**label_free(splits["test"].pairs), **probe_metrics(splits, seed)}
    if learner.method.has_futures:
        figures |= future_metrics(learner, splits, trial.setting, trial.folder, seed)
    return {f"test/{name}": value for name, value in figures.items()}


def embedded(learner: Learner, split: str) -> Split:
    """The pairs of a split, decoded in this process."""
    data = learner.config.data
    pairs = embed(learner, pairs_at_hand(data, split, MOST_PAIRS[split]))
    videos = load_index(data.index).select(split=split)
    return Split(pairs=pairs, factors=factors_of(pairs, videos))


PROBED: dict[str, tuple[tuple[str, ...], tuple[str, ...], probes.Kind]] = {
    "digit": (("representation",), ("digit",), "class"),
    "digit_z": (("context",), ("digit",), "class"),
    "velocity": (("representation",), VELOCITY, "value"),
    "change_pair": (("context", "target"), CHANGE, "value"),
    "change_edited": (("edited",), CHANGE, "value"),
    "change_source_edited": (("context", "edited"), CHANGE, "value"),
    "change_latent": (("context", "latent"), CHANGE, "value"),
}
"""Figure → what is read, what is asked, and of which kind it is."""
BY_MLP_TOO = ("change_pair", "change_edited")


def probe_metrics(splits: Mapping[str, Split], seed: int) -> dict[str, float]:
    """Scores of linear probes, and of MLPs and neighbours where they say more."""
    figures: dict[str, float] = {}
    for name, (sources, asked, kind) in PROBED.items():
        if "latent" in sources and splits["train"].pairs.latent is None:
            continue
        x_train, x_val, x_test = (splits[s].features(*sources) for s in ("train", "val", "test"))
        y_train, y_val, y_test = (splits[s].labels(*asked) for s in ("train", "val", "test"))
        linear = probes.linear_probe(
            x_train, y_train, x_test, y_test, kind=kind, validation=(x_val, y_val)
        )
        figures[f"{name}/linear"] = linear.score
        if name in BY_MLP_TOO:
            mlp = probes.mlp_probe(
                x_train, y_train, x_test, y_test, kind=kind, validation=(x_val, y_val), seed=seed
            )
            figures[f"{name}/mlp"] = mlp.score
        if name == "digit":
            near = probes.knn_probe(x_train, y_train, x_test, y_test, kind=kind)
            figures["digit/knn"] = near.score
    return figures


def future_metrics(
    learner: Learner, splits: Mapping[str, Split], setting: Any, folder: RunFolder, seed: int
) -> dict[str, float]:
    """The sampled futures of the test sources as a forecast of what comes."""
    train, test = splits["train"], splits["test"]
    read = VelocityReader(train.pairs.target, train.next_velocity, seed=seed)
    truth = Truth(
        velocity=test.labels(*VELOCITY),
        next_velocity=test.next_velocity,
        digit=test.labels("digit"),
        setting=setting,
    )
    noise = torch.Generator().manual_seed(seed)
    clips = learner.to_input(test.pairs.clips)
    futures = forecasts.roll_out(
        learner.method, clips, forecasts.NUM_SAMPLES, forecasts.NUM_STEPS, noise
    )
    samples = [read(step) for step in futures]
    rng = np.random.default_rng(seed)
    figures = forecasts.forecast_metrics(samples[0], truth, rng)
    figures |= forecasts.path_metrics(samples[-1], truth, rng)
    figures |= forecasts.retrieval_metrics(futures[0], test.pairs.target)
    real = read(test.pairs.target) - truth.next_velocity
    figures["reader_r2"] = float(1 - real.var(axis=0).sum() / truth.next_velocity.var(0).sum())
    save_shown(folder, test, futures[0], samples[0], truth, rng)
    return {f"world/{name}": value for name, value in figures.items()}


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
    with folder.folder.writing(WORLD_FILE) as path, path.open("wb") as file:
        np.savez_compressed(
            file,
            sources=test.pairs.clips[moving],
            came=test.pairs.next_clips[moving],
            nearest=test.pairs.next_clips[nearest],
            samples=samples[moving],
            law=truth.draw(rng, forecasts.NUM_SAMPLES)[moving],
            velocity=truth.velocity[moving],
            next_velocity=truth.next_velocity[moving],
            ranks=ranks,
        )
