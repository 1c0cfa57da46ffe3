"""`adassl experiment images`: rendered solids, objects on a turntable, and noisy pairs of species.

The solids are the paper's 3DIdent; the species are made of their latents, for want of a set of
photographs that is small and has superclasses: which colour (superclass) at which place (species).
There are as many pictures as are rendered, and what corrupted pairs still share is known.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from rich.console import Console

from pipelines.config.pairing import PairingRule
from pipelines.config.run import ConfigError, RunConfig, with_overrides
from pipelines.evaluation.disentanglement import dci_metrics
from pipelines.evaluation.embed import represent
from pipelines.evaluation.latent_action import carry_over, leakage
from pipelines.evaluation.protocol import fresh_backbone, pixels
from pipelines.evaluation.retrieval import mean_average_precision
from pipelines.experiments.arm import Arm, Settings
from pipelines.experiments.grid import Experiment
from pipelines.experiments.pairs.images_page import (
    NOISE,
    NOISY,
    SOLIDS,
    TURNTABLE,
    noise_group,
    page_of,
)
from pipelines.experiments.pairs.methods import arms_of, experiment_of
from pipelines.experiments.pairs.trial import (
    ALL_SOURCES,
    Side,
    Trained,
    floors,
    knowledge,
    run_pair_trial,
    score_of,
)
from pipelines.experiments.pictures import keep_pictures
from pipelines.pairs.make import make_table
from pipelines.pairs.table import PairTable, load_table, save_table
from pipelines.recipes import recipe
from pipelines.sources.three_d_ident import read_3dident
from pipelines.sources.turntable import read_turntable
from pipelines.storage.folder import Folder
from pipelines.trials.trial import TrialJob

NUM_IMAGES, QUICK_IMAGES = 12_000, 600
"""Of the solids that the experiment renders, in all splits."""
NUM_PAIRS = {"train": 1500, "val": 1000, "test": 1200}
PLACES = {"position_x": 3, "position_y": 3}
COLOUR, NUM_COLOURS = "hue_object", 4
SPECIES, SUPERCLASS = "species", "superclass"
METHODS: Mapping[str, tuple[str, ...]] = {
    SOLIDS: ("infonce", "aninfonce", "hinfonce", "no-r", "v-additive", "v", "s"),
    TURNTABLE: ("infonce", "no-r", "v-additive", "v", "s"),
    "noise": ("infonce", "no-r", "v"),
}
QUICK = ("infonce", "v")
STEPS: Mapping[str, int] = {SOLIDS: 600, TURNTABLE: 400, "noise": 300}
SIDES: Mapping[str, int] = {SOLIDS: 48, TURNTABLE: 32, "noise": 48}


def experiment(
    *, quick: bool, solids: Path | None = None, turntable: Path | None = None
) -> Experiment:
    """The full experiment, or a version of some minutes that shows that everything works.

    Args:
        quick: whether small.
        solids: a folder in the layout of 3DIdent; None: it is rendered.
        turntable: pictures of objects on a turntable; None: that part is left out.
    """
    arms: list[Arm] = []
    shares = NOISE[-1:] if quick else NOISE
    groups = {SOLIDS: SOLIDS, **{noise_group(share): "noise" for share in shares}}
    groups |= {TURNTABLE: TURNTABLE} if turntable is not None else {}
    for group, kind in groups.items():
        settings: Settings = {"train.steps": STEPS[kind], "data.frame_size": SIDES[kind]}
        methods = QUICK if quick else METHODS[kind]
        arms += arms_of(group, methods, settings, table=group, quick=quick)
    return experiment_of(
        arms,
        base_config(),
        quick=quick,
        trial=run_image_trial,
        prepare=partial(
            _prepare,
            solids=solids,
            turntable=turntable,
            num_images=QUICK_IMAGES if quick else NUM_IMAGES,
        ),
        report=page_of,
    )


def base_config() -> RunConfig:
    """The recipe `images`, with embeddings of 16 dimensions straight from the encoder.

    So r may be added to them, and the embeddings are the code that DCI is measured of, as the
    paper has it for 3DIdent.
    """
    return with_overrides(
        recipe("images"),
        {
            "data.crop": "none",
            "backbone.hidden_dims": [16, 32, 64, 128, 128],
            "method.embedding_dim": 16,
            "method.projector_hidden_dims": [],
            "method.latent_dim": 16,
            "train.global_batch_size": 128,
            "train.checkpoint_every": 10_000,
            "optim.warmup_steps": 50,
            "tracking.experiment": "images",
        },
    )


def run_image_trial(trial: Mapping[str, Any], *, job: TrialJob) -> None:
    """What Tune runs."""
    run_pair_trial(trial, job=job, measure=measure)


def measure(this: Trained) -> dict[str, float]:
    """What is asked of each group; the score is the DCI of solids and the species of noise.

    Of the turntable it is the mean of `map/h` and of the R² of the step from (z, r), or from z
    without r.
    """
    train, test = (
        this.side("train", NUM_PAIRS["train"]),
        this.side(this.split, NUM_PAIRS[this.split]),
    )
    group = str(this.trial.task["table"])
    if group in NOISY:  # the superclass is there to pair by
        train, test = (
            replace(side, factors=side.factors[[n for n in map(str, side.factors) if SPECIES in n]])
            for side in (train, test)
        )
    metrics = knowledge(train, test, this.sources if group != TURNTABLE else tuple(ALL_SOURCES))
    if this.has_floors:
        metrics |= floors(this, train, test)
    if group == TURNTABLE:
        return metrics | _of_turntable(this, metrics, test)
    if group == SOLIDS:
        names = [name for name in test.table.factors if f"{name}/h" in metrics]
        codes, factors = test.pairs.context, test.factors[names].to_numpy(np.float64)
        found = {f"{name}/z": value for name, value in dci_metrics(codes, factors).items()}
        if this.is_shown:
            label = test.factors[COLOUR if COLOUR in names else names[0]].to_numpy()
            keep_pictures(this.trial, this.learner, test.pairs, labels=label)
        return metrics | found | {"score": score_of(this, found, "dci/z")}
    return metrics | {"score": score_of(this, metrics, f"{SPECIES}/h")}


def _of_turntable(this: Trained, metrics: Mapping[str, float], test: Side) -> dict[str, float]:
    """Whether h keeps the object, of which none is trained on, and r carries a turn over."""
    pairs, objects = test.pairs, test.pairs.path
    found = mean_average_precision(pairs.representation, objects)
    found = {f"{name}/h": value for name, value in found.items()}
    if this.has_floors:
        fresh = represent(this.learner, fresh_backbone(this.learner), pairs.clips)
        for name, features in (("raw", pixels(pairs)), ("untrained", fresh)):
            found[f"map/{name}"] = mean_average_precision(features, objects)["map"]
    step = metrics.get("changes/z_r", metrics["changes/z"])
    found["score"] = (found["map/h"] + max(0.0, step)) / 2
    if this.split == "test":
        carried = carry_over(this.learner, pairs, test.factors, seed=this.seed)
        found |= leakage(pairs, seed=this.seed)
        found |= carried.metrics() if carried is not None else {}
        if this.is_shown:
            keep_pictures(this.trial, this.learner, pairs, carried, labels=objects)
    return found


def _prepare(
    config: RunConfig,
    folder: Folder,
    *,
    solids: Path | None,
    turntable: Path | None,
    num_images: int,
) -> RunConfig:
    """Render the solids where none are given, and write the tables; the config names them."""
    assert folder.local is not None
    data = (folder.local / "data").absolute()
    data.mkdir(parents=True, exist_ok=True)
    console = Console()
    if turntable is not None:
        make_table(read_turntable(turntable), str(data / f"{TURNTABLE}.parquet"), console=console)
    if solids is None:
        from pipelines.sources.solids import write_solids  # needs a library of its own

        solids = data / "rendered"
        write_solids(solids, num_images=num_images)
    table = str(data / f"{SOLIDS}.parquet")
    make_table(read_3dident(solids), table, val_share=0.1, test_share=0.1, console=console)
    species = with_species(load_table(table))
    for share in NOISE:
        rule = PairingRule(
            kind="same",
            columns=(SPECIES,),
            corrupted=share,
            corrupted_within=SUPERCLASS if share else None,
        )
        about = species.about.model_copy(update={"rule": rule})
        save_table(replace(species, about=about), data / f"{noise_group(share)}.parquet")
    return with_overrides(config, {"data.index": str(data / "{table}.parquet")})


def with_species(table: PairTable) -> PairTable:
    """The items of a table of solids with their superclass and species, in place of the latents.

    Superclass: the hue of the object, in four parts; species: that at one of nine places.

    Raises:
        ConfigError: if the latents are not those of 3DIdent.
    """
    factors = table.factors
    if missing := [name for name in (*PLACES, COLOUR) if name not in factors]:
        raise ConfigError(
            f"the solids have no latent {missing[0]}, of which the species are made; give the ten "
            "of 3DIdent in latents.npy, or leave --solids out"
        )
    colour = _parts(factors[COLOUR], NUM_COLOURS)
    places = [_parts(factors[name], parts) for name, parts in PLACES.items()]
    names = ["-".join(each) for each in zip(colour, *places, strict=True)]
    own = table.table.drop_columns(list(factors.columns))
    own = own.append_column(SUPERCLASS, pa.array(colour))
    return replace(table, table=own.append_column(SPECIES, pa.array(names)))


def _parts(values: "pd.Series[Any]", number: int) -> list[str]:
    """Which part of its range each value is in."""
    edges = np.linspace(values.min(), values.max(), number + 1)[1:-1]
    found: list[str] = np.digitize(values, edges).astype(str).tolist()
    return found
