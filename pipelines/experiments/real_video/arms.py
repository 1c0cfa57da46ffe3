"""`adassl experiment real-video`: what AdaSSL learns of labelled real videos, beside its rivals."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipelines.config.run import ConfigError, RunConfig, with_overrides
from pipelines.experiments.arm import NO_R, PLAIN, Arm, Settings
from pipelines.experiments.grid import Experiment
from pipelines.experiments.real_video.page import GROUPS, page_of
from pipelines.experiments.real_video.trial import (
    FEWER,
    FLOORS,
    INDEX,
    VIEWS,
    run_real_trial,
)
from pipelines.experiments.tuning import Tuning
from pipelines.recipes import recipe
from pipelines.storage.folder import Folder
from pipelines.video.given import LabelSources
from pipelines.video.indexer import build_index

CLIPS, QUICK_CLIPS = 2000, 64
"""Encoded by a method for each place in a batch: its steps times its views a pair."""
QUICK_FEWER = 8
"""By how much the pairs that judge are divided; in a tuning they are halved at least."""
VAL_SHARE = 0.2
"""Of the videos that a set's own split does not keep for the test."""
FOLDERS = ("clips", "videos")
"""Of a set's videos, below its own folder, where there is one; the tables lie beside it."""
TABLES = ("*.csv", "*.parquet")
BYOL: Settings = {"method.objective": "byol", "method.ema_momentum": 0.99}
METHODS: Mapping[str, tuple[str, Settings]] = {
    "infonce": ("InfoNCE", {**PLAIN, FLOORS: True}),
    "no-r": ("editor, no r", NO_R),
    "adassl-v": ("AdaSSL-V", {}),
    "byol": ("BYOL", {**PLAIN, **BYOL}),
}
ENCODED = {"adassl-v": 4}
"""Clips that a method encodes for each pair, where not two: with r both are seen twice."""
_SEEN: Sequence[Settings] = [
    {"data.moments_per_video": 1, VIEWS: "whole"},
    {"data.moments_per_video": 4, VIEWS: "most"},
    {"data.moments_per_video": 8, VIEWS: "parts"},
]
TUNING = Tuning(
    alternatives={
        **dict.fromkeys(("infonce", "no-r", "byol"), _SEEN),
        "adassl-v": [
            {**seen, "method.beta": beta}
            for seen, beta in zip(_SEEN, (0.1, 0.03, 0.01), strict=True)
        ],
    },
    changes={FLOORS: False},
    shorter=4,
    metric="val/score",
)


def experiment(*, quick: bool, robot: Path | None = None, signs: Path | None = None) -> Experiment:
    """The full experiment, or a version of some minutes that shows that everything works.

    Args:
        quick: whether small.
        robot: a folder of videos with values for each frame, such as joint states.
        signs: a folder of videos with classes.

    Raises:
        ConfigError: if neither is given.
    """
    folders = {"robot": robot, "signs": signs}
    given = {group: folder for group, folder in folders.items() if folder is not None}
    if not given:
        raise ConfigError(
            "real-video needs labelled videos: give --robot FOLDER (values for each frame), "
            "--signs FOLDER (classes), or both; docs/data.md says what they hold"
        )
    methods = {m: METHODS[m] for m in ("infonce", "adassl-v")} if quick else METHODS
    clips, fewer = (QUICK_CLIPS, QUICK_FEWER) if quick else (CLIPS, 1)
    arms = tuple(
        Arm(
            group=group,
            method=method,
            title=title,
            settings={
                INDEX: group,
                FEWER: fewer,
                **settings,
                "train.steps": clips // ENCODED.get(method, 2),
            },
        )
        for group in GROUPS
        if group in given
        for method, (title, settings) in methods.items()
    )
    few = {method: TUNING.alternatives[method][: 2 if quick else None] for method in methods}
    changes = {**TUNING.changes, FEWER: max(fewer, 2)}
    tuning = replace(TUNING, alternatives=few, changes=changes)
    return Experiment(
        name="real-video",
        config=base_config(),
        arms=arms,
        num_seeds=1 if quick else 3,
        metric="test/score",
        trial=run_real_trial,
        prepare=partial(_prepare, folders=given),
        report=page_of,
        tuning=tuning,
    )


def base_config() -> RunConfig:
    """The recipe `videos`, in the arithmetic that two cores are fastest in."""
    return with_overrides(
        recipe("videos"),
        {
            "train.checkpoint_every": CLIPS,
            "optim.warmup_steps": 50,
            "method.beta_warmup_steps": 100,
            "tracking.experiment": "real-video",
        },
    )


def _prepare(config: RunConfig, folder: Folder, *, folders: Mapping[str, Path]) -> RunConfig:
    """Index the videos; the config names the folder of the indices."""
    assert folder.local is not None
    data = (folder.local / "data").absolute()
    data.mkdir(parents=True, exist_ok=True)
    for group, own in folders.items():
        index_videos(own, data / f"{group}.parquet")
    return with_overrides(config, {"data.index": str(data / "{group}.parquet")})


def index_videos(own: Path, index: Path) -> None:
    """Index a folder of labelled videos, with the tables that lie beside them."""
    videos = next((own / name for name in FOLDERS if (own / name).is_dir()), own)
    tables = tuple(str(path) for kind in TABLES for path in sorted(own.glob(kind)))
    labels = LabelSources(tables=tables if videos != own else ())
    build_index([videos], index, val_share=VAL_SHARE, labels=labels)
