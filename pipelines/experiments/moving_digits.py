"""`adassl experiment moving-digits`: on real files through the real stream."""

from collections.abc import Iterator
from dataclasses import replace

from rich.console import Console

from pipelines.config import RunConfig, with_overrides
from pipelines.experiments.digit_trial import index_of, run_digit_trial
from pipelines.experiments.digits_page import page_of
from pipelines.experiments.grid import Arm, Experiment
from pipelines.recipes import recipe
from pipelines.sources.digit_law import SEGMENT_FRAMES, Setting
from pipelines.sources.moving_digits import write_moving_digits
from pipelines.storage import Folder
from pipelines.sweep.records import Value
from pipelines.video.indexer import build_index

Settings = dict[str, Value]

SCENES = 16
NUM_VIDEOS, QUICK_VIDEOS = 500, 60
SETTINGS: tuple[Setting, ...] = ("A", "B")

OBJECTIVES: dict[str, tuple[str, Settings]] = {
    "infonce": ("InfoNCE", {"method.objective": "infonce"}),
    "byol": ("BYOL", {"method.objective": "byol"}),
}
PLAIN: Settings = {"method.latent": "none", "method.editor": "identity", "data.surrogate": False}
NO_R: Settings = {"method.latent": "none", "method.editor": "mlp"}
VARIATIONAL: Settings = {"method.latent": "variational", "method.editor": "mlp"}
MIXTURE: Settings = {**VARIATIONAL, "method.prior_components": 4}
SPARSE: Settings = {"method.latent": "sparse", "method.editor": "low_rank", "method.latent_dim": 16}
WITHOUT: Settings = {"data.surrogate": False}

METHODS: dict[str, tuple[str, Settings]] = {
    "plain": ("alone", PLAIN),
    "no-r": ("+ editor, no r", NO_R),
    "v": ("+ AdaSSL-V", VARIATIONAL),
    "v-mixture": ("+ AdaSSL-V, mixture prior", MIXTURE),
    "s": ("+ AdaSSL-S", SPARSE),
    "no-r-without": ("+ editor, no r, without x++", {**NO_R, **WITHOUT}),
    "v-without": ("+ AdaSSL-V, without x++", {**VARIATIONAL, **WITHOUT}),
    "s-without": ("+ AdaSSL-S, without x++", {**SPARSE, **WITHOUT}),
}
IN_B = ("no-r", "v", "v-mixture")
BETA = {
    ("infonce", "v"): 0.001,
    ("infonce", "s"): 0.001,
    ("byol", "v"): 0.001,
    ("byol", "s"): 0.0001,
}
"""Chosen on validation videos with seeds that are not reported."""


def experiment(*, quick: bool) -> Experiment:
    """The whole, or a version of two minutes that shows that everything works."""
    arms = tuple(_arms())
    config = base_config()
    if quick:
        steps = {"train.steps": 30, "train.checkpoint_every": 30}
        config = with_overrides(config, {**steps, "train.global_batch_size": 64})
        kept = ("A.infonce-no-r", "A.infonce-v", "A.byol-v")
        arms = tuple(replace(arm, num_seeds=1) for arm in arms if arm.name in kept)
    return Experiment(
        name="moving-digits",
        config=config,
        arms=arms,
        num_seeds=1 if quick else 3,
        metric="test/change_edited/linear",
        trial=run_digit_trial,
        prepare=_prepare_quick if quick else _prepare,
        report=page_of,
    )


def base_config() -> RunConfig:
    """What all arms have in common."""
    return with_overrides(
        recipe("moving-digits"),
        {
            "data.start_multiple": SEGMENT_FRAMES,
            "data.starts_per_window": SCENES * SEGMENT_FRAMES,
            "data.pairs_per_window": SCENES,
            "tracking.experiment": "moving-digits",
            "cluster.cpus_per_worker": 1.0,
        },
    )


def _arms() -> Iterator[Arm]:
    for setting in SETTINGS:
        for objective, (name, how) in OBJECTIVES.items():
            for method, (title, what) in METHODS.items():
                if setting == "A" or method in IN_B:
                    kind = method[0]
                    beta: Settings = {}
                    if (objective, kind) in BETA:
                        beta = {"method.beta": BETA[objective, kind]}
                    yield Arm(
                        group=setting,
                        method=f"{objective}-{method}",
                        title=f"{name} {title}",
                        settings={"task.setting": setting, **how, **what, **beta},
                    )


def _prepare(config: RunConfig, folder: Folder, num_videos: int = NUM_VIDEOS) -> RunConfig:
    assert folder.local is not None
    console = Console()
    pattern = str((folder.local / "data" / "{setting}.parquet").absolute())
    config = with_overrides(config, {"data.index": pattern})
    for seed, setting in enumerate(SETTINGS):
        videos = folder.local / "data" / setting
        write_moving_digits(
            videos,
            num_videos=num_videos,
            setting=setting,
            scenes=SCENES,
            seed=seed,
            console=console,
        )
        build_index([videos], index_of(config, setting), console=console)
    return config


def _prepare_quick(config: RunConfig, folder: Folder) -> RunConfig:
    return _prepare(config, folder, QUICK_VIDEOS)
