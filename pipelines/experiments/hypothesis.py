"""Hypotheses of an experiment, each decided by paired tests under a stated rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from pipelines.experiments.paired_test import PairedTest
from pipelines.experiments.results import Results, Score, compared

Verdict = Literal["held", "did not hold", "not tested"]
MANY = 8
"""Checks above which the evidence lists only those that do not show what they should."""
RULES = """\
*Held* means shown: the difference has the stated sign with p < 0.05, by a two-sided t-test paired
by seed (against a fixed goal: by a one-sample t-test). *Each* or *every*: all tests must show it.
*Some*: one test must, at 5 % divided by the number of tests (Bonferroni). What is not shown *did
not hold*; *not tested* means that arms or seeds are missing. The number is that of the test that
decides: the strongest for *some*, else the weakest."""
"""Stands on every page."""


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """A statement that the experiment tests.

    Attributes:
        source: who says so: "paper", "reviewers", "pilot" or "ours".
        statement: what.
        verdict: by the metrics.
        number: the one that decides, for the table of verdicts.
        evidence: all metrics behind it, for the list below the table.
    """

    source: str
    statement: str
    verdict: Verdict
    number: str
    evidence: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One comparison behind a hypothesis.

    Attributes:
        name: what is compared, with the values.
        test: of what should be larger less what should be smaller; None for too few seeds.
    """

    name: str
    test: PairedTest | None

    def __str__(self) -> str:
        """As evidence."""
        return f"{self.name}: {self.test or 'no test, as a metric or a second seed is missing'}"


def check(
    results: Results,
    larger: Score | float,
    smaller: Score | float,
    label: str = "",
    *,
    times: float = 1.0,
    less: float = 0.0,
) -> Check:
    """Whether one score is above another (or above or below a goal), over the seeds of both.

    Args:
        results: the finished trials.
        larger: a score, or a goal that `smaller` should stay below.
        smaller: a score, or a goal that `larger` should exceed.
        label: what is scored.
        times: factor on `smaller`.
        less: taken off `smaller`: what may be lost; negative: by how much it must be exceeded.
    """
    ours, theirs = (
        None if isinstance(score, float) else results.values(*score[:3])
        for score in (larger, smaller)
    )
    seeds = ours if ours is not None else theirs
    assert seeds is not None, "one of the two is a score"
    if ours is None:
        ours = pd.Series(larger, index=seeds.index)
    if theirs is None:
        theirs = pd.Series(smaller, index=seeds.index)
    above = f"{times:g} × " if times != 1 else ""
    below = f" {'−' if less > 0 else '+'} {abs(less):g}" if less else ""
    name = f"{_named(results, larger)} against {above}{_named(results, smaller)}{below}"
    test = compared(ours, theirs * times - less)
    return Check(name=f"{label} {name}".strip(), test=test)


def check_methods(
    results: Results, group: str, larger: str, smaller: str, metric: str, label: str = ""
) -> Check:
    """Whether one method of a group is above another by a metric."""
    return check(results, Score(group, larger, metric), Score(group, smaller, metric), label)


def _named(results: Results, score: Score | float) -> str:
    if isinstance(score, float):
        return f"the goal {score:.3g}"
    trials = results.of_arm(score.group, score.method)
    title = score.title or (str(trials.title.iloc[0]) if len(trials) else score.method)
    return f"{title} {results.shown(*score[:3], digits=3)}"


def judged(
    source: str, statement: str, holds: bool | None, number: str, evidence: Sequence[str]
) -> Hypothesis:
    """A hypothesis that holds, does not, or (None) lacks the metrics to say."""
    verdict: Verdict = "not tested" if holds is None else "held" if holds else "did not hold"
    return Hypothesis(
        source=source,
        statement=statement,
        verdict=verdict,
        number=number or "–",
        evidence=[line for line in evidence if line] or ["–"],
    )


def jointly(name: str, checks: Sequence[Check]) -> Check:
    """Several checks as one that holds where all of them do; unknown where one of them is."""
    known = _by_strength(checks)
    return Check(name=name, test=known[-1] if known and len(known) == len(checks) else None)


def every(source: str, statement: str, checks: Sequence[Check], note: str = "") -> Hypothesis:
    """Holds if each check is significantly positive; one that fails is enough to refute it."""
    known = _by_strength(checks)
    holds = all(test.is_positive() for test in known)
    decided = bool(known) and (len(known) == len(checks) or not holds)
    number = _number(known[-1]) if known else ""
    if len(checks) > MANY:
        failing = [c for c in checks if c.test is None or not c.test.is_positive()]
        note = f"{len(checks) - len(failing)} of {len(checks)} show it{note and '; ' + note}"
        checks = failing
    evidence = [*map(str, checks), note]
    return judged(source, statement, holds if decided else None, number, evidence)


def some(source: str, statement: str, checks: Sequence[Check], note: str = "") -> Hypothesis:
    """Holds if any check is significantly positive, at a level shared by all of them."""
    known = _by_strength(checks)
    holds = any(test.is_positive(len(checks)) for test in known) if known else None
    number = _number(known[0]) if known else ""
    return judged(source, statement, holds, number, [*map(str, checks), note])


def _by_strength(checks: Sequence[Check]) -> list[PairedTest]:
    """The tests there are, from the one that shows most to the one that shows least."""
    tests = [check.test for check in checks if check.test is not None]
    return sorted(tests, key=lambda t: t.p if t.difference > 0 else 2 - t.p)


def _number(test: PairedTest) -> str:
    return f"{test.difference:+z.3f}, {test.p_text}"
