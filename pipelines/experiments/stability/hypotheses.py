"""The claims of arXiv 2402.14957 that the stability experiment decides, each by a stated rule."""

from collections.abc import Sequence

from pipelines.experiments.page import Hypothesis, judged
from pipelines.experiments.results import Results, told
from pipelines.recipes import OBJECTIVES

ALARM, DIMENSIONS = "test/collapse_alarm", "alarm/dimensional_collapse"
CENTRE, RESIDUAL, RANK = "train/centre_norm", "train/residual_norm", "train/rankme"
START_CENTRE = "start/centre_norm"
DIGIT, START_DIGIT = "test/digit", "start/digit"
RECIPE_WEIGHT = float(OBJECTIVES["simple"]["method.centre_weight"])
SMALL, LARGE = 0.5, 0.5
"""Of the centre and of the residual, of unit vectors."""
MATCHES = 0.02
"""Accuracy by which Simple may be behind and still match."""
PAIRS = {"time": "two moments", "augmentation": "two augmentations"}
REASONS = {
    "byol-no-predictor": "BYOL without its predictor collapses",
    "byol-no-ema": "BYOL without its EMA target (predictor and stop-gradient kept) collapses",
    "byol-neither": "BYOL with neither predictor nor EMA collapses",
    "simsiam-no-stop": "SimSiam without stop-gradient collapses",
    "dino-no-centring": "DINO without centring collapses",
    "alignment": "Alignment alone (Simple at λ = 0) collapses",
}


def hypotheses(results: Results, whole: Sequence[str]) -> list[Hypothesis]:
    """Each claim, decided by the figures of the whole methods and of those without a part."""
    found = [_stable(results, whole), _small(results, whole), _falls(results, whole)]
    found += [_collapses(results, method) for method in REASONS]
    found += [_accuracy(results), _weight(results)]
    return [*found, _dimensions(results, whole), _probes(results)]


def has_collapsed(results: Results, group: str, method: str) -> bool | None:
    """Whether every seed has raised the alarm; None: no trials."""
    raised = results.values(group, method, ALARM)
    return bool(raised.all()) if len(raised) else None


def _arms(results: Results, methods: Sequence[str]) -> list[tuple[str, str]]:
    """Group and method of those that have trials."""
    arms = [(group, method) for group in PAIRS for method in methods]
    return [arm for arm in arms if len(results.of_arm(*arm))]


def _named(results: Results, group: str, method: str) -> str:
    return f"{results.titles(group)[method]}, {PAIRS[group]}"


def _stable(results: Results, whole: Sequence[str]) -> Hypothesis:
    arms = _arms(results, whole)
    fallen = [_named(results, *arm) for arm in arms if has_collapsed(results, *arm)]
    return judged(
        "paper",
        "Every method, whole, does not collapse",
        not fallen if arms else None,
        f"{len(arms) - len(fallen)} of {len(arms)} arms stand; collapsed: "
        f"{'; '.join(fallen) or 'none'}",
    )


def _small(results: Results, whole: Sequence[str]) -> Hypothesis:
    arms, large = _arms(results, whole), []
    for arm in arms:
        centre, residual = (results.mean(*arm, key) for key in (CENTRE, RESIDUAL))
        if centre > SMALL or residual < LARGE:
            large.append(f"{_named(results, *arm)}: ‖s‖ {centre:.2f}, residual {residual:.2f}")
    return judged(
        "paper",
        f"Every method, whole, keeps the centre small (‖s‖ ≤ {SMALL}) and the residuals large "
        f"(≥ {LARGE})",
        not large if arms else None,
        f"{len(arms) - len(large)} of {len(arms)} arms do; not: {'; '.join(large) or 'none'}",
    )


def _falls(results: Results, whole: Sequence[str]) -> Hypothesis:
    arms, rising = _arms(results, whole), []
    for arm in arms:
        start, end = (results.mean(*arm, key) for key in (START_CENTRE, CENTRE))
        if end > start:
            rising.append(f"{_named(results, *arm)}: {start:.2f} → {end:.2f}")
    return judged(
        "paper",
        "Training shortens the centre, with or without a term that says so",
        not rising if arms else None,
        f"in {len(arms) - len(rising)} of {len(arms)} arms; longer: {'; '.join(rising) or 'none'}",
    )


def _collapses(results: Results, method: str) -> Hypothesis:
    arms = _arms(results, [method])
    figures = "; ".join(
        f"{PAIRS[arm[0]]}: {results.values(*arm, ALARM).sum():.0f} of "
        f"{len(results.of_arm(*arm))} seeds collapsed, ‖s‖ "
        f"{results.shown(*arm, CENTRE, 3)}, residual "
        f"{results.shown(*arm, RESIDUAL, 3)}, RankMe {results.shown(*arm, RANK, 1)}"
        for arm in arms
    )
    fallen = [has_collapsed(results, *arm) is True for arm in arms]
    return judged("paper", REASONS[method], all(fallen) if arms else None, figures or "–")


def _accuracy(results: Results) -> Hypothesis:
    parts, holds = [], []
    for group, pairs in PAIRS.items():
        rivals = {m: results.mean(group, m, DIGIT) for m in ("infonce", "byol")}
        ours = results.mean(group, "simple", DIGIT)
        if ours == ours and all(value == value for value in rivals.values()):
            best = max(rivals, key=lambda m: rivals[m])
            holds.append(ours >= rivals[best] - MATCHES)
            shown = ", ".join(
                f"{results.titles(group)[m]} {results.shown(group, m, DIGIT)}"
                for m in ("simple", "infonce", "byol")
            )
            test = results.compare(group, "simple", best, DIGIT)
            parts.append(f"{pairs}: {shown}; against the better {told(test)}")
    statement = f"Simple is as accurate as the better of InfoNCE and BYOL (digit, to {MATCHES})"
    return judged("paper", statement, all(holds) if holds else None, "; ".join(parts) or "–")


def weights_of(results: Results) -> dict[float, tuple[str, str]]:
    """The arm of Simple, group and method, for each λ above 0, with pairs of two moments."""
    arms = {float(method): ("lambda", method) for method in results.titles("lambda")}
    if "simple" in results.titles("time"):
        arms[RECIPE_WEIGHT] = ("time", "simple")
    return dict(sorted(arms.items()))


def _weight(results: Results) -> Hypothesis:
    arms = weights_of(results)
    fallen = [f"{weight:g}" for weight, arm in arms.items() if has_collapsed(results, *arm)]
    shown = ", ".join(f"{weight:g}: {results.shown(*arm, DIGIT)}" for weight, arm in arms.items())
    return judged(
        "ours",
        "Simple stands at every λ above 0",
        not fallen if arms else None,
        f"digit by λ: {shown or '–'}; collapsed: {', '.join(fallen) or 'none'}",
    )


def _dimensions(results: Results, whole: Sequence[str]) -> Hypothesis:
    arms, falling = _arms(results, whole), []
    for arm in arms:
        raised = len(results.values(*arm, DIMENSIONS))  # a run has the figure if it raised it
        if raised:
            seeds, rank = len(results.of_arm(*arm)), results.shown(*arm, RANK, 1)
            falling.append(f"{_named(results, *arm)}: {raised} of {seeds}, RankMe {rank}")
    return judged(
        "ours",
        "Every method, whole, keeps its dimensions: none raises the alarm `dimensional_collapse`",
        not falling if arms else None,
        f"{len(arms)} arms; seeds that raise it: {'; '.join(falling) or 'none'}",
    )


def _probes(results: Results) -> Hypothesis:
    arms = [arm for arm in _arms(results, list(REASONS)) if has_collapsed(results, *arm)]
    lower = [arm for arm in arms if results.mean(*arm, DIGIT) < results.mean(*arm, START_DIGIT)]
    shown = "; ".join(
        f"{_named(results, *arm)}: {results.shown(*arm, START_DIGIT)} → "
        f"{results.shown(*arm, DIGIT)}"
        for arm in arms
    )
    return judged(
        "ours",
        "A probe on h shows a collapse: it knows less of the digit than before the first step",
        len(lower) == len(arms) if arms else None,
        shown or "–",
    )
