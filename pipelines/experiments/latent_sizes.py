"""Whether `method.latent_dim=auto` ends at the smallest size of r that is as good in a fixed grid.

For any experiment: arms with fixed sizes and one that finds its own, in a group for each condition,
and the hypotheses and the section that go with them.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from adassl.config import LARGEST_LATENT
from pipelines.experiments import figures
from pipelines.experiments.arm import Arm, Settings
from pipelines.experiments.hypothesis import Hypothesis, judged
from pipelines.experiments.page import Section
from pipelines.experiments.results import Column, Results

AUTO = "auto"
SIZE = "train/latent_dim"
"""Dimensions of r that are left at the end of a training with `auto`."""
AS_GOOD, NEAR = 0.02, 2
"""What a size may lose to the best one and be as good; how far from it `auto` may end."""
EXPLAINED = (
    f"`method.latent_dim=auto` starts with {LARGEST_LATENT} dimensions and switches off those that "
    f"the loss does not feel (`adassl/latent_size.py`). *As good* is a fixed size whose score is "
    f"within {AS_GOOD:g} of the best one's."
)


def size_arms(
    group: str, settings: Settings, sizes: Sequence[int], num_seeds: int | None = None
) -> Iterator[Arm]:
    """AdaSSL-V with r of several sizes, and with a size that it finds."""
    for size in (*map(str, sizes), AUTO):
        yield Arm(
            group=group,
            method=size,
            title="d_r auto" if size == AUTO else f"d_r {size}",
            settings={**settings, "method.latent_dim": AUTO if size == AUTO else int(size)},
            num_seeds=num_seeds,
        )


def score(results: Results, group: str, method: str, metrics: Sequence[str]) -> float:
    """The mean of some metrics over the seeds; NaN where one is missing."""
    return sum(results.mean(group, method, metric) for metric in metrics) / len(metrics)


def smallest_as_good(results: Results, group: str, metrics: Sequence[str]) -> int | None:
    """The smallest fixed size whose score is as good as the best; None before any has finished."""
    scores = {
        int(method): score(results, group, method, metrics)
        for method in results.titles(group)
        if method != AUTO
    }
    best = max(scores.values(), default=0.0)
    return min((size for size, value in scores.items() if value >= best - AS_GOOD), default=None)


def size_hypothesis(
    results: Results, groups: Mapping[str, str], metrics: Sequence[str], what: str
) -> Hypothesis:
    """Every seed of `auto` ends near the smallest size that is as good, and is as good itself.

    Args:
        results: the finished trials.
        groups: of the sizes, and what each is called.
        metrics: whose mean is the score.
        what: the score in words.
    """
    evidence, distances, losses = [], [], []
    for group, title in groups.items():
        found = results.values(group, AUTO, SIZE)
        smallest = smallest_as_good(results, group, metrics)
        if smallest is None or not len(found):
            evidence.append(f"{title}: not tested, as trainings are missing")
            continue
        own = score(results, group, AUTO, metrics)
        best = max(score(results, group, m, metrics) for m in results.titles(group) if m != AUTO)
        distances.append(max(abs(value - smallest) for value in found))
        losses.append(best - own)
        evidence.append(
            f"{title}: {', '.join(f'{v:g}' for v in found)} of {LARGEST_LATENT} left, the smallest "
            f"fixed size that is as good is {smallest}; {what} {own:.3f}, best fixed {best:.3f}"
        )
    holds = None
    if distances:
        holds = max(distances) <= NEAR and max(losses) <= AS_GOOD
        holds = None if holds and len(distances) < len(groups) else holds
    number = f"at most {max(distances):g} off, loses {max(losses):.3f}" if distances else ""
    return judged(
        "reviewers",
        f"The size of r can be found while it trains: `auto` ends within ±{NEAR} of the smallest "
        f"fixed size that is as good, and is as good ({what}), under each condition and seed",
        holds,
        number,
        evidence,
    )


def size_section(
    results: Results, groups: Mapping[str, str], columns: Sequence[Column], metric: str
) -> Section:
    """A table for each condition, and the curves of a metric over the fixed sizes.

    Args:
        results: the finished trials.
        groups: of the sizes, and what each is called.
        columns: of the tables, before the size that is left.
        metric: an R² that is drawn.
    """
    left = Column(metric=SIZE, title="dimensions left", digits=1)
    known = {group: title for group, title in groups.items() if results.titles(group)}

    def draw(path: Path) -> Path:
        curves = {title: _curve(results, group, metric) for group, title in known.items()}
        return figures.lines(curves, path, title="Sizes of r", y_label="R²", x_label="d_r")

    return Section(
        title="The size of r, fixed and found",
        text=EXPLAINED,
        tables={group: results.table(group, (*columns, left)) for group in known},
        pictures={"sizes": ("R² of the change against the size of r", draw)},
    )


def _curve(results: Results, group: str, metric: str) -> pd.DataFrame:
    """A metric over the fixed sizes: columns x, mean, sd."""
    rows = []
    for method in results.titles(group):
        values = results.values(group, method, metric)
        if method != AUTO and len(values):
            rows.append({"x": float(method), "mean": values.mean(), "sd": values.std()})
    return pd.DataFrame(rows, columns=["x", "mean", "sd"]).fillna(0.0)
