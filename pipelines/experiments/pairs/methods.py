"""The methods that the experiments on tables of pairs compare, and the settings tried for each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pipelines.config.run import RunConfig
from pipelines.experiments.arm import LOW_RANK, NO_R, PLAIN, Arm, Settings
from pipelines.experiments.grid import Experiment
from pipelines.experiments.page import Page
from pipelines.experiments.pairs.trial import FEWER, FLOORS, TABLE
from pipelines.experiments.results import Results
from pipelines.experiments.tuning import Tuning
from pipelines.storage.folder import Folder

INFONCE, NO_LATENT = "infonce", "no-r"
VARIATIONAL: Settings = {"method.latent": "variational"}
SPARSE: Settings = {"method.latent": "sparse", "method.beta_warmup_steps": 0, **LOW_RANK}
METHODS: Mapping[str, tuple[str, Settings]] = {
    INFONCE: ("InfoNCE", {**PLAIN, FLOORS: True}),
    "aninfonce": ("AnInfoNCE", {**PLAIN, "method.objective": "aninfonce"}),
    "hinfonce": ("H-InfoNCE", {**PLAIN, "method.objective": "hinfonce"}),
    "dropout": (
        "InfoNCE, dropout views",
        {**PLAIN, "data.views": "augmentation", "backbone.dropout": 0.1},
    ),
    NO_LATENT: ("MLP editor, no r", NO_R),
    "v": ("AdaSSL-V, MLP", VARIATIONAL),
    "v-additive": ("AdaSSL-V, additive", {**VARIATIONAL, "method.editor": "additive"}),
    "s": ("AdaSSL-S", SPARSE),
}
"""Name → title and what it changes. The floors are measured beside the pairs of InfoNCE."""

_TEMPERATURES: Sequence[Settings] = [{"method.temperature": t} for t in (0.05, 0.1, 0.2)]
_VARIATIONAL: Sequence[Settings] = [
    {"method.temperature": t, "method.beta": b} for t, b in ((0.1, 0.01), (0.1, 0.1), (0.2, 0.1))
]
TRIED: Mapping[str, Sequence[Settings]] = {
    INFONCE: _TEMPERATURES,
    "aninfonce": _TEMPERATURES,
    "hinfonce": _TEMPERATURES,
    "dropout": [
        {"method.temperature": t, "backbone.dropout": d}
        for t, d in ((0.05, 0.1), (0.1, 0.1), (0.1, 0.2))
    ],
    NO_LATENT: _TEMPERATURES,
    "v": _VARIATIONAL,
    "v-additive": _VARIATIONAL,
    "s": [
        {"method.temperature": t, "method.beta": b}
        for t, b in ((0.1, 0.001), (0.1, 0.01), (0.1, 0.1))
    ],
}
"""As many settings for each method, of which validation chooses."""
SHORTER, QUICK_SHORTER = 4, 2
QUICK_STEPS, QUICK_FEWER, QUICK_TRIED = 30, 2, 2
CHOSEN_BY = "val/score"


def experiment_of(
    arms: Sequence[Arm],
    config: RunConfig,
    *,
    quick: bool,
    trial: Callable[..., None],
    prepare: Callable[[RunConfig, Folder], RunConfig],
    report: Callable[[Results, Path], Page],
) -> Experiment:
    """The experiment, named as its config says, that trains these arms after tuning them alike."""
    return Experiment(
        name=config.tracking.experiment,
        config=config,
        arms=tuple(arms),
        num_seeds=1 if quick else 3,
        metric="test/score",
        trial=trial,
        prepare=prepare,
        report=report,
        tuning=tuning_of(arms, quick=quick),
    )


def arms_of(
    group: str, methods: Sequence[str], settings: Settings, *, table: str, quick: bool
) -> Iterator[Arm]:
    """An arm for each method on one table."""
    for method in methods:
        title, own = METHODS[method]
        every: Settings = {
            TABLE: table,
            FEWER: QUICK_FEWER if quick else 1,
            FLOORS: False,
        }
        short: Settings = {"train.steps": QUICK_STEPS} if quick else {}
        yield Arm(
            group=group,
            method=method,
            title=title,
            settings={**every, **settings, **own, **short},
        )


def tuning_of(arms: Sequence[Arm], *, quick: bool) -> Tuning:
    """The tuning of some arms, alike for all, on pairs of validation."""
    methods = dict.fromkeys(arm.method for arm in arms)
    return Tuning(
        alternatives={m: TRIED[m][: QUICK_TRIED if quick else None] for m in methods},
        changes={FLOORS: False},
        shorter=QUICK_SHORTER if quick else SHORTER,
        metric=CHOSEN_BY,
    )
