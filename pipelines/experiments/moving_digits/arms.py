"""`adassl experiment moving-digits`: on real files through the real stream."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from pipelines.config.run import RunConfig, with_overrides
from pipelines.experiments.arm import LOW_RANK, NO_R, PLAIN, Arm, Settings
from pipelines.experiments.digits import write_digits
from pipelines.experiments.grid import Experiment
from pipelines.experiments.latent_sizes import size_arms
from pipelines.experiments.moving_digits.hypotheses import SIZE_GROUPS
from pipelines.experiments.moving_digits.page import page_of
from pipelines.experiments.moving_digits.trial import run_digit_trial
from pipelines.experiments.tuning import STEPS, Tuning
from pipelines.recipes import recipe
from pipelines.sources.digit_motion import Setting
from pipelines.storage.folder import Folder

NUM_VIDEOS, QUICK_VIDEOS = 500, 60
SETTINGS: tuple[Setting, ...] = ("A", "B")

BYOL: Settings = {
    "method.objective": "byol",
    "method.editor": "low_rank",
    "method.ema_momentum": 0.99,
    "method.free_nats": 0.0,
    "method.beta": 0.001,
    "train.global_batch_size": 64,
    STEPS: 800,
    "optim.learning_rate": 0.002,
}
"""As many pairs as InfoNCE, in smaller batches, which BYOL does without."""

OBJECTIVES: dict[str, tuple[str, Settings]] = {
    "infonce": ("InfoNCE", {"method.objective": "infonce", STEPS: 200}),
    "byol": ("BYOL", BYOL),
}
MIXTURE: Settings = {"method.prior_components": 4}
SPARSE: Settings = {
    "method.latent": "sparse",
    "method.editor": "low_rank",
    "method.free_nats": 0.0,
    "method.beta": 0.001,
}
RATE: Settings = {**SPARSE, "method.active_rate": 0.25, "method.beta": 0.01}
WITHOUT: Settings = {"data.surrogate": False}
FORWARD: Settings = {**WITHOUT, "method.reverse": False}
"""As with x++, but the posterior reads x+: all that differs is what it reads."""

METHODS: dict[str, tuple[str, Settings]] = {
    "plain": ("alone", {**PLAIN, **WITHOUT}),
    "no-r": ("+ editor, no r", NO_R),
    "v": ("+ AdaSSL-V", {}),
    "s": ("+ AdaSSL-S", SPARSE),
    "s-rate": ("+ AdaSSL-S, rate 0.25", RATE),
    "v-without": ("+ AdaSSL-V, without x++", WITHOUT),
    "v-forward": ("+ AdaSSL-V, without x++, forward only", FORWARD),
    "s-without": ("+ AdaSSL-S, without x++", {**SPARSE, **WITHOUT}),
    "v-mixture": ("+ AdaSSL-V, mixture prior", MIXTURE),
    "no-r-low-rank": ("+ low-rank editor, no r", {**NO_R, **LOW_RANK}),
    "v-low-rank": ("+ AdaSSL-V, low-rank editor", LOW_RANK),
}
RUN = {
    ("A", "infonce"): tuple(m for m in METHODS if m not in ("v-mixture", "s-rate")),
    ("A", "byol"): ("plain", "no-r", "v", "s", "s-rate", "v-without", "v-forward", "v-mixture"),
    ("B", "infonce"): ("v",),
    ("B", "byol"): ("no-r", "v", "v-mixture"),
}
"""Which methods run in which setting with which objective."""

SIZES = (1, 2, 4, 8, 32)

LONG: Settings = {"task.setting": "A", STEPS: 400}
LONG_ARMS: dict[str, tuple[str, Settings]] = {
    "paid": ("β 0.01 from the first nat", {"method.free_nats": 0.0}),
    "free": ("β 0.01 above 25 free nats", {}),
}
"""InfoNCE with AdaSSL-V, long enough for the KL to fall to 0 where nothing keeps it."""


_INFONCE: Sequence[Settings] = [
    {"method.temperature": t, "optim.learning_rate": rate}
    for t, rate in ((0.05, 1e-3), (0.1, 1e-3), (0.05, 2e-3))
]
_BYOL: Sequence[Settings] = [
    {"method.ema_momentum": ema, "optim.learning_rate": rate}
    for ema, rate in ((0.99, 2e-3), (0.99, 1e-3), (0.996, 1e-3))
]
TRIED: Mapping[str, Sequence[Settings]] = {
    f"{objective}-{method}": settings
    for objective, settings in (("infonce", _INFONCE), ("byol", _BYOL))
    for method in ("plain", "no-r", "v", "s")
}
"""Settings of which validation videos choose, in setting A. All other arms, such as those without
x++, take what was chosen for the one of these that they are a variant of."""
SHORTER = 2


def tuning_of(arms: Sequence[Arm]) -> Tuning:
    """The tuning of all arms, as many settings for each."""
    return Tuning(
        alternatives=TRIED,
        shorter=SHORTER,
        metric="val/score",
        taken_from={arm.name: parent_of(arm) for arm in arms if parent_of(arm) != arm.name},
    )


def parent_of(arm: Arm) -> str:
    """The arm whose tuning an arm takes, maybe its own."""
    if arm.group not in SETTINGS:  # long ones, and those of the sizes of r
        return "A.infonce-v"
    return f"A.{max((name for name in TRIED if arm.method.startswith(name)), key=len)}"


def experiment(*, quick: bool) -> Experiment:
    """The full experiment, or a version of two minutes that shows that everything works."""
    arms, config, num_videos = tuple(_arms()), base_config(), NUM_VIDEOS
    tuning: Tuning | None = tuning_of(arms)
    if quick:
        num_videos, tuning = QUICK_VIDEOS, None
        config = with_overrides(config, {"train.checkpoint_every": 30})
        small: Settings = {STEPS: 30, "train.global_batch_size": 64}
        kept = ("A.infonce-no-r", "A.infonce-v", "A.byol-v")
        arms = tuple(
            replace(arm, num_seeds=1, settings={**arm.settings, **small})
            for arm in arms
            if arm.name in kept
        )
    return Experiment(
        name="moving-digits",
        config=config,
        arms=arms,
        num_seeds=1 if quick else 3,
        metric="test/change_edited/linear",
        trial=run_digit_trial,
        prepare=partial(_prepare, num_videos=num_videos),
        report=page_of,
        tuning=tuning,
    )


def base_config() -> RunConfig:
    """What all arms have in common."""
    return with_overrides(
        recipe("digit-scenes"),
        {
            "train.checkpoint_every": 100,
            "tracking.experiment": "moving-digits",
        },
    )


def _arms() -> Iterator[Arm]:
    for (setting, objective), methods in RUN.items():
        name, how = OBJECTIVES[objective]
        for method in methods:
            title, what = METHODS[method]
            yield Arm(
                group=setting,
                method=f"{objective}-{method}",
                title=f"{name} {title}",
                settings={"task.setting": setting, **how, **what},
            )
    for group, setting in SIZE_GROUPS.items():
        found: Settings = {"task.setting": setting, STEPS: 200}
        yield from size_arms(group, found, SIZES)
    for method, (title, what) in LONG_ARMS.items():
        yield Arm(group="long", method=method, title=title, settings={**LONG, **what})


def _prepare(config: RunConfig, folder: Folder, *, num_videos: int) -> RunConfig:
    for seed, setting in enumerate(SETTINGS):
        index = write_digits(folder, setting, num_videos=num_videos, setting=setting, seed=seed)
    pattern = index.removesuffix(f"{setting}.parquet") + "{setting}.parquet"
    return with_overrides(config, {"data.index": pattern})
