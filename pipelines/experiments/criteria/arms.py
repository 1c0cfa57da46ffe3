"""`adassl experiment criteria`: many settings, each judged with labels and without."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from pipelines.config.run import RunConfig, with_overrides
from pipelines.experiments.arm import Arm
from pipelines.experiments.criteria.page import GROUPS, page_of
from pipelines.experiments.criteria.trial import TARGET, run_judged_trial
from pipelines.experiments.digits import write_digits
from pipelines.experiments.grid import Experiment
from pipelines.experiments.real_video.arms import index_videos
from pipelines.experiments.real_video.trial import FEWER, INDEX, VIEWS
from pipelines.recipes import recipe
from pipelines.storage.folder import Folder
from pipelines.trials.records import Value

NUM_SETTINGS = {"digits": 48, "robot": 24}
QUICK_SETTINGS = 6
NUM_VIDEOS, QUICK_VIDEOS = 500, 60
STEPS, QUICK_STEPS = {"digits": 400, "robot": 250}, 24
OBJECTIVES = ("infonce", "infonce", "infonce", "byol", "vicreg", "lejepa")
"""Half of the settings are of InfoNCE, for temperatures and β are compared within it alone too."""
LATENTS = ("variational", "variational", "variational", "sparse", "none")
BETA = {"infonce": (0.001, 1.0), "byol": (0.0001, 0.1), "vicreg": (0.001, 1.0)}
BETA["lejepa"] = BETA["byol"]
"""Least and greatest: nats weigh more beside losses of cosines."""
WARMUPS = (0.0, 0.125, 0.5)
"""Shares of the run."""
DIMENSIONS, TEMPERATURES = (2, 4, 8, 16, 32), (0.05, 0.1, 0.2, 0.5)


def experiment(*, quick: bool, robot: Path | None = None) -> Experiment:
    """The full experiment, or a version of some minutes that shows that everything works.

    Args:
        quick: whether small.
        robot: a folder of videos with values for each frame, for a second set; None: digits alone.
    """
    given = ["digits"] + ["robot"] * (robot is not None)
    arms = tuple(arm for group in GROUPS if group in given for arm in _arms(group, quick))
    return Experiment(
        name="criteria",
        config=base_config(),
        arms=arms,
        num_seeds=1,
        metric=TARGET + "mean",
        trial=run_judged_trial,
        prepare=partial(_prepare, num_videos=QUICK_VIDEOS if quick else NUM_VIDEOS, robot=robot),
        report=page_of,
    )


def base_config() -> RunConfig:
    """What all settings have in common; those of the robot take its data and encoder in place."""
    return with_overrides(
        recipe("digit-scenes"),
        {
            "method.free_nats": 0.0,
            "train.global_batch_size": 64,
            "train.val_pairs": 512,
            "train.checkpoint_every": 1000,
            "optim.warmup_steps": 20,
            "tracking.experiment": "criteria",
        },
    )


def _arms(group: str, quick: bool) -> Iterator[Arm]:
    """Settings drawn once, the same in each run of the experiment."""
    rng = np.random.default_rng(GROUPS.index(group))
    steps = QUICK_STEPS if quick else STEPS[group]
    task: dict[str, Value] = {INDEX: group}
    task |= {FEWER: 8 if quick else 2} if group == "robot" else {"task.setting": "A"}
    number = QUICK_SETTINGS if quick else NUM_SETTINGS[group]
    for i in range(number):
        title, settings = _setting(rng, i, steps)
        if group == "robot":
            settings |= {VIEWS: str(rng.choice(["most", "parts"]))}
            settings |= {"data.moments_per_video": int(rng.choice([1, 4, 8]))}
        yield Arm(group=group, method=f"{i:02}", title=title, settings={**task, **settings})


def _setting(rng: np.random.Generator, i: int, steps: int) -> tuple[str, dict[str, Value]]:
    """A setting and its name; everything is drawn, read or not, so that none depends on another."""
    objective = OBJECTIVES[i % len(OBJECTIVES)]
    latent = str(rng.choice(LATENTS))
    low, high = BETA[objective]
    beta = float(f"{np.exp(rng.uniform(np.log(low), np.log(high))):.2g}")
    warmup, dimension = float(rng.choice(WARMUPS)), int(rng.choice(DIMENSIONS))
    temperature = float(rng.choice(TEMPERATURES))
    rate = float(f"{np.exp(rng.uniform(np.log(3e-4), np.log(3e-3))):.2g}")
    settings: dict[str, Value] = {
        "train.steps": steps,
        "method.objective": objective,
        "method.latent": latent,
        "optim.learning_rate": rate,
        "method.ema_momentum": 0.99,
    }
    words = [objective]
    if objective == "infonce":
        settings["method.temperature"] = temperature
        words.append(f"τ {temperature:g}")
    if latent == "none":
        words.append("no r")
    else:
        settings |= {
            "method.beta": beta,
            "method.beta_warmup_steps": round(warmup * steps),
            "method.latent_dim": dimension,
            "method.editor": "low_rank" if latent == "sparse" else "residual",
        }
        words += [f"{latent} r", f"β {beta:g}", f"warm-up {warmup:g}", f"d_r {dimension}"]
    return ", ".join([*words, f"rate {rate:g}"]), settings


def _prepare(
    config: RunConfig, folder: Folder, *, num_videos: int, robot: Path | None
) -> RunConfig:
    """Write the digits and index the videos; the config names the folder of both indices."""
    index = Path(write_digits(folder, "digits", num_videos=num_videos))
    if robot is not None:
        index_videos(robot, index.with_name("robot.parquet"))
    return with_overrides(config, {"data.index": str(index.with_name("{group}.parquet"))})
