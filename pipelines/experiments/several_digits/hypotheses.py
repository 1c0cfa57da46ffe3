"""The hypotheses that the experiment on several digits decides, each by a stated rule."""

from collections.abc import Iterator

from pipelines.experiments.hypothesis import (
    Check,
    Hypothesis,
    check,
    check_methods,
    every,
    jointly,
    some,
)
from pipelines.experiments.results import Results, Score

GROUPS = {"one": 1, "two": 2, "three": 3}
"""The groups of arms and how many digits their scenes have."""
SEVERAL = ("two", "three")
STRUCTURED = ("slots", "attention")
RIVALS = {"mlp": "the MLP", "residual": "the residual MLP"}
WITH_R = (*RIVALS, *STRUCTURED)
CONTROL = "no-r"
LATENT, PAIR = "test/change_latent", "test/change_pair"
DIGIT, VELOCITY = "test/digit", "test/velocity"
ALONE, WIDTH = "test/alone", "test/width"
GOALS = {"digit": (DIGIT, 0.80), "velocity": (VELOCITY, 0.95), "change": (LATENT, 0.75)}
COST = 0.02
"""That a structured editor may cost what h knows."""


def hypotheses(results: Results) -> list[Hypothesis]:
    """Each hypothesis, decided by the metrics."""
    found = [_recovers(results)]
    for group in SEVERAL:
        found += [_change(results, group, rival) for rival in RIVALS]
        found += [_alone(results, group, rival) for rival in RIVALS]
    return [*found, _encoder(results), _goals(results)]


def _each_digit(
    results: Results, group: str, ours: tuple[str, str], theirs: tuple[str, str]
) -> Iterator[Check]:
    """Checks of each digit: method and metric that should be larger, and of what it is against."""
    for k in range(1, GROUPS[group] + 1):
        larger, smaller = (Score(group, name, f"{key}_{k}") for name, key in (ours, theirs))
        yield check(results, larger, smaller, f"{group}, digit {k},")


def _recovers(results: Results) -> Hypothesis:
    checks = [
        each
        for group in GROUPS
        for each in _each_digit(results, group, ("residual", LATENT), (CONTROL, PAIR))
    ]
    return every(
        "ours",
        "With one, two and three digits (z, r) tells the change of each digit better than (z, z+) "
        "of the same editor without r",
        checks,
    )


def _change(results: Results, group: str, rival: str) -> Hypothesis:
    checks = []
    for editor in STRUCTURED:
        each = list(_each_digit(results, group, (editor, LATENT), (rival, LATENT)))
        shown = (f"{m} {results.shown(group, m, LATENT, 3)}" for m in (editor, rival))
        checks.append(jointly(f"change of each digit, mean {', '.join(shown)}", each))
    return some(
        "reviewers",
        f"{group.capitalize()} digits: r of a structured editor tells the change of each digit "
        f"better than r of {RIVALS[rival]} of as many parameters",
        checks,
    )


def _alone(results: Results, group: str, rival: str) -> Hypothesis:
    own = [check_methods(results, group, m, rival, ALONE, "share") for m in STRUCTURED]
    limits = ", ".join(f"{m} {results.shown(group, m, ALONE + '_true')}" for m in WITH_R)
    return some(
        "reviewers",
        f"{group.capitalize()} digits: futures of a structured editor vary one digit alone more "
        f"than those of {RIVALS[rival]} (share of the variance on the digit that was meant)",
        own,
        f"chance {1 / GROUPS[group]:.2f}; of clips that show one digit redrawn: {limits}",
    )


def _encoder(results: Results) -> Hypothesis:
    return every(
        "ours",
        f"Structured editors cost the encoder nothing: h knows class and velocity at most {COST:g} "
        "worse than with the residual MLP, with each number of digits",
        [
            check(
                results,
                Score(group, editor, metric),
                Score(group, "residual", metric),
                f"{group}, {name},",
                less=COST,
            )
            for group in GROUPS
            for editor in STRUCTURED
            for name, metric in (("digit", DIGIT), ("velocity", VELOCITY))
        ],
    )


def _goals(results: Results) -> Hypothesis:
    checks = []
    for method in WITH_R:
        shown = (f"{n} {results.shown('one', method, metric)}" for n, (metric, _) in GOALS.items())
        each = [check(results, Score("one", method, metric), g) for metric, g in GOALS.values()]
        title = results.titles("one").get(method, method)
        checks.append(jointly(f"{title}, {', '.join(shown)}", each))
    goals = ", ".join(f"{name} > {goal:g}" for name, (_, goal) in GOALS.items())
    return some("ours", f"One digit: some encoder holds all of {goals} (z, r)", checks)
