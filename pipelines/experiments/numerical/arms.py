"""`adassl experiment numerical`: pairs whose true distribution is known."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import get_args

from pipelines.config.run import RunConfig, with_overrides
from pipelines.experiments.arm import LOW_RANK, NO_R, PLAIN, Arm, Settings
from pipelines.experiments.grid import Experiment
from pipelines.experiments.latent_sizes import size_arms
from pipelines.experiments.numerical.hypotheses import SIZE_GROUPS
from pipelines.experiments.numerical.page import page_of
from pipelines.experiments.numerical.trial import run_numerical_trial
from pipelines.experiments.tuning import STEPS, Tuning
from pipelines.sources.numerical import Conditional
from pipelines.storage.folder import Folder

DIM, EMBEDDING_DIM = 4, 16
CONDITIONALS = get_args(Conditional)

BASE: dict[str, object] = {
    "data.frames_per_clip": DIM,
    "data.frame_size": 1,
    "data.grayscale": True,
    "backbone.name": "mlp",
    "backbone.hidden_dims": [128, EMBEDDING_DIM],
    "method.embedding_dim": EMBEDDING_DIM,
    "method.projector_hidden_dims": [],
    "method.latent_hidden_dims": [128],
    "method.editor_hidden_dims": [128],
    "method.predictor_hidden_dims": [64],
    "method.latent_dim": 16,
    "method.temperature": 0.002,
    "optim.learning_rate": 1e-2,
    "optim.weight_decay": 0.1,
    "optim.clip_norm": 10.0,
    "train.global_batch_size": 256,
    "train.precision": "float32",
    "train.log_every": 100,
    "train.checkpoint_every": 1500,
    "train.val_pairs": 0,
    "tracking.experiment": "numerical",
}

MLP: Settings = {"method.editor": "mlp", "method.temperature": 0.01}
ADDITIVE: Settings = {"method.editor": "additive"}
VARIATIONAL: Settings = {
    "method.latent": "variational",
    "method.beta": 0.5,
    "method.beta_warmup_steps": 500,
}
SPARSE: Settings = {
    "method.latent": "sparse",
    "method.beta": 0.1,
    "method.beta_warmup_steps": 0,
}
LEJEPA: Settings = {
    "method.objective": "lejepa",
    "method.sigreg_weight": 0.001,
    "method.embedding_dim": DIM,
    "method.num_projections": 16,
}
"""As many dimensions as factors: more could not be Gaussian and a function of them."""
LEJEPA_BETA = 0.01
"""The squared error is far smaller than InfoNCE's loss at its temperature, and so is the weight."""
GENTLE = "no-r-mlp-gentle"
METHODS: dict[str, tuple[str, Settings]] = {
    "infonce": ("InfoNCE", PLAIN),
    "aninfonce": ("AnInfoNCE", {**PLAIN, "method.objective": "aninfonce"}),
    "hinfonce": (
        "H-InfoNCE",
        {**PLAIN, "method.objective": "hinfonce", "method.temperature": 0.01},
    ),
    "no-r": ("low-rank editor, no r", {**NO_R, **LOW_RANK}),
    "no-r-mlp": ("MLP editor, no r", {**NO_R, **MLP}),
    GENTLE: (
        "MLP editor, no r, gentle optimiser",
        {
            **NO_R,
            **MLP,
            "optim.learning_rate": 4e-3,
            "optim.clip_norm": 1.0,
            "optim.weight_decay": 1e-5,
        },
    ),
    "v": ("AdaSSL-V, low-rank", {**VARIATIONAL, **LOW_RANK}),
    "v-mlp": ("AdaSSL-V, MLP", {**VARIATIONAL, **MLP}),
    "v-additive": ("AdaSSL-V, additive", {**VARIATIONAL, **ADDITIVE}),
    "s": ("AdaSSL-S, low-rank", {**SPARSE, **LOW_RANK}),
    "lejepa": ("LeJEPA", {**PLAIN, **LEJEPA}),
    "lejepa-no-r": ("LeJEPA, low-rank editor, no r", {**NO_R, **LOW_RANK, **LEJEPA}),
    "lejepa-v": (
        "LeJEPA + AdaSSL-V, low-rank",
        {**VARIATIONAL, **LOW_RANK, **LEJEPA, "method.beta": LEJEPA_BETA},
    ),
    "true-r": (
        "the true r given, low-rank",
        {"method.latent": "given", **LOW_RANK, "method.latent_dim": DIM},
    ),
}
"""Where the tuning begins, and what it leaves."""
OF_LEJEPA = ("lejepa", "lejepa-no-r", "lejepa-v")
FEWER = {
    "isotropic": ("infonce", "no-r", "no-r-mlp", "v", "s", *OF_LEJEPA),
    "anisotropic": ("infonce", "aninfonce", "no-r", "no-r-mlp", "v", "s", *OF_LEJEPA),
    "heteroscedastic": (
        *("infonce", "hinfonce", "no-r", "no-r-mlp", GENTLE, "v", "v-mlp", "s"),
        *OF_LEJEPA,
    ),
    "multimodal": ("infonce", "no-r", "no-r-mlp", "v", "s", *OF_LEJEPA),
}
"""The methods under the conditionals that are not the paper's hardest."""
CONFIRMED_UNDER, CONFIRMED = "heteroscedastic", ("v", "no-r", "no-r-mlp", GENTLE)
"""The one comparison that was fixed before any reported seed was run; it has more of them."""

BYOL: Settings = {
    "method.objective": "byol",
    "method.ema_momentum": 0.99,
    "method.beta": 0.001,
    "optim.learning_rate": 3e-3,
}
NUM_SEEDS, NUM_ABLATION_SEEDS, NUM_TEST_SEEDS = 5, 3, 10
NUM_STEPS, QUICK_STEPS = 1500, 300
SIZES = (1, 2, 4, 8)

_RATES: Sequence[Settings] = [
    {"method.temperature": t, "optim.learning_rate": rate}
    for t in (0.002, 0.01)
    for rate in (1e-2, 3e-3)
]
_VARIATIONAL: Sequence[Settings] = [
    {"method.temperature": t, "method.beta": beta} for t in (0.002, 0.01) for beta in (0.5, 0.1)
]
_SPARSE: Sequence[Settings] = [
    {"method.temperature": t, "method.beta": beta} for t in (0.002, 0.01) for beta in (0.1, 0.03)
]
_LEJEPA: Sequence[Settings] = [
    {"method.sigreg_weight": weight} for weight in (0.05, 0.01, 0.002, 0.0005)
]
_LEJEPA_V: Sequence[Settings] = [
    {"method.sigreg_weight": weight, "method.beta": beta}
    for weight in (0.01, 0.001)
    for beta in (0.01, 0.001)
]
_BYOL: Sequence[Settings] = [
    {"method.ema_momentum": ema, "optim.learning_rate": rate}
    for ema in (0.99, 0.996)
    for rate in (3e-3, 1e-3)
]
BYOL_S = "byol-0"
TRIED: Mapping[str, Sequence[Settings]] = {
    **dict.fromkeys(("infonce", "aninfonce", "hinfonce", "no-r", "no-r-mlp", "true-r"), _RATES),
    **dict.fromkeys(("v", "v-mlp", "v-additive"), _VARIATIONAL),
    "s": _SPARSE,
    **dict.fromkeys(("lejepa", "lejepa-no-r"), _LEJEPA),
    "lejepa-v": _LEJEPA_V,
    BYOL_S: _BYOL,
}
"""Settings of which complex pairs of another mixing choose, for each method as many."""
ADDITIVE_NOISE = ("isotropic", "anisotropic", "multimodal")
"""Conditionals for which isotropic pairs choose LeJEPA's settings: what serves where the noise is
additive hardly trains where it depends on c, and the other way round."""
SHORTER = 2


def tuning_of(arms: Sequence[Arm]) -> Tuning:
    """The tuning of all arms; but for LeJEPA what complex pairs choose serves all conditionals."""
    parents = {arm.name: parent_of(arm) for arm in arms}
    return Tuning(
        alternatives=TRIED,
        shorter=SHORTER,
        metric="val/c/unscaled_refit",
        taken_from={name: parent for name, parent in parents.items() if parent != name},
    )


def parent_of(arm: Arm) -> str:
    """The arm whose tuning an arm takes, maybe its own."""
    if arm.method in OF_LEJEPA and arm.group in ADDITIVE_NOISE:
        return f"isotropic.{arm.method}"
    if arm.group in CONDITIONALS:
        return f"complex.{arm.method.removesuffix('-gentle')}"
    if arm.group in SIZE_GROUPS or arm.group == "warm-up":
        return "complex.v"
    if arm.group == "shortcut":
        return f"complex.{arm.method.removesuffix('-0')}"
    return "complex.s" if arm.method.startswith("infonce") else f"{arm.group}.{BYOL_S}"


def experiment(*, quick: bool) -> Experiment:
    """The full experiment, or a version of two minutes that shows that everything works."""
    config = with_overrides(RunConfig(), BASE)
    arms = tuple(_arms())
    tuning: Tuning | None = tuning_of(arms)
    if quick:
        tuning = None
        config = with_overrides(config, {"train.checkpoint_every": QUICK_STEPS})
        kept = [f"complex.{method}" for method in ("infonce", "no-r", "v", "s")]
        short: Settings = {STEPS: QUICK_STEPS}
        arms = tuple(
            replace(arm, num_seeds=2, settings={**arm.settings, **short})
            for arm in arms
            if arm.name in kept
        )
    return Experiment(
        name="numerical",
        config=config,
        arms=arms,
        num_seeds=NUM_SEEDS,
        metric="test/c/refit",
        trial=run_numerical_trial,
        prepare=_prepare,
        report=page_of,
        tuning=tuning,
    )


def _prepare(config: RunConfig, folder: Folder) -> RunConfig:
    return config  # pairs are drawn when they are needed


def _arms() -> Iterator[Arm]:
    for conditional in CONDITIONALS:
        methods = FEWER.get(conditional, tuple(METHODS))
        for method in methods:
            if method != GENTLE or conditional == CONFIRMED_UNDER:
                title, settings = METHODS[method]
                is_confirmed = conditional == CONFIRMED_UNDER and method in CONFIRMED
                yield Arm(
                    group=conditional,
                    method=method,
                    title=title,
                    settings={"task.conditional": conditional, STEPS: NUM_STEPS, **settings},
                    num_seeds=NUM_TEST_SEEDS if is_confirmed else None,
                )
    yield from _ablations()
    for group, conditional in SIZE_GROUPS.items():
        settings = {"task.conditional": conditional, STEPS: NUM_STEPS, **METHODS["v"][1]}
        yield from size_arms(group, settings, SIZES, NUM_ABLATION_SEEDS)


def _ablations() -> Iterator[Arm]:
    task: Settings = {"task.conditional": "complex", STEPS: NUM_STEPS}
    v, s = METHODS["v"][1], METHODS["s"][1]
    byol_s: Settings = {**s, **BYOL}
    rows: list[tuple[str, str, str, Settings]] = [
        ("warm-up", "on", "β rises over 500 steps", v),
        ("warm-up", "off", "β from the first step", {**v, "method.beta_warmup_steps": 0}),
        ("shortcut", "v-0", "AdaSSL-V, β = 0", {**v, "method.beta": 0.0}),
        ("shortcut", "s-0", "AdaSSL-S, β = 0", {**s, "method.beta": 0.0}),
    ]
    for rate in (0.0, 0.25):
        asked: Settings = {"method.active_rate": rate}
        name = f"S, rate {rate:g}" if rate else "S"
        rows.append(("sparse-use", f"infonce-{rate:g}", f"InfoNCE + {name}", {**s, **asked}))
        rows.append(("sparse-use", f"byol-{rate:g}", f"BYOL + {name}", {**byol_s, **asked}))
    for group, method, title, settings in rows:
        yield Arm(
            group=group,
            method=method,
            title=title,
            settings={**task, **settings},
            num_seeds=NUM_ABLATION_SEEDS,
        )
