"""`adassl experiment stability`: what keeps each objective from collapsing (arXiv 2402.14957).

On moving digits, with pairs of two moments and with pairs of two augmentations of one.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from adassl.config import ObjectiveName
from pipelines.config.run import RunConfig, with_overrides
from pipelines.experiments.arm import Arm, Settings
from pipelines.experiments.digits import write_digits
from pipelines.experiments.grid import Experiment
from pipelines.experiments.stability.page import page_of
from pipelines.experiments.stability.trial import run_stability_trial
from pipelines.recipes import BARE, OBJECTIVES, recipe
from pipelines.storage.folder import Folder

NUM_VIDEOS, QUICK_VIDEOS = 300, 40
GROUPS: dict[str, Settings] = {
    "time": {"data.views": "time"},
    "augmentation": {"data.views": "augmentation"},
}
TITLES: dict[ObjectiveName, str] = {
    "infonce": "InfoNCE",
    "aninfonce": "AnInfoNCE",
    "hinfonce": "H-InfoNCE",
    "triplet": "triplet",
    "byol": "BYOL",
    "simsiam": "SimSiam",
    "swav": "SwAV",
    "dino": "DINO",
    "barlow_twins": "Barlow Twins",
    "vicreg": "VICReg",
    "simple": "Simple",
    "lejepa": "LeJEPA",
    "visreg": "VISReg",
    "frossl": "FroSSL",
    "mmcr": "MMCR",
}
NO_EMA: Settings = {"method.ema_momentum": 0.0, "method.ema_schedule": "constant"}
ABLATIONS: dict[str, tuple[str, ObjectiveName, Settings]] = {
    "byol-no-predictor": ("BYOL, no predictor", "byol", {"method.predictor": False}),
    "byol-no-ema": ("BYOL, no EMA", "byol", NO_EMA),
    "byol-neither": ("BYOL, neither", "byol", {"method.predictor": False, **NO_EMA}),
    "simsiam-no-stop": ("SimSiam, no stop-gradient", "simsiam", {"method.stop_gradient": False}),
    "dino-no-centring": ("DINO, no centring", "dino", {"method.centring": False}),
    "alignment": ("alignment alone (Simple, λ = 0)", "simple", {"method.centre_weight": 0.0}),
    "lejepa-no-sigreg": ("LeJEPA, no SIGReg", "lejepa", {"method.sigreg_weight": 0.0}),
    "visreg-no-scale": ("VISReg, no scale", "visreg", {"method.scale_weight": 0.0}),
    "visreg-no-shape": ("VISReg, no shape", "visreg", {"method.shape_weight": 0.0}),
    "visreg-no-centre": ("VISReg, no centre", "visreg", {"method.centre_weight": 0.0}),
    "mmcr-frobenius": ("MMCR by the Frobenius norm", "mmcr", {"method.nuclear": False}),
}
"""What should collapse according to the paper, or without which part a later method should.

FroSSL without its norms is alignment alone, the very function: that arm serves both."""
LAMBDAS = (0.01, 0.1, 1.0, 30.0)
"""Of Simple, beside its recipe's, which is in the tables of all methods."""
QUICK_ARMS = ("time.infonce", "time.simple", "time.alignment", "lambda.1")


def experiment(*, quick: bool) -> Experiment:
    """The full experiment, or a version of some minutes that shows that everything works."""
    config, arms, num_videos = base_config(), tuple(_arms()), NUM_VIDEOS
    if quick:
        num_videos = QUICK_VIDEOS
        config = with_overrides(
            config, {"train.steps": 50, "train.checkpoint_every": 50, "optim.warmup_steps": 10}
        )
        arms = tuple(replace(arm, num_seeds=1) for arm in arms if arm.name in QUICK_ARMS)
    return Experiment(
        name="stability",
        config=config,
        arms=arms,
        num_seeds=1 if quick else 3,
        metric="test/digit",
        trial=run_stability_trial,
        prepare=partial(_prepare, num_videos=num_videos),
        report=page_of,
    )


def base_config() -> RunConfig:
    """What all arms have in common."""
    return with_overrides(
        recipe("digit-scenes"),
        {
            **BARE,
            "train.log_every": 5,
            "train.checkpoint_every": 75,
            "tracking.experiment": "stability",
        },
    )


def _arms() -> Iterator[Arm]:
    for group, views in GROUPS.items():
        for objective, title in TITLES.items():
            settings = {**views, **settings_of(objective)}
            yield Arm(group=group, method=objective, title=title, settings=settings)
        for method, (title, objective, change) in ABLATIONS.items():
            settings = {**views, **settings_of(objective), **change}
            yield Arm(group=group, method=method, title=title, settings=settings)
    for weight in LAMBDAS:
        settings = {**settings_of("simple"), "method.centre_weight": weight}
        yield Arm(group="lambda", method=f"{weight:g}", title=f"λ = {weight:g}", settings=settings)


def settings_of(objective: ObjectiveName) -> Settings:
    """Those of an objective's recipe."""
    return {"method.objective": objective, **OBJECTIVES[objective]}


def _prepare(config: RunConfig, folder: Folder, *, num_videos: int) -> RunConfig:
    index = write_digits(folder, "videos", num_videos=num_videos)
    return with_overrides(config, {"data.index": index})
