"""`adassl experiment sound`: a spoken digit by different speakers and in different takes."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from pipelines.config.run import ConfigError, RunConfig, with_overrides
from pipelines.experiments.arm import Settings
from pipelines.experiments.grid import Experiment
from pipelines.experiments.pairs.methods import arms_of, experiment_of
from pipelines.experiments.pairs.sounds_page import DIGIT, DIGITS, page_of
from pipelines.experiments.pairs.trial import Trained, floors, knowledge, run_pair_trial, score_of
from pipelines.experiments.pictures import keep_pictures
from pipelines.pairs.make import make_table
from pipelines.recipes import recipe
from pipelines.sources.spoken_digits import read_spoken_digits
from pipelines.storage.folder import Folder
from pipelines.trials.trial import TrialJob

METHODS = ("infonce", "no-r", "v", "v-additive", "s")
QUICK = ("infonce", "v")
STEPS = 600
ALL = 10**6


def experiment(*, quick: bool, digits: Path | None = None) -> Experiment:
    """The full experiment, or a version of some minutes that shows that everything works.

    Args:
        quick: whether small.
        digits: a folder of the Free Spoken Digit Dataset.

    Raises:
        ConfigError: if it is missing.
    """
    if digits is None:
        raise ConfigError(
            "sound needs spoken digits: give --digits FOLDER of the Free Spoken Digit Dataset, "
            "with recordings/7_jackson_32.wav and so on"
        )
    settings: Settings = {"train.steps": STEPS}
    methods = QUICK if quick else METHODS
    arms = list(arms_of(DIGITS, methods, settings, table=DIGITS, quick=quick))
    return experiment_of(
        arms,
        base_config(),
        quick=quick,
        trial=run_sound_trial,
        prepare=partial(_prepare, digits=digits),
        report=page_of,
    )


def base_config() -> RunConfig:
    """The recipe `sounds`, with embeddings to which r may be added."""
    return with_overrides(
        recipe("sounds"),
        {
            "data.frame_size": 48,
            "data.sound_seconds": 0.7,
            "backbone.hidden_dims": [16, 32, 64, 128, 128],
            "method.embedding_dim": 32,
            "method.latent_dim": 32,
            "train.global_batch_size": 128,
            "train.checkpoint_every": 10_000,
            "optim.warmup_steps": 50,
            "tracking.experiment": "sound",
        },
    )


def run_sound_trial(trial: Mapping[str, Any], *, job: TrialJob) -> None:
    """What Tune runs."""
    run_pair_trial(trial, job=job, measure=measure)


def measure(this: Trained) -> dict[str, float]:
    """Digit and speaker from h, and the speaker of x+ from r; the score is the digit's accuracy."""
    train, test = this.side("train", ALL), this.side(this.split, ALL)
    metrics = knowledge(train, test, this.sources)
    if this.has_floors:
        metrics |= floors(this, train, test)
    if this.is_shown:
        labels = test.factors[DIGIT].to_numpy()
        keep_pictures(this.trial, this.learner, test.pairs, labels=labels)
    return metrics | {"score": score_of(this, metrics, f"{DIGIT}/h")}


def _prepare(config: RunConfig, folder: Folder, *, digits: Path) -> RunConfig:
    """Write the table; the config names its folder."""
    assert folder.local is not None
    data = (folder.local / "data").absolute()
    data.mkdir(parents=True, exist_ok=True)
    listing = read_spoken_digits(digits)
    made = make_table(listing, str(data / f"{DIGITS}.parquet"), console=Console())
    for split in ("train", "val", "test"):
        if not len(made.table.select(split=split)):
            raise ConfigError(
                f"--digits {digits}: no recording for the split {split}: takes 0 to 4 are for "
                "tests, 5 to 7 for validation, all others to train on"
            )
    return with_overrides(config, {"data.index": str(data / "{table}.parquet")})
