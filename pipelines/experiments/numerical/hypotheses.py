"""The hypotheses that the numerical experiment decides, each by a stated rule."""

from pipelines.experiments.hypothesis import Hypothesis, check, check_methods, every, some
from pipelines.experiments.latent_sizes import size_hypothesis
from pipelines.experiments.results import Results, Score

CONDITIONALS = ("isotropic", "anisotropic", "heteroscedastic", "multimodal", "complex")
SIZE_GROUPS = {f"size-{name}": name for name in CONDITIONALS}
ID, OOD, REFIT = "test/c/id", "test/c/ood", "test/c/refit"
UNSCALED = "test/c/unscaled"
EDITED, PAIR, LATENT = "test/change", "test/change_pair", "test/change_latent"
PENALTY, LASSO = "test/penalty", "test/disentanglement_lasso"
ACTIVE, ENTROPY = "test/latent_mean_active", "test/latent_use_entropy"
OURS = {"v": "AdaSSL-V", "s": "AdaSSL-S"}
RIVALS = {
    "InfoNCE and AnInfoNCE": ("infonce", "aninfonce"),
    "H-InfoNCE": ("hinfonce",),
    "the MLP and the low-rank editor without r": ("no-r-mlp", "no-r"),
}
CONTROLS = {"v": "no-r", "s": "no-r", "v-mlp": "no-r-mlp"}


def hypotheses(results: Results) -> list[Hypothesis]:
    """Each hypothesis, decided by the metrics."""
    r2, change = "R² of c", "R² of the change (edited)"
    found = [
        _confirmed(results),
        _goals(results, "isotropic", {"infonce": 0.95}, ID, r2),
        _limits(results, "complex", {"infonce": 0.35, "aninfonce": 0.35}, REFIT, r2),
        _goals(results, "complex", {"v": 0.92, "s": 0.85}, REFIT, r2),
        _goals(results, "complex", {"v": 0.55, "s": 0.8}, EDITED, change),
    ]
    for method in OURS:
        for names, others in RIVALS.items():
            found.append(_keeps_more(results, "paper", "complex", method, names, others))
    for conditional in CONDITIONALS:
        for method, control in CONTROLS.items():
            if method != "v-mlp" or conditional in ("heteroscedastic", "complex"):
                same = "the same editor without r"
                found.append(_keeps_more(results, "ours", conditional, method, same, (control,)))
    found += [_recovers(results), *(_change_in_pair(results, name) for name in CONDITIONALS)]
    found += [_disentangles(results), _needs_warm_up(results), _shortcut_shows(results)]
    sizes = size_hypothesis(results, SIZE_GROUPS, (REFIT, LATENT), "mean R² of c and of the change")
    return [*found, sizes, *_sparse_use(results), *_lejepa(results)]


def _confirmed(results: Results) -> Hypothesis:
    """The comparison of `CONFIRMED` in the arms, by the rule that was fixed with it."""
    group, controls = "heteroscedastic", ("no-r", "no-r-mlp", "no-r-mlp-gentle")
    known = [c for c in controls if len(results.values(group, c, REFIT))]
    best = max(known, key=lambda c: results.mean(group, c, REFIT), default=controls[0])
    in_distribution = check_methods(results, group, "v", best, ID, "in distribution,")
    return every(
        "ours",
        "Stated before its seeds were run: where the spread of the change depends on c, r makes "
        "the *encoder* keep more of c than the best of three editors without r",
        [check_methods(results, group, "v", best, REFIT)],
        str(in_distribution),
    )


def _goals(
    results: Results, group: str, goals: dict[str, float], metric: str, what: str
) -> Hypothesis:
    asked = ", ".join(f"{method} {goal:g}" for method, goal in goals.items())
    checks = [check(results, Score(group, method, metric), goal) for method, goal in goals.items()]
    return every("pilot", f"{group.capitalize()}: {what} above {asked}", checks)


def _limits(
    results: Results, group: str, limits: dict[str, float], metric: str, what: str
) -> Hypothesis:
    asked = ", ".join(f"{method} {limit:g}" for method, limit in limits.items())
    checks = [
        check(results, limit, Score(group, method, metric)) for method, limit in limits.items()
    ]
    return every("pilot", f"{group.capitalize()}: {what} below {asked}", checks)


def _keeps_more(
    results: Results, source: str, group: str, method: str, names: str, others: tuple[str, ...]
) -> Hypothesis:
    name = OURS.get(method, "AdaSSL-V (MLP)")
    checks = [check_methods(results, group, method, other, REFIT) for other in others]
    return every(source, f"{group.capitalize()}: {name} keeps more of c than {names}", checks)


def _recovers(results: Results) -> Hypothesis:
    alone = Score("complex", "infonce", PAIR, "InfoNCE (z, z+)")
    return every(
        "paper",
        "Complex: r recovers the change that InfoNCE alone loses: each of AdaSSL-V and -S reads it "
        "better from (z, r) than InfoNCE from (z, z+)",
        [check(results, Score("complex", method, LATENT), alone) for method in OURS],
    )


def _change_in_pair(results: Results, group: str) -> Hypothesis:
    return every(
        "ours",
        f"{group.capitalize()}: with each of AdaSSL-V and -S (z, z+) holds more of the change than "
        "with the same editor without r",
        [check_methods(results, group, method, CONTROLS[method], PAIR) for method in OURS],
    )


def _disentangles(results: Results) -> Hypothesis:
    return some(
        "paper",
        "Complex: some AdaSSL arm disentangles more than InfoNCE (DCI by LassoCV)",
        [
            check_methods(results, "complex", method, "infonce", LASSO)
            for method in ("v", "v-mlp", "v-additive", "s")
        ],
    )


def _needs_warm_up(results: Results) -> Hypothesis:
    kl = {arm: results.shown("warm-up", arm, PENALTY, 1) for arm in ("on", "off")}
    return every(
        "paper",
        "Without β warm-up AdaSSL-V keeps less of c",
        [check_methods(results, "warm-up", "on", "off", REFIT)],
        f"KL with {kl['on']}, without {kl['off']}",
    )


def _shortcut_shows(results: Results) -> Hypothesis:
    without, v, loss = ("shortcut", "v-0"), ("complex", "v"), "train/ssl"
    return every(
        "ours",
        "A shortcut (β = 0) shows in the diagnostics: KL over five times, InfoNCE under a fifth",
        [
            check(results, Score(*without, PENALTY), Score(*v, PENALTY), "KL,", times=5),
            check(results, Score(*v, loss), Score(*without, loss), "InfoNCE in training,", times=5),
        ],
        f"R² of c {results.shown(*without, REFIT, 3)} against {results.shown(*v, REFIT, 3)}",
    )


def _sparse_use(results: Results) -> list[Hypothesis]:
    group, plain, rated = "sparse-use", "byol-0", "byol-0.25"
    entropy = ", ".join(
        f"{arm} {results.shown(group, arm, ENTROPY)}" for arm in ("infonce-0", plain, rated)
    )
    return [
        every(
            "paper",
            "With BYOL, AdaSSL-S uses fewer dimensions of r than with InfoNCE",
            [check_methods(results, group, "infonce-0", plain, ACTIVE, "E‖r‖₀,")],
            f"H(ρ): {entropy}",
        ),
        every(
            "ours",
            "With BYOL, a rate makes AdaSSL-S use more of r, and its encoder better",
            [
                check_methods(results, group, rated, plain, ACTIVE, "E‖r‖₀,"),
                check_methods(results, group, rated, plain, REFIT, "c,"),
            ],
        ),
    ]


def _lejepa(results: Results) -> list[Hypothesis]:
    """The theorem of arXiv 2605.26379 at work, and what r adds where it does not apply.

    LeJEPA finds Gaussian factors up to a linear map where they change by additive noise and stay as
    they are distributed. Of our laws the isotropic one is near to that (c+ has 1.09 times the
    variance). Under the anisotropic and the multimodal one the noise is additive, but c+ is
    distributed otherwise than c; under the others the noise depends on c.
    """
    from_z = "R² of c from z before it is scaled,"
    isotropic = Score("isotropic", "lejepa", UNSCALED)
    found = [
        every(
            "theorem",
            "Isotropic: LeJEPA finds c up to a linear map: R² above 0.95",
            [check(results, isotropic, 0.95, from_z)],
        )
    ]
    for kind, laws in (
        ("c+ is distributed otherwise than c", ("anisotropic", "multimodal")),
        ("the noise depends on c", ("heteroscedastic", "complex")),
    ):
        checks = [check(results, isotropic, Score(law, "lejepa", UNSCALED), law) for law in laws]
        statement = f"LeJEPA finds less of c, linearly, where {kind} ({' and '.join(laws)})"
        found.append(every("theorem", statement, checks))
    for law in CONDITIONALS:
        checks = [
            check_methods(results, law, "lejepa-v", other, UNSCALED, from_z)
            for other in ("lejepa", "lejepa-no-r")
        ]
        statement = f"{law.capitalize()}: r makes LeJEPA find more of c, linearly, than without r"
        found.append(every("ours", statement, checks))
    return found
