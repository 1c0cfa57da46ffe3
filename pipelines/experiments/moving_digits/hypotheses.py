"""The hypotheses that the moving-digits experiment decides, each by a stated rule."""

from pipelines.experiments.hypothesis import (
    Check,
    Hypothesis,
    check,
    check_methods,
    every,
    jointly,
    some,
)
from pipelines.experiments.latent_sizes import size_hypothesis
from pipelines.experiments.results import Results, Score
from pipelines.sources.digit_motion import probability_of_y

T, F = "test/", "test/forecast/"
EDITED, PAIR = T + "change_edited/linear", T + "change_pair/linear"
LATENT = T + "change_latent/linear"
DIGIT, VELOCITY = T + "digit/linear", T + "velocity/linear"
ENERGY, SPREAD, SLOPE = F + "energy", F + "spread", F + "slope"
TRUE_SLOPE = probability_of_y("B", 1) - probability_of_y("B", 0)
ACTIVE, ENTROPY = "val/latent_mean_active", "val/latent_use_entropy"
OBJECTIVES = {"infonce": "InfoNCE", "byol": "BYOL"}
LEARNT = T + "prior/"
SIZE_GROUPS = {"size-A": "setting A", "size-B": "setting B"}
SAMPLED = tuple(f"{o}-{m}" for o in OBJECTIVES for m in ("v", "s", "v-mixture"))
"""Arms whose futures are judged."""
GOALS = {"digit": (DIGIT, 0.80), "velocity": (VELOCITY, 0.95), "change": (EDITED, 0.75)}


def hypotheses(results: Results) -> list[Hypothesis]:
    """Each hypothesis, decided by the metrics."""
    found = [_recovers(results, objective) for objective in OBJECTIVES]
    found += [_change_in_pair(results, objective) for objective in OBJECTIVES]
    found += [_better_encoder(results, objective) for objective in OBJECTIVES]
    found += [_all_three(results), _surrogate(results)]
    found += [_energy(results, group, rival) for group in "AB" for rival in RIVALS]
    found += [_near_truth(results), _spread(results), _flat(results), _slope(results)]
    found += [_fitted(results), _mixture(results), *_use(results)]
    return [*found, size_hypothesis(results, SIZE_GROUPS, (LATENT,), "R² of the change (z, r)")]


def _recovers(results: Results, objective: str) -> Hypothesis:
    name = OBJECTIVES[objective]
    alone = Score("A", f"{objective}-plain", PAIR)
    return every(
        "paper",
        f"With {name}, r recovers the change that {name} alone loses: AdaSSL-V reads it better "
        f"from (z, r) than {name} alone from (z, z+)",
        [check(results, Score("A", f"{objective}-v", LATENT), alone)],
        f"AdaSSL-S {results.shown('A', f'{objective}-s', LATENT, 3)}",
    )


def _change_in_pair(results: Results, objective: str) -> Hypothesis:
    return every(
        "ours",
        f"With {OBJECTIVES[objective]} and r, (z, z+) holds more of the change than with the same "
        "editor without r",
        [check_methods(results, "A", f"{objective}-v", f"{objective}-no-r", PAIR)],
    )


def _better_encoder(results: Results, objective: str) -> Hypothesis:
    v, control = f"{objective}-v", f"{objective}-no-r"
    return some(
        "paper",
        f"With {OBJECTIVES[objective]}, r makes the encoder's own h better in some of digit and "
        "velocity than the same editor without r",
        [
            check_methods(results, "A", v, control, metric, f"{name},")
            for name, metric in (("digit", DIGIT), ("velocity", VELOCITY))
        ],
    )


def _all_three(results: Results) -> Hypothesis:
    arms = [m for m in results.titles("A") if "-v" in m or "-s" in m]
    goals = ", ".join(f"{name} > {goal:g}" for name, (_, goal) in GOALS.items())
    return some(
        "paper",
        f"Some encoder holds all of {goals} (edited)",
        [_goals_of(results, arm) for arm in arms],
    )


def _goals_of(results: Results, arm: str) -> Check:
    shown = (f"{n} {results.shown('A', arm, metric)}" for n, (metric, _) in GOALS.items())
    checks = [check(results, Score("A", arm, metric), goal) for metric, goal in GOALS.values()]
    return jointly(f"{results.titles('A')[arm]}, {', '.join(shown)}", checks)


def _surrogate(results: Results) -> Hypothesis:
    both = (
        f"{OBJECTIVES[o]} {results.shown('A', f'{o}-v-without', LATENT, 3)}" for o in OBJECTIVES
    )
    return every(
        "paper",
        "The surrogate x++ helps AdaSSL-V to know the change, read from (z, r), with each "
        "objective; without it the posterior reads x+, forward only in both",
        [check_methods(results, "A", f"{o}-v", f"{o}-v-forward", LATENT) for o in OBJECTIVES],
        f"without x++ in both directions: {', '.join(both)}",
    )


WIDE, MOST_ENERGY = 0.15, 1.08
RIVALS = {
    "control": "the deterministic control's",
    "last_velocity": "the last velocity, known exactly",
    "no_change": "no change, read from z of the source",
}
"""Forecasts that sampled futures are compared with."""


def _energy(results: Results, group: str, rival: str) -> Hypothesis:
    checks = []
    for arm in SAMPLED:
        other = Score(group, f"{arm.partition('-')[0]}-no-r", ENERGY)
        if rival != "control":
            other = Score(group, arm, f"{ENERGY}_{rival}", RIVALS[rival])
        if len(results.of_arm(group, arm)) and len(results.values(*other[:3])):
            checks.append(check(results, other, Score(group, arm, ENERGY), "energy of"))
    oracle = results.shown(group, SAMPLED[0], f"{ENERGY}_oracle", 3)
    statement = f"Setting {group}: sampled futures of some arm score better than {RIVALS[rival]}"
    return some("ours", statement, checks, f"the true distribution {oracle}")


def _sampled(results: Results, metric: str) -> list[tuple[str, str]]:
    """Setting and arm of the sampled futures that have a metric."""
    return [(g, arm) for g in "AB" for arm in SAMPLED if len(results.values(g, arm, metric))]


def _near_truth(results: Results) -> Hypothesis:
    checks = []
    for group, arm in _sampled(results, ENERGY):
        truth = Score(group, arm, f"{ENERGY}_oracle", "the true distribution")
        own = Score(group, arm, ENERGY)
        checks.append(check(results, truth, own, f"{group},", times=1 / MOST_ENERGY))
    return some(
        "ours",
        f"In some setting the sampled futures of some arm have at most {MOST_ENERGY:g} times the "
        "energy score of the true distribution",
        checks,
    )


def _spread(results: Results) -> Hypothesis:
    checks = []
    for group, arm in _sampled(results, SPREAD):
        spread = Score(group, arm, SPREAD)
        sides = [check(results, spread, 1 - WIDE), check(results, 1 + WIDE, spread)]
        title = f"{group}, {results.titles(group)[arm]} {results.shown(*spread[:3])}"
        learnt = results.shown(group, arm, LEARNT + "spread")
        checks.append(jointly(f"{title} (learnt prior {learnt})", sides))
    statement = (
        f"The spread of the sampled velocities of some arm is within ±{WIDE:.0%} of the true one"
    )
    return some("ours", statement, checks)


def _flat(results: Results) -> Hypothesis:
    edges = Score("A", "infonce-v", F + "rank_edges")
    sides = [check(results, edges, 1 - WIDE), check(results, 1 + WIDE, edges)]
    p = results.shown("A", "infonce-v", F + "rank_p")
    return every(
        "ours",
        "Setting A: what came is as often among the lowest and the highest of InfoNCE + AdaSSL-V's "
        f"futures as it should be, within ±{WIDE:.0%}",
        [jointly(f"ranks at the edges / flat {results.shown(*edges[:3])}", sides)],
        f"p of a flat rank histogram {p}",
    )


def _fitted(results: Results) -> Hypothesis:
    checks = []
    for group, arm in _sampled(results, LEARNT + "energy"):
        learnt = Score(group, arm, LEARNT + "energy", "the learnt prior")
        checks.append(check(results, learnt, Score(group, arm, ENERGY), f"{group},"))
    return every(
        "ours",
        "The prior that is fitted after training forecasts better than the learnt one (energy "
        "score), in each arm and setting",
        checks,
    )


def _slope(results: Results) -> Hypothesis:
    arms = [arm for arm in SAMPLED if len(results.values("B", arm, SLOPE))]
    return some(
        "paper",
        "Setting B: the futures of some arm know that the axis of the change depends on the digit "
        "(slope of the share along y over half the true one)",
        [check(results, Score("B", arm, SLOPE), TRUE_SLOPE / 2) for arm in arms],
    )


def _mixture(results: Results) -> Hypothesis:
    arms = [(g, o) for g in "AB" for o in OBJECTIVES if f"{o}-v-mixture" in results.titles(g)]
    return some(
        "reviewers",
        "In some setting a mixture prior forecasts better than one factorised Gaussian (the true "
        "distribution is a cross)",
        [
            check_methods(results, g, f"{o}-v", f"{o}-v-mixture", ENERGY, f"{g}, energy of")
            for g, o in arms
        ],
    )


def _use(results: Results) -> list[Hypothesis]:
    shown = ", ".join(f"{o} {results.shown('A', f'{o}-s', ENTROPY)}" for o in OBJECTIVES)
    kl = ", ".join(f"{arm} {results.shown('long', arm, 'val/kl', 1)}" for arm in ("paid", "free"))
    return [
        every(
            "paper",
            "With BYOL, AdaSSL-S uses fewer dimensions of r",
            [check_methods(results, "A", "infonce-s", "byol-s", ACTIVE, "E‖r‖₀ of")],
            f"H(ρ): {shown}",
        ),
        every(
            "ours",
            "With BYOL, a rate makes AdaSSL-S spread over its dimensions and know the change as "
            "under InfoNCE: H(ρ) and R² from (z, r) at most 0.02 below those of InfoNCE + AdaSSL-S",
            [
                check(
                    results,
                    Score("A", "byol-s-rate", metric),
                    Score("A", "infonce-s", metric),
                    less=0.02,
                )
                for metric in (ENTROPY, LATENT)
            ],
            f"E‖r‖₀ {results.shown('A', 'byol-s-rate', ACTIVE)}, without a rate "
            f"{results.shown('A', 'byol-s', ACTIVE)}, change without a rate "
            f"{results.shown('A', 'byol-s', LATENT)}",
        ),
        every(
            "ours",
            "Free bits keep r, and with it the change, alive in long InfoNCE runs",
            [check_methods(results, "long", "free", "paid", EDITED, "change,")],
            f"KL: {kl}",
        ),
    ]
