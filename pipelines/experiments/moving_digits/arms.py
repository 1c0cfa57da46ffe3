"""`adassl experiment moving-digits`: on real files through the real stream."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from pipelines.config.run import RunConfig, with_overrides
from pipelines.experiments.arm import NO_R, PLAIN, Arm, Settings
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
NUM_STEPS, QUICK_STEPS = 500, 30
NUM_SEEDS, NUM_ABLATION_SEEDS = 5, 3
SETTINGS: tuple[Setting, ...] = ("A", "B")

OBJECTIVES: dict[str, tuple[str, Settings]] = {
    "infonce": ("InfoNCE", {"method.objective": "infonce"}),
    "byol": (
        "BYOL",
        {
            "method.objective": "byol",
            "method.editor": "low_rank",
            "method.ema_momentum": 0.99,
            "optim.learning_rate": 0.002,
        },
    ),
}
VARIATIONAL: Settings = {"method.beta": 0.0005}
MIXTURE: Settings = {**VARIATIONAL, "method.prior_components": 4}
SPARSE: Settings = {
    "method.latent": "sparse",
    "method.editor": "low_rank",
    "method.beta": 0.001,
}
RATE: Settings = {**SPARSE, "method.active_rate": 0.25, "method.beta": 0.01}
WITHOUT: Settings = {**VARIATIONAL, "data.surrogate": False}
FORWARD: Settings = {**WITHOUT, "method.reverse": False}
"""As with x++, but the posterior reads x+: all that differs is what it reads."""

METHODS: dict[str, tuple[str, Settings]] = {
    "plain": ("alone", {**PLAIN, "data.surrogate": False}),
    "no-r": ("+ editor, no r", NO_R),
    "v": ("+ AdaSSL-V", VARIATIONAL),
    "s": ("+ AdaSSL-S", SPARSE),
    "s-rate": ("+ AdaSSL-S, rate 0.25", RATE),
    "v-without": ("+ AdaSSL-V, without x++", WITHOUT),
    "v-forward": ("+ AdaSSL-V, without x++, forward only", FORWARD),
    "v-mixture": ("+ AdaSSL-V, mixture prior", MIXTURE),
}
RUN = {
    ("A", "infonce"): ("plain", "no-r", "v", "s", "v-without", "v-forward"),
    ("A", "byol"): tuple(METHODS),
    ("B", "infonce"): ("no-r", "v"),
    ("B", "byol"): ("no-r", "v", "v-mixture"),
}
"""Which methods run in which setting with which objective."""

SIZES = (1, 2, 4, 8, 32)

LONG: Settings = {"task.setting": "A", STEPS: 2 * NUM_STEPS, "method.beta": 0.01}
LONG_ARMS: dict[str, tuple[str, Settings]] = {
    "paid": ("β 0.01 from the first nat", {}),
    "free": ("β 0.01 above 25 free nats", {"method.free_nats": 25.0}),
}
"""InfoNCE with AdaSSL-V, long enough for the KL to fall to 0 where nothing keeps it."""

_BETAS, _SPARSE_BETAS = (0.0005, 0.002), (0.001, 0.0003)


def _tried(objective: str, method: str) -> Sequence[Settings]:
    """Two learning rates, each with two values of what matters most beside."""
    rates = (1e-3, 2e-3)
    if method in ("v", "s"):
        key, values = "method.beta", _BETAS if method == "v" else _SPARSE_BETAS
    elif objective == "infonce":
        key, values = "method.temperature", (0.05, 0.1)
    else:
        key, values = "method.ema_momentum", (0.99, 0.996)
    return [{key: value, "optim.learning_rate": rate} for value in values for rate in rates]


TRIED: Mapping[str, Sequence[Settings]] = {
    f"{objective}-{method}": _tried(objective, method)
    for objective in OBJECTIVES
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
        small: Settings = {STEPS: QUICK_STEPS}
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
        num_seeds=1 if quick else NUM_SEEDS,
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
            "method.free_nats": 0.0,
            "train.global_batch_size": 64,
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
                settings={"task.setting": setting, STEPS: NUM_STEPS, **how, **what},
            )
    for group, setting in SIZE_GROUPS.items():
        found: Settings = {"task.setting": setting, STEPS: NUM_STEPS, **VARIATIONAL}
        yield from size_arms(group, found, SIZES, NUM_ABLATION_SEEDS)
    for method, (title, what) in LONG_ARMS.items():
        yield Arm(
            group="long",
            method=method,
            title=title,
            settings={**LONG, **what},
            num_seeds=NUM_ABLATION_SEEDS,
        )


def _prepare(config: RunConfig, folder: Folder, *, num_videos: int) -> RunConfig:
    for seed, setting in enumerate(SETTINGS):
        index = write_digits(folder, setting, num_videos=num_videos, setting=setting, seed=seed)
    pattern = index.removesuffix(f"{setting}.parquet") + "{setting}.parquet"
    return with_overrides(config, {"data.index": pattern})
