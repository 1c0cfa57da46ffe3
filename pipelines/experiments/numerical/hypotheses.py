"""The claims that the numerical experiment decides, each by a stated rule."""

from collections.abc import Callable

from pipelines.experiments.page import Hypothesis, judged
from pipelines.experiments.results import Results, is_better, told

LAWS = ("isotropic", "anisotropic", "heteroscedastic", "multimodal", "complex")
ID, OOD, REFIT = "test/c/id", "test/c/ood", "test/c/refit"
CHANGE, PENALTY = "test/change", "test/penalty"
ACTIVE, ENTROPY = "test/latent_mean_active", "test/latent_use_entropy"
CONTROLS = {"v": "no-r", "s": "no-r", "v-mlp": "no-r-mlp"}


def hypotheses(results: Results) -> list[Hypothesis]:
    """Each claim, decided by the figures."""
    found = [
        _at_least(results, "pilot", "isotropic", {"infonce": 0.95}, ID, "c"),
        _at_most(results, "pilot", "complex", {"infonce": 0.35, "aninfonce": 0.35}, REFIT, "c"),
        _at_least(results, "pilot", "complex", {"v": 0.92, "s": 0.85}, REFIT, "c"),
        _at_least(results, "pilot", "complex", {"v": 0.55, "s": 0.8}, CHANGE, "the change"),
        _at_most(
            results, "pilot", "complex", {"no-r": 0.05, "no-r-mlp": 0.05}, CHANGE, "the change"
        ),
    ]
    ours = {"v": "AdaSSL-V", "s": "AdaSSL-S", "v-mlp": "AdaSSL-V (MLP)"}
    for method in ("v", "s"):
        for rivals in (
            {"infonce": "InfoNCE", "aninfonce": "AnInfoNCE"},
            {"hinfonce": "H-InfoNCE"},
            {"no-r-mlp": "any editor without r", "no-r": "the low-rank one"},
        ):
            found.append(_better(results, "paper", "complex", method, ours[method], rivals))
    for law in LAWS:
        for method, name in ours.items():
            if method != "v-mlp" or law in ("heteroscedastic", "complex"):
                control = {CONTROLS[method]: "the same editor without r"}
                found.append(_better(results, "ours", law, method, name, control))
    ablations = [
        _needs_warm_up(results),
        _shortcut_shows(results),
        *_sparse_use_hypotheses(results),
    ]
    return [_hypothesis(results), *found, *ablations]


def _needs_warm_up(results: Results) -> Hypothesis:
    tests = {"on": None, "off": None}
    shown = {arm: results.shown("warm-up", arm, REFIT, 3) for arm in tests}
    kl = {arm: results.shown("warm-up", arm, PENALTY, 1) for arm in tests}
    test = results.compare("warm-up", "on", "off", REFIT)
    return judged(
        "paper",
        "Without β warm-up AdaSSL-V keeps less of c",
        is_better(test),
        f"with {shown['on']} (KL {kl['on']}), without {shown['off']} (KL {kl['off']}): "
        f"{told(test)}",
    )


def _shortcut_shows(results: Results) -> Hypothesis:
    kl = results.mean("shortcut", "v-0", PENALTY) / results.mean("complex", "v", PENALTY)
    loss = {
        name: results.mean(group, method, "train/ssl")
        for name, group, method in (("β 0", "shortcut", "v-0"), ("β 0.5", "complex", "v"))
    }
    known = kl == kl
    return judged(
        "ours",
        "A shortcut (β = 0) shows in the diagnostics: KL over five times, InfoNCE under a fifth",
        bool(kl > 5 and loss["β 0"] < loss["β 0.5"] / 5) if known else None,
        f"KL {results.shown('shortcut', 'v-0', PENALTY, 1)} against "
        f"{results.shown('complex', 'v', PENALTY, 1)}; InfoNCE in training {loss['β 0']:.3f} "
        f"against {loss['β 0.5']:.3f} nats; R² of c {results.shown('shortcut', 'v-0', REFIT, 3)} "
        f"against {results.shown('complex', 'v', REFIT, 3)}",
    )


def _sparse_use_hypotheses(results: Results) -> list[Hypothesis]:
    group, plain, cured = "sparse-use", "byol-0", "byol-0.1"
    active = results.compare(group, "infonce-0", plain, ACTIVE)
    use = results.compare(group, cured, plain, ACTIVE)
    encoder = results.compare(group, cured, plain, REFIT)
    figures = ", ".join(
        f"{name}: E‖r‖₀ {results.shown(group, arm, ACTIVE)}, "
        f"H(ρ) {results.shown(group, arm, ENTROPY)}"
        for name, arm in (("InfoNCE", "infonce-0"), ("BYOL", plain), ("BYOL, rewarded", cured))
    )
    return [
        judged(
            "paper",
            "With BYOL, AdaSSL-S uses fewer dimensions of r than with InfoNCE",
            is_better(active),
            f"{figures}; {told(active)}",
        ),
        judged(
            "ours",
            "A reward for H(ρ) makes AdaSSL-S use more of r with BYOL, and its encoder better",
            None if use is None or encoder is None else use.difference > 0 and is_better(encoder),
            f"E‖r‖₀ {told(use)}; R² of c {told(encoder)}",
        ),
    ]


def _hypothesis(results: Results) -> Hypothesis:
    """The comparison of `numerical.CONFIRMED`: against the best of three controls."""
    group, controls = "heteroscedastic", ("no-r", "no-r-mlp", "no-r-mlp-gentle")
    known = {c: results.mean(group, c, REFIT) for c in controls}
    known = {c: mean for c, mean in known.items() if mean == mean}
    best = max(known, key=lambda c: known[c]) if known else controls[0]
    test = results.compare(group, "v", best, REFIT)
    in_distribution = results.compare(group, "v", best, ID)
    return judged(
        "ours",
        "Hypothesis, stated before its seeds were run: where the spread of the change depends on "
        "c, r makes the *encoder* keep more of c than the best of three editors without r",
        is_better(test),
        f"AdaSSL-V {results.shown(group, 'v', REFIT, 3)}, best control ({best}) "
        f"{results.shown(group, best, REFIT, 3)}: {told(test)}; in distribution "
        f"{told(in_distribution)}",
    )


def _better(
    results: Results, source: str, group: str, method: str, name: str, rivals: dict[str, str]
) -> Hypothesis:
    parts, holds = [], []
    for rival, title in rivals.items():
        test = results.compare(group, method, rival, REFIT)
        if test is not None:
            holds.append(is_better(test))
        shown = results.shown(group, rival, REFIT, 3)
        parts.append(f"{title} {shown}, {told(test)}")
    return judged(
        source,
        f"{group.capitalize()}: {name} keeps more of c than {', '.join(rivals.values())}",
        all(holds) if holds else None,
        f"{name} {results.shown(group, method, REFIT, 3)}; " + "; ".join(parts),
    )


def _at_least(
    results: Results, source: str, group: str, goals: dict[str, float], metric: str, what: str
) -> Hypothesis:
    return _goal(results, source, group, goals, metric, what, "at least", lambda m, g: m >= g)


def _at_most(
    results: Results, source: str, group: str, goals: dict[str, float], metric: str, what: str
) -> Hypothesis:
    return _goal(results, source, group, goals, metric, what, "at most", lambda m, g: m <= g)


def _goal(
    results: Results,
    source: str,
    group: str,
    goals: dict[str, float],
    metric: str,
    what: str,
    words: str,
    holds: Callable[[float, float], bool],
) -> Hypothesis:
    means = {method: results.mean(group, method, metric) for method in goals}
    known = [m for m, mean in means.items() if mean == mean]
    asked = ", ".join(f"{method} {goal:.2f}" for method, goal in goals.items())
    shown = ", ".join(f"{method} {results.shown(group, method, metric, 3)}" for method in goals)
    verdict = all(holds(means[m], goals[m]) for m in known) if known else None
    return judged(source, f"{group.capitalize()}: R² of {what} {words}: {asked}", verdict, shown)
