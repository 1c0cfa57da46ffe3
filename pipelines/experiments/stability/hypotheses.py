"""The hypotheses of arXiv 2402.14957 that the stability experiment decides, by stated rules."""

from collections.abc import Sequence

from pipelines.experiments.hypothesis import (
    Check,
    Hypothesis,
    check,
    every,
    jointly,
    judged,
)
from pipelines.experiments.results import Results, Score
from pipelines.recipes import OBJECTIVES

ALARM, DIMENSIONS = "test/collapse_alarm", "alarm/dimensional_collapse"
CENTRE, RESIDUAL, RANK = "val/centre_norm", "val/residual_norm", "val/rankme"
START_CENTRE = "start/centre_norm"
DIGIT, START_DIGIT = "test/digit", "start/digit"
RECIPE_WEIGHT = float(OBJECTIVES["simple"]["method.centre_weight"])
SMALL, LARGE = 0.5, 0.5
"""Of the centre and of the residual, of unit vectors."""
MARGIN = 0.02
"""Accuracy by which Simple may be behind and still match."""
PAIRS = {"time": "two moments", "augmentation": "two augmentations"}
REASONS = {
    "byol-no-predictor": "BYOL without its predictor collapses",
    "byol-no-ema": "BYOL without its EMA target (predictor and stop-gradient kept) collapses",
    "byol-neither": "BYOL with neither predictor nor EMA collapses",
    "simsiam-no-stop": "SimSiam without stop-gradient collapses",
    "dino-no-centring": "DINO without centring collapses",
    "alignment": "Alignment alone (Simple at λ = 0) collapses",
    "lejepa-no-sigreg": "LeJEPA without SIGReg collapses",
    "visreg-no-scale": "VISReg without its scale collapses",
    "visreg-no-shape": "VISReg without its shape collapses",
    "visreg-no-centre": "VISReg without its centre collapses",
    "mmcr-frobenius": "MMCR by the Frobenius norm, not the nuclear, collapses",
}
LATER = ("lejepa", "visreg", "frossl", "mmcr")
"""Methods that the paper does not have; what is said of them is ours."""
GroupMethod = tuple[str, str]


def hypotheses(results: Results, full: Sequence[str]) -> list[Hypothesis]:
    """Each hypothesis, decided by the metrics of the full methods and of the ablated ones."""
    found = [_stable(results, full), _small(results, full), _falls(results, full)]
    found += [_collapses(results, method) for method in REASONS]
    found += [_small_later(results), _centre_term(results)]
    found += [_accuracy(results), _weight(results)]
    return [*found, _dimensions(results, full), _probes(results)]


def collapsed_seeds(results: Results, arm: GroupMethod) -> int:
    """How many seeds of an arm have raised the alarm."""
    return int(results.values(*arm, ALARM).sum())


def _arms(results: Results, methods: Sequence[str]) -> list[GroupMethod]:
    """Those that have trials."""
    arms = [(group, method) for group in PAIRS for method in methods]
    return [arm for arm in arms if len(results.of_arm(*arm))]


def _named(results: Results, arm: GroupMethod) -> str:
    return f"{results.titles(arm[0])[arm[1]]}, {PAIRS.get(arm[0], arm[0])}"


def _counted(results: Results, arms: Sequence[GroupMethod], seeds: Sequence[int]) -> str:
    """Which arms have how many seeds of a kind."""
    parts = [
        f"{_named(results, arm)} {found} of {len(results.of_arm(*arm))}"
        for arm, found in zip(arms, seeds, strict=True)
        if found
    ]
    return "; ".join(parts) or "none"


def _stand(results: Results, source: str, statement: str, arms: list[GroupMethod]) -> Hypothesis:
    """Whether no seed of some arms collapses."""
    fallen = [collapsed_seeds(results, arm) for arm in arms]
    number = f"{sum(fallen)} of {sum(len(results.of_arm(*arm)) for arm in arms)} seeds"
    evidence = [f"collapsed seeds of {len(arms)} arms: {_counted(results, arms, fallen)}"]
    return judged(source, statement, not sum(fallen) if arms else None, number, evidence)


def _stable(results: Results, full: Sequence[str]) -> Hypothesis:
    statement = "No seed of any full method collapses"
    return _stand(results, "paper", statement, _arms(results, full))


def _small(results: Results, full: Sequence[str]) -> Hypothesis:
    statement = (
        f"Every full method keeps the centre small (‖s‖ < {SMALL}) and the residuals large "
        f"(> {LARGE})"
    )
    return every("paper", statement, _small_checks(results, full))


def _small_later(results: Results) -> Hypothesis:
    statement = (
        "LeJEPA, VISReg, FroSSL and MMCR, which the paper does not have, keep the centre small "
        f"(‖s‖ < {SMALL}) and the residuals large (> {LARGE})"
    )
    return every("ours", statement, _small_checks(results, LATER))


def _small_checks(results: Results, methods: Sequence[str]) -> list[Check]:
    checks = []
    for arm in _arms(results, methods):
        sides = [
            check(results, SMALL, Score(*arm, CENTRE)),
            check(results, Score(*arm, RESIDUAL), LARGE),
        ]
        lengths = f"‖s‖ {results.shown(*arm, CENTRE)}, residual {results.shown(*arm, RESIDUAL)}"
        checks.append(jointly(f"{_named(results, arm)}, {lengths}", sides))
    return checks


def _centre_term(results: Results) -> Hypothesis:
    """Whether it is the term of the centre that holds the centre small."""
    checks = [
        check(
            results,
            Score(group, "visreg-no-centre", CENTRE, "without"),
            Score(group, "visreg", CENTRE, "with"),
            f"{pairs}, ‖s‖",
        )
        for group, pairs in PAIRS.items()
        if "visreg-no-centre" in results.titles(group)
    ]
    statement = "VISReg's term of the centre shortens it: ‖s‖ is longer without"
    return every("ours", statement, checks)


def _falls(results: Results, full: Sequence[str]) -> Hypothesis:
    checks = [
        check(
            results,
            Score(*arm, START_CENTRE, "at the start"),
            Score(*arm, CENTRE, "at the end"),
            f"{_named(results, arm)}, ‖s‖",
        )
        for arm in _arms(results, full)
    ]
    statement = "Training shortens the centre of every full method"
    return every("paper", statement, checks)


def _collapses(results: Results, method: str) -> Hypothesis:
    arms = _arms(results, [method])
    fallen = [collapsed_seeds(results, arm) for arm in arms]
    seeds = [len(results.of_arm(*arm)) for arm in arms]
    evidence = [
        f"{PAIRS[arm[0]]}: {down} of {num} seeds collapsed, ‖s‖ {results.shown(*arm, CENTRE, 3)}, "
        f"residual {results.shown(*arm, RESIDUAL, 3)}, RankMe {results.shown(*arm, RANK, 1)}"
        for arm, down, num in zip(arms, fallen, seeds, strict=True)
    ]
    number = f"{sum(fallen)} of {sum(seeds)} seeds"
    source = "ours" if method.partition("-")[0] in LATER else "paper"
    return judged(source, REASONS[method], fallen == seeds if arms else None, number, evidence)


def _accuracy(results: Results) -> Hypothesis:
    checks = [
        check(
            results,
            Score(group, "simple", DIGIT),
            Score(group, rival, DIGIT),
            f"{pairs},",
            less=MARGIN,
        )
        for group, pairs in PAIRS.items()
        for rival in ("infonce", "byol")
        if "simple" in results.titles(group)
    ]
    statement = f"Simple is as accurate as each of InfoNCE and BYOL (digit, to {MARGIN})"
    return every("paper", statement, checks)


def weights_of(results: Results) -> dict[float, GroupMethod]:
    """The arm of Simple for each λ above 0, with pairs of two moments."""
    arms = {float(method): ("lambda", method) for method in results.titles("lambda")}
    if "simple" in results.titles("time"):
        arms[RECIPE_WEIGHT] = ("time", "simple")
    return dict(sorted(arms.items()))


def _weight(results: Results) -> Hypothesis:
    arms = list(weights_of(results).values())
    return _stand(results, "ours", "No seed of Simple collapses at any λ above 0", arms)


def _dimensions(results: Results, full: Sequence[str]) -> Hypothesis:
    arms = _arms(results, full)
    # A run has the metric if it has raised the alarm.
    raised = [len(results.values(*arm, DIMENSIONS)) for arm in arms]
    number = f"{sum(raised)} of {sum(len(results.of_arm(*arm)) for arm in arms)} seeds"
    return judged(
        "ours",
        "No seed of any full method loses dimensions (the alarm `dimensional_collapse`)",
        not sum(raised) if arms else None,
        number,
        [f"seeds of {len(arms)} arms that raise it: {_counted(results, arms, raised)}"],
    )


def _probes(results: Results) -> Hypothesis:
    """Of the arms of which every seed has collapsed."""
    arms = [
        arm
        for arm in _arms(results, list(REASONS))
        if collapsed_seeds(results, arm) == len(results.of_arm(*arm))
    ]
    return every(
        "ours",
        "A probe on h shows a collapse: it knows less of the digit than before the first step",
        [
            check(
                results,
                Score(*arm, START_DIGIT, "at the start"),
                Score(*arm, DIGIT, "at the end"),
                f"{_named(results, arm)}, digit",
            )
            for arm in arms
        ],
    )
