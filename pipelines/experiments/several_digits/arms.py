"""`adassl experiment several-digits`: editors of equal size on scenes of one to three digits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

from pipelines.config.run import RunConfig, with_overrides
from pipelines.experiments.arm import NO_R, Arm, Settings
from pipelines.experiments.digits import write_digits
from pipelines.experiments.grid import Experiment
from pipelines.experiments.several_digits.hypotheses import GROUPS
from pipelines.experiments.several_digits.page import page_of
from pipelines.experiments.several_digits.trial import (
    DIGITS,
    HIDDEN,
    run_several_digits_trial,
)
from pipelines.experiments.tuning import STEPS, Tuning
from pipelines.recipes import recipe
from pipelines.storage.folder import Folder

NUM_VIDEOS, QUICK_VIDEOS = 500, 60
NUM_STEPS, QUICK_STEPS = 200, 30
PER_DIGIT = 8
"""Dimensions of r for each digit of a scene."""
SLOTS = 4
"""Parts of z and r: more than any scene has digits."""


def _editor(name: str, hidden_dim: int) -> Settings:
    """One hidden layer, so wide that the editors have as many parameters, within 5 %."""
    return {"method.editor": name, HIDDEN: hidden_dim}


METHODS: Mapping[str, tuple[str, Settings]] = {
    "no-r": ("residual MLP, no r", {**NO_R, **_editor("residual", 272)}),
    "mlp": ("MLP", _editor("mlp", 256)),
    "residual": ("residual MLP", _editor("residual", 256)),
    "slots": ("slots", {**_editor("slots", 1000), "method.editor_slots": SLOTS}),
    "attention": ("attention", {**_editor("attention", 668), "method.editor_slots": SLOTS}),
}
TRIED: Sequence[Settings] = [
    {"method.temperature": temperature, "optim.learning_rate": rate}
    for temperature, rate in ((0.05, 1e-3), (0.1, 1e-3), (0.05, 2e-3))
]
TUNED_IN = "two"
TUNING = Tuning(
    alternatives=dict.fromkeys(METHODS, TRIED),
    shorter=2,
    metric="val/score",
    taken_from={
        f"{group}.{method}": f"{TUNED_IN}.{method}"
        for group, method in product(GROUPS, METHODS)
        if group != TUNED_IN
    },
)
"""Of each editor on scenes of two digits; on one and three it takes what was chosen there."""
QUICK = ("one.slots", "two.no-r", "two.mlp", "two.slots", "two.attention", "three.slots")


def experiment(*, quick: bool) -> Experiment:
    """The full experiment, or a version of some minutes that shows that everything works."""
    arms, config = tuple(_arms()), base_config()
    if quick:
        config = with_overrides(config, {"train.global_batch_size": 64})
        arms = tuple(
            replace(arm, settings={**arm.settings, STEPS: QUICK_STEPS})
            for arm in arms
            if arm.name in QUICK
        )
    return Experiment(
        name="several-digits",
        config=config,
        arms=arms,
        num_seeds=1 if quick else 5,
        metric="test/score",
        trial=run_several_digits_trial,
        prepare=partial(_prepare, num_videos=QUICK_VIDEOS if quick else NUM_VIDEOS),
        report=page_of,
        tuning=None if quick else TUNING,
    )


def base_config() -> RunConfig:
    """What all arms have in common."""
    return with_overrides(
        recipe("digit-scenes"),
        {
            "data.reuse": 4,
            "train.checkpoint_every": 100,
            "tracking.experiment": "several-digits",
        },
    )


def _arms() -> Iterator[Arm]:
    for (group, digits), (method, (title, settings)) in product(GROUPS.items(), METHODS.items()):
        yield Arm(
            group=group,
            method=method,
            title=title,
            settings={
                DIGITS: digits,
                STEPS: NUM_STEPS,
                "method.latent_dim": PER_DIGIT * digits,
                **settings,
            },
        )


def _prepare(config: RunConfig, folder: Folder, *, num_videos: int) -> RunConfig:
    for digits in GROUPS.values():
        index = write_digits(folder, f"digits-{digits}", num_videos=num_videos, digits=digits)
    pattern = index.removesuffix(f"{digits}.parquet") + "{digits}.parquet"
    return with_overrides(config, {"data.index": pattern})
