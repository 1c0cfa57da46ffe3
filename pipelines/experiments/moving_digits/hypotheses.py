"""The claims that the moving-digits experiment decides, each by a stated rule."""

import numpy as np

from pipelines.experiments.page import Hypothesis, judged
from pipelines.experiments.results import Results, any_is_better, is_better, told
from pipelines.sources.digit_motion import probability_of_y

T = "test/"
EDITED, PAIR = T + "change_edited/linear", T + "change_pair/linear"
DIGIT, VELOCITY = T + "digit/linear", T + "velocity/linear"
ENERGY, SPREAD, SLOPE = T + "world/energy", T + "world/spread", T + "world/slope"
TRUE_SLOPE = probability_of_y("B", 1) - probability_of_y("B", 0)


def hypotheses(results: Results) -> list[Hypothesis]:
    """Each claim, decided by the figures."""
    found = [*_hypotheses_of_change(results), _all_three(results), _surrogate(results)]
    found += [_better_h(results, objective) for objective in ("infonce", "byol")]
    found += [_energy(results, group) for group in ("A", "B")]
    found += [_spread(results), _curve(results), _mixture(results), _sparse(results)]
    return [*found, _alive(results)]


def _hypotheses_of_change(results: Results) -> list[Hypothesis]:
    found = []
    for objective, name in (("byol", "BYOL"), ("infonce", "InfoNCE")):
        test = results.compare("A", f"{objective}-v", f"{objective}-no-r", EDITED)
        figures = [
            f"{title} {results.shown('A', f'{objective}-{method}', EDITED)}"
            for method, title in (("plain", "alone"), ("no-r", "no r"), ("v", "V"), ("s", "S"))
        ]
        found.append(
            judged(
                "paper",
                f"With {name}, r recovers the change of velocity that {name} alone loses",
                is_better(test),
                f"R² from the edited embedding: {', '.join(figures)}; V − no r: {told(test)}",
            )
        )
    return found


def _all_three(results: Results) -> Hypothesis:
    goals = {DIGIT: 0.80, VELOCITY: 0.95, EDITED: 0.75}
    methods = [m for m in results.titles("A") if "-v" in m or "-s" in m]
    short = {
        m: sum(np.maximum(0.0, goal - results.mean("A", m, key)) for key, goal in goals.items())
        for m in methods
    }
    known = {m: s for m, s in short.items() if not np.isnan(s)}
    if not known:
        return judged("ours", "One encoder holds digit, velocity and change", None, "no figures")
    best = min(known, key=lambda m: known[m])
    figures = ", ".join(
        f"{name} {results.shown('A', best, key)} (goal {goals[key]:.2f})"
        for name, key in (("digit", DIGIT), ("velocity", VELOCITY), ("change", EDITED))
    )
    title = results.titles("A")[best]
    statement = "One encoder holds digit ≥ 0.80, velocity ≥ 0.95 and change ≥ 0.75"
    return judged("paper", statement, bool(known[best] == 0), f"the nearest, {title}: {figures}")


def _surrogate(results: Results) -> Hypothesis:
    parts, holds = [], []
    for objective, name in (("infonce", "InfoNCE"), ("byol", "BYOL")):
        test = results.compare("A", f"{objective}-v", f"{objective}-v-without", EDITED)
        if test is not None:
            holds.append(is_better(test))
            shown = results.shown("A", f"{objective}-v-without", EDITED)
            parts.append(f"{name}: without {shown}, {told(test)}")
    statement = "The surrogate x++ helps AdaSSL-V to know the change (edited)"
    return judged("paper", statement, all(holds) if holds else None, "; ".join(parts) or "–")


def _better_h(results: Results, objective: str) -> Hypothesis:
    name = {"infonce": "InfoNCE", "byol": "BYOL"}[objective]
    parts, tests = [], []
    for figure, key in (("digit", DIGIT), ("velocity", VELOCITY), ("change from the pair", PAIR)):
        test = results.compare("A", f"{objective}-v", f"{objective}-no-r", key)
        if test is not None:
            tests.append(test)
            parts.append(f"{figure} {told(test)}")
    statement = f"With {name}, r makes the encoder itself better than the same editor without r"
    statement += " (any of three figures, at 5 % for all three)"
    figures = "; ".join(parts) or "–"
    return judged("paper", statement, any_is_better(tests), f"V − no r: {figures}")


def _energy(results: Results, group: str) -> Hypothesis:
    parts, tests = [], []
    for objective, name in (("infonce", "InfoNCE"), ("byol", "BYOL")):
        for method in ("v", "v-mixture"):
            arm, control = f"{objective}-{method}", f"{objective}-no-r"
            test = results.compare(group, control, arm, ENERGY)
            if test is not None:
                tests.append(test)
                parts.append(
                    f"{name} {method} {results.shown(group, arm, ENERGY, 3)}, no r "
                    f"{results.shown(group, control, ENERGY, 3)}, {told(test)}"
                )
    oracle = results.shown(group, "infonce-v", T + "world/energy_oracle", 3)
    return judged(
        "ours",
        f"Setting {group}: sampled futures score better than the deterministic control's",
        any_is_better(tests),
        "; ".join([*parts, f"the law {oracle}"]),
    )


def _spread(results: Results) -> Hypothesis:
    arms = [(g, f"{o}-{m}") for g in "AB" for o in ("infonce", "byol") for m in ("v", "v-mixture")]
    known = {arm: results.mean(*arm, SPREAD) for arm in arms}
    known = {arm: spread for arm, spread in known.items() if not np.isnan(spread)}
    inside = [spread for spread in known.values() if abs(spread - 1) <= 0.25]
    figures = ", ".join(f"{g} {m} {results.shown(g, m, SPREAD)}" for g, m in known)
    statement = "The spread of the sampled velocities is within ±25 % of the true one"
    return judged("ours", statement, bool(inside) if known else None, figures or "–")


def _curve(results: Results) -> Hypothesis:
    arms = [f"{o}-{m}" for o in ("infonce", "byol") for m in ("v", "v-mixture")]
    slopes = {arm: results.values("B", arm, SLOPE) for arm in arms}
    known = {arm: values for arm, values in slopes.items() if len(values)}
    seen = [v.mean() > TRUE_SLOPE / 2 and v.min() > 0 for v in known.values()]
    figures = ", ".join(f"{arm} {results.shown('B', arm, SLOPE, 3)}" for arm in known)
    return judged(
        "paper",
        "Setting B: the futures know that the axis of the change depends on the digit (slope of "
        "the share along y at least half the true one, positive for every seed)",
        any(seen) if known else None,
        f"slope a digit: {figures}; the law {TRUE_SLOPE:.3f}",
    )


def _mixture(results: Results) -> Hypothesis:
    parts, tests = [], []
    for group in "AB":
        for objective in ("infonce", "byol"):
            arms = f"{objective}-v", f"{objective}-v-mixture"
            test = results.compare(group, *arms, ENERGY)
            if test is not None:
                cross = " against ".join(
                    results.shown(group, arm, T + "world/cross") for arm in reversed(arms)
                )
                tests.append(test)
                parts.append(f"{group} {objective}: energy {told(test)}, smaller/larger {cross}")
    statement = "A mixture prior foretells better than one factorised Gaussian (the law is a cross)"
    return judged("reviewers", statement, any_is_better(tests), "; ".join(parts) or "–")


def _sparse(results: Results) -> Hypothesis:
    active = {
        o: results.values("A", f"{o}-s", "val/latent_mean_active") for o in ("infonce", "byol")
    }
    known = all(len(values) for values in active.values())
    holds = bool(active["byol"].mean() < active["infonce"].mean()) if known else None
    figures = ", ".join(
        f"{o}: E‖r‖₀ {results.shown('A', f'{o}-s', 'val/latent_mean_active')}, "
        f"H(ρ) {results.shown('A', f'{o}-s', 'val/latent_use_entropy')}"
        for o in active
    )
    return judged("paper", "With BYOL, AdaSSL-S uses fewer dimensions of r", holds, figures)


def _alive(results: Results) -> Hypothesis:
    test = results.compare("long", "free", "paid", EDITED)
    kl = {arm: results.shown("long", arm, "val/kl", 1) for arm in ("paid", "free")}
    change = {arm: results.shown("long", arm, EDITED) for arm in ("paid", "free")}
    return judged(
        "ours",
        "Free bits keep r, and with it the change, alive in long InfoNCE runs",
        is_better(test),
        f"with β from the first nat KL {kl['paid']}, change {change['paid']}; with free bits KL "
        f"{kl['free']}, change {change['free']}; {told(test)}",
    )
