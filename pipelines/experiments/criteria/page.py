"""How well each label-free number ranks settings as probes with labels do."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr  # type: ignore[import-untyped]

from pipelines.experiments import figures
from pipelines.experiments.criteria.trial import TARGET
from pipelines.experiments.hypothesis import Hypothesis, judged
from pipelines.experiments.page import Page, Section
from pipelines.experiments.results import Results
from pipelines.numbers import number
from pipelines.training.metrics import GAIN_WEIGHT

Array = NDArray[Any]

GROUPS = ("digits", "robot")
TITLES = {"digits": "Moving digits", "robot": "Robot"}
TARGETS = {
    "mean": "mean probe",
    "h": "probes of h",
    "change": "change (edited)",
    "forecast": "forecasts",
}
GOAL, MOST_REGRET = 0.8, 0.02
SCORE = f"sweep score, + {GAIN_WEIGHT} × gain"
CRITERIA: Mapping[str, tuple[str, int]] = {
    "next_clip_nats": ("next clip, nats", 1),
    "next_clip_nats_seen": ("next clip by the r that saw it", 1),
    "within_video_nats": ("next clip within its video", 1),
    "next_clip_nats_fitted": ("next clip, fitted prior", 1),
    "within_video_nats_fitted": ("within its video, fitted prior", 1),
    "sweep_score": (SCORE, 1),
    "rankme": ("RankMe", 1),
    "lidar": ("LiDAR", 1),
    "alpha_req": ("α-ReQ, nearness to 1", 1),
    "alignment": ("alignment", -1),
    "uniformity": ("uniformity", -1),
    "centre_norm": ("‖s‖, the smaller", -1),
    "residual_spread": ("spread of residuals", 1),
    "loss": ("validation loss, the smaller", -1),
}
"""Metric of validation pairs → its title, and 1 where more is better, −1 where less is."""
GAIN = "gain of r"
WEIGHTS = (1, 2, 4, 16)
"""Of the gain in a sum with the next clip by a fitted prior, beside the sweep score's."""
RESAMPLES = 2000
LEAST = 5
"""Settings from which a rank correlation is worth computing."""

PROTOCOL = f"""\
- **Settings** are drawn once: half of InfoNCE, the rest of BYOL, VICReg and LeJEPA; AdaSSL-V,
  AdaSSL-S or no r; β over three decades, its warm-up (none, an eighth, half of the run), d_r 2 to
  32, temperature 0.05 to 0.5, learning rate over a decade; on the robot also how much of the frame
  a view keeps and how many moments of a video a batch holds. One training each: digits 400 steps,
  the robot 250, batches of 64 pairs.
- **Label-free numbers** are those of the last validation (512 pairs of validation videos); *fitted
  prior*: r is drawn as `adassl surprise` draws it, fitted on other validation videos.
- **With labels**, of test videos: probes of h (digits: digit and velocity; robot: arm and hand),
  the change of the values from the edited embedding, the energy score of sampled futures (digits),
  and the *mean probe*: of what is read from h and of the change, negative R² as 0.
- **Spearman's ρ** over settings, with the 95 % interval of {RESAMPLES:,} resamples of them.
  **Regret**: by how much the mean probe of the setting that the number puts first falls short of
  the best, as a share of the best.
- **Gain of r**: the next clip by the r that saw it, less that by the learnt prior: what r tells
  and x does not. *fitted + 4 × gain*: the next clip by the fitted prior and so many times the gain.
  The metric of the spaces, `val/sweep_score`, is the sum with {GAIN_WEIGHT}, chosen as one that
  does well on both sets: nothing here has tested that choice on a third.
- A number that a setting does not have, such as the next clip by an r that it has not, is the
  worst of its rank.
"""


def page_of(results: Results, trials: Path) -> Page:
    """The page of the trials so far."""
    known = {g: results.runs[results.runs.group == g] for g in GROUPS if len(results.runs)}
    known = {group: runs for group, runs in known.items() if len(runs) >= LEAST}
    return Page(
        title="Which number to sweep by",
        summary=(
            "A sweep without labels ranks its settings by some number. Does that ranking agree "
            "with the one that labels give? Every number that validation knows, beside probes."
        ),
        protocol=PROTOCOL,
        hypotheses=[each for group in known for each in hypotheses(group, known[group])],
        sections=[_section(group, runs) for group, runs in known.items()],
        notes="" if known else f"Fewer than {LEAST} settings of a set have finished.",
    )


def scores(runs: pd.DataFrame) -> dict[str, Array]:
    """Each criterion of each setting, the larger the better; those of no setting are left out."""
    found: dict[str, Array] = {}
    for name, (title, sign) in CRITERIA.items():
        if f"val/{name}" in runs and runs[f"val/{name}"].notna().any():
            values = runs[f"val/{name}"].to_numpy(float)
            found[title] = -np.abs(values - 1) if name == "alpha_req" else sign * values
    first, seen, fitted = (CRITERIA[f"next_clip_nats{by}"][0] for by in ("", "_seen", "_fitted"))
    if {first, seen, fitted} <= set(found):
        found[GAIN] = found[seen] - found[first]
        found |= {f"fitted + {w} × gain": found[fitted] + w * found[GAIN] for w in WEIGHTS}
    return {title: ranks(values) for title, values in found.items()}


def ranks(values: Array) -> Array:
    """From 1, the worst; what is not known shares the worst."""
    found: Array = rankdata(np.where(np.isfinite(values), values, -np.inf))
    return found


def rho(criterion: Array, target: Array) -> float:
    """Spearman's rank correlation; 0 where one of them does not vary."""
    if np.ptp(criterion) == 0 or np.ptp(target) == 0:
        return 0.0
    return float(spearmanr(criterion, target).statistic)


def interval(criterion: Array, target: Array) -> tuple[float, float]:
    """The 95 % bootstrap interval of ρ over settings."""
    rng = np.random.default_rng(0)
    chosen = rng.integers(len(target), size=(RESAMPLES, len(target)))
    a, b = (rankdata(each[chosen], axis=1) for each in (criterion, target))
    a, b = (each - each.mean(axis=1, keepdims=True) for each in (a, b))
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    drawn = (a * b).sum(axis=1) / np.where(scale > 0, scale, 1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def regret(criterion: Array, target: Array) -> float:
    """How far the criterion's first choice falls short of the best setting, as a share of it.

    Ties are resolved by their mean.
    """
    first = target[criterion == criterion.max()].mean()
    return float(1 - first / target.max()) if target.max() > 0 else 0.0


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """A row a criterion, from the one that agrees best with the mean probe."""
    mean = runs[f"{TARGET}mean"].to_numpy(float)
    infonce = runs.title.str.startswith("infonce").to_numpy()
    rows = []
    for title, criterion in scores(runs).items():
        low, high = interval(criterion, mean)
        row = {
            "number": title,
            "ρ with the mean probe": rho(criterion, mean),
            "95 %": f"{number(low, '.2f')} to {number(high, '.2f')}",
            "regret": f"{regret(criterion, mean):.1%}",
        }
        for name in ("h", "change", "forecast"):
            if f"{TARGET}{name}" in runs and runs[f"{TARGET}{name}"].notna().any():
                other = runs[f"{TARGET}{name}"].to_numpy(float)
                has = np.isfinite(other)
                row[TARGETS[name]] = number(rho(criterion[has], other[has]), ".2f")
        if infonce.sum() >= LEAST:
            row["InfoNCE alone"] = number(rho(criterion[infonce], mean[infonce]), ".2f")
        rows.append(row)
    ordered = pd.DataFrame(rows).sort_values("ρ with the mean probe", ascending=False)
    shown = ordered["ρ with the mean probe"].map(lambda value: number(value, ".2f"))
    return ordered.assign(**{"ρ with the mean probe": shown}).reset_index(drop=True)


def hypotheses(group: str, runs: pd.DataFrame) -> Iterator[Hypothesis]:
    """Whether some number, and the one that spaces sweep by, rank as the mean probe does."""
    mean = runs[f"{TARGET}mean"].to_numpy(float)
    every, where = scores(runs), TITLES[group].lower()
    sets = {
        "some number": every,
        "the sweep score": {title: ranks for title, ranks in every.items() if title == SCORE},
    }
    for which, criteria in sets.items():
        if not criteria:
            continue
        best = max(criteria, key=lambda title: rho(criteria[title], mean))
        agreement, lost = rho(criteria[best], mean), regret(criteria[best], mean)
        low, high = interval(criteria[best], mean)
        yield judged(
            "ours",
            f"{where}: {which} ranks settings with ρ ≥ {GOAL:g} and a regret ≤ {MOST_REGRET:.0%}",
            low >= GOAL and lost <= MOST_REGRET,
            f"ρ {agreement:.2f}, regret {lost:.1%}",
            [
                f"{best}: ρ {agreement:.3f} (95 % {low:.2f} to {high:.2f}) over {len(runs)} "
                f"settings, regret {lost:.2%}; held if the interval is above the goal"
            ],
        )


def _section(group: str, runs: pd.DataFrame) -> Section:
    mean = runs[f"{TARGET}mean"].to_numpy(float)

    def draw(path: Path) -> Path:
        panels = {
            f"{title}\nρ {number(rho(ranks_, mean), '.2f')}": ranks_
            for title, ranks_ in scores(runs).items()
        }
        kinds = runs.title.str.split(",").str[0].to_numpy(str)
        return figures.panels_of_points(
            panels, mean, kinds, path, title=f"{TITLES[group]}: mean probe by the rank of a setting"
        )

    best = str(runs.title.to_numpy()[mean.argmax()])
    return Section(
        title=TITLES[group],
        text=(
            f"{len(runs)} settings; mean probe {mean.min():.2f} to {mean.max():.2f}. Best with "
            f"labels: {best}."
        ),
        tables={f"criteria_{group}": table(runs)},
        pictures={f"criteria_{group}": ("Mean probe by the rank that each number gives", draw)},
    )
