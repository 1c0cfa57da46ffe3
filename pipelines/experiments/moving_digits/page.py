"""What the moving-digits experiment reports: hypotheses by stated rules, tables and figures."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.experiments import figures
from pipelines.experiments.figures import Cloud, FutureClips
from pipelines.experiments.latent_sizes import size_section
from pipelines.experiments.moving_digits.hypotheses import (
    ACTIVE,
    DIGIT,
    EDITED,
    ENERGY,
    ENTROPY,
    LATENT,
    LEARNT,
    PAIR,
    SIZE_GROUPS,
    SLOPE,
    SPREAD,
    VELOCITY,
    F,
    T,
    hypotheses,
)
from pipelines.experiments.moving_digits.trial import FORECAST_FILE
from pipelines.experiments.page import Page, Section
from pipelines.experiments.results import Column, Results, panels_of
from pipelines.sources.digit_motion import probability_of_y

REPRESENTATION = (
    Column(metric=DIGIT, title="digit (h)"),
    Column(metric=T + "digit/knn", title="digit, kNN (h)"),
    Column(metric=VELOCITY, title="velocity (h)"),
    Column(metric=PAIR, title="change (z, z+)"),
    Column(metric=LATENT, title="change (z, r)"),
    Column(metric=EDITED, title="change (edited)"),
    Column(metric=T + "change_edited/mlp", title="change, MLP (edited)"),
    Column(metric=T + "change_source_edited/linear", title="change (z, edited)"),
)
USE = (
    Column(metric="val/kl", title="KL, nats"),
    Column(metric=ACTIVE, title="E‖r‖₀"),
    Column(metric=ENTROPY, title="H(ρ), nats"),
    Column(metric=T + "centre_norm", title="‖s‖"),
    Column(metric=T + "rankme", title="RankMe (z)", digits=0),
)
FUTURES = (
    Column(metric=ENERGY, title="energy score", digits=3),
    Column(metric=F + "energy_oracle", title="true distribution", digits=3),
    Column(metric=F + "energy_last_velocity", title="last velocity", digits=3),
    Column(metric=F + "energy_no_change", title="no change (read)", digits=3),
    Column(metric=F + "crps", title="CRPS", digits=3),
    Column(metric=SPREAD, title="spread / true"),
    Column(metric=LEARNT + "energy", title="energy, learnt prior", digits=3),
    Column(metric=LEARNT + "spread", title="spread, learnt prior"),
    Column(metric=F + "cross", title="smaller / larger change"),
    Column(metric=F + "share_x", title="share along x"),
    Column(metric=F + "share_x_oracle", title="true share along x"),
    Column(metric=F + "share_y", title="share along y"),
    Column(metric=F + "share_y_oracle", title="true share along y"),
    Column(metric=SLOPE, title="slope by digit", digits=3),
    Column(metric=F + "rank_edges", title="ranks at the edges / flat"),
    Column(metric=F + "recall_1", title="recall@1"),
    Column(metric=F + "recall_1_best", title="recall@1, best of 16"),
    Column(metric=F + "path_energy", title="energy, 2 steps", digits=3),
    Column(metric=F + "path_spread", title="spread, 2 steps"),
    Column(metric=F + "reader_r2", title="reader's R²"),
)
SHOWN_METHODS = ("byol-v-mixture", "byol-v", "infonce-v", "byol-no-r")
CONTROLS = ("alone", "no r")
NUM_CLOUDS = 4

Forecasts = dict[str, dict[str, NDArray[Any]]]
"""What the pictures of futures show, by the method's title."""

PROTOCOL = """\
- **Data.** Stochastic moving digits (arXiv 2602.02381; `pipelines/sources/digit_motion.py`) as
  H.264 files of 16 scenes of nine frames, 64 × 64 pixels, 500 files for each setting: 70 % of the
  glyphs for training, 10 % for validation, 20 % for test; no glyph is in two. Setting A: either
  axis changes with probability ½; B: y with 0.1 + 0.8 · digit / 9.
- **Runs.** The recipe `digit-scenes` through index, stream, learner and MLflow as by `adassl
  train`, but for batches of 64 pairs and no free bits: encoder `conv3d_pooled`, 500 steps. All arms
  have the same encoder, steps and seeds (*long*: twice the steps).
- **Editors.** With InfoNCE f(x) + MLP([f(x), r]), with BYOL (and for AdaSSL-S) the low-rank one,
  before the predictor. r has 32 dimensions.
- **Control.** "editor, no r" is the same editor as AdaSSL-V's, fed with f(x) alone: what it reaches
  too is not due to r.
- **x++.** Where the posterior reads it in the place of x+, only the forward direction x → x+ is
  trained, and x++ gets no gradient. *without x++* has both directions; *without x++, forward only*
  (`method.reverse=false`) differs from AdaSSL-V only in that the posterior reads x+, under InfoNCE
  with its gradient. The authors' form, extra views of both x and x+ in both directions
  (`method.surrogate_form=both`), is no arm here: it needs a clip before x at x's own velocity,
  which scenes of nine frames do not have.
- **Tuning.** Four settings, two learning rates with two temperatures (BYOL: EMA momenta) or, with
  r, two β, for each of InfoNCE and BYOL, alone, with the editor without r, with AdaSSL-V and with
  -S: half of the steps, one seed, setting A, chosen by `val/score` of validation videos, the mean
  of digit, velocity and change from (z, r), or (z, z+) where there is no r. Every other arm takes
  what was chosen for the one of these that it is a variant of, but for what it changes itself. The
  table is at the end. What all arms share, encoder, editor and the range of β, was found by some 35
  trainings on videos of another set, most of AdaSSL-V, and by the sweep of docs/sweeps.md.
- **Probes.** Ridge and logistic regression on standardised features, fitted on training videos,
  regularised on validation videos, scored on test videos; *edited* is t(f(x), r) with r from the
  posterior, before BYOL's predictor. R² is the mean over x and y. From *edited* alone an arm
  without r scores 0 by construction, since the mean change does not depend on x; no hypothesis
  rests on that comparison.
- **Futures.** 64 samples of r for each source, edited; an MLP fitted on real clips of training
  glyphs reads the velocity out of each. r is drawn by a prior that is fitted after training to the
  r of 2,000 training pairs, and the editor's answers are taken to where clips are embedded, by
  ridge regression on the same pairs (`adassl/forecaster.py`); without r, only the latter. *Learnt
  prior*: r ~ p(r | x) of the training, read as the editor answers. Energy score (fair) in
  px/frame against what came, beside that of draws of the true distribution; a method without r
  has one future. Two trivial forecasts: *last velocity* is the source's velocity, which is known
  exactly, as a point forecast, scored without the reader; *no change* is the velocity read from
  the source's own embedding in the place of a future, so that it carries the reader's error as
  the methods' futures do. Two steps: a prediction is edited again, and scored against two true
  changes one after another. A share along an axis is that of the futures whose larger change is
  along it. Retrieval among all test clips.
"""


def page_of(results: Results, trials: Path) -> Page:
    """The page of the trials so far."""
    groups = [group for group in ("A", "B") if results.titles(group)]
    sections = [_representation(results, trials)] if results.titles("A") else []
    sections += [_futures(results, trials, group) for group in groups]
    sections += [_use(results, trials)] if results.titles("A") else []
    if results.titles("long"):
        sections.append(_long(results, trials))
    if results.titles(*SIZE_GROUPS):
        sections.append(size_section(results, SIZE_GROUPS, REPRESENTATION, LATENT))
    return Page(
        title="Moving digits: what r adds to video",
        summary=(
            "AdaSSL-V and -S on videos whose true distribution is known, beside InfoNCE and BYOL "
            "alone and beside the same editor without r. Hypotheses that did not hold are reported "
            "too."
        ),
        protocol=PROTOCOL,
        hypotheses=hypotheses(results),
        sections=sections,
    )


def _representation(results: Results, trials: Path) -> Section:
    return Section(
        title="What the embeddings know (setting A)",
        text="Accuracy of the digit, R² of the source's velocity and of its change.",
        tables={"representation": results.table("A", REPRESENTATION)},
        pictures={
            "representation": (
                "Digit, velocity and change by method",
                lambda path: draw_representation(results, path),
            )
        },
    )


def _futures(results: Results, trials: Path, group: str) -> Section:
    methods = [m for m in results.titles(group) if len(results.values(group, m, ENERGY))]
    shown = forecasts_of(results, trials, group)
    return Section(
        title=f"Sampled futures against the true distribution (setting {group})",
        tables={f"futures-{group}": results.table(group, FUTURES, methods)},
        pictures={
            f"futures-{group}": (
                "Source, what came, and sixteen sampled futures as the nearest real clips",
                lambda path: draw_futures(shown, group, path),
            ),
            f"velocities-{group}": (
                "Sampled next velocities and the true distribution",
                lambda path: draw_velocities(shown, group, path),
            ),
            f"ranks-{group}": ("Rank histograms", lambda path: draw_ranks(shown, group, path)),
            f"axes-{group}": (
                "Share of futures that change along y, by digit",
                lambda path: draw_axes(results, group, path),
            ),
        },
    )


def _use(results: Results, trials: Path) -> Section:
    methods = [m for m in results.titles("A") if "-v" in m or "-s" in m]
    return Section(
        title="How r is used",
        tables={"use": results.table("A", USE, methods)},
        pictures={"use": ("Use of r over training", lambda p: draw_use(results, trials, p))},
    )


def _long(results: Results, trials: Path) -> Section:
    return Section(
        title="Keeping r alive in long InfoNCE runs",
        text=(
            "InfoNCE has little left to gain once the positive stands out from the batch. As what "
            "x alone tells grows sharper (the glyph above all), r gains less and less, until a nat "
            "of it costs more than it brings: KL falls while the loss does, and the change goes "
            "with it. Free bits take the price off the first nats. The same recipe, twice as long, "
            "with and without them:"
        ),
        tables={"long": results.table("long", (*REPRESENTATION, *USE[:1]))},
        pictures={"long": ("KL and loss over training", lambda p: draw_long(results, trials, p))},
    )


def draw_representation(results: Results, path: Path) -> Path:
    """Digit, velocity and change of every method of setting A."""
    columns = {
        "digit, accuracy (h)": DIGIT,
        "velocity, R² (h)": VELOCITY,
        "change, R² (z, z+)": PAIR,
        "change, R² (edited)": EDITED,
    }
    chosen = results.runs[results.runs.group == "A"]
    groups = chosen.groupby("title", sort=False)
    keys = [key for key in columns.values() if key in chosen]
    names = {key: name for name, key in columns.items()}
    means = groups[keys].mean().rename(columns=names)
    sds = groups[keys].std().rename(columns=names)
    muted = [title for title in means.index if any(word in title for word in CONTROLS)]
    return figures.dots(
        means, sds, path, title="What the embeddings know", subtitle="setting A", muted=muted
    )


def draw_futures(shown: Forecasts, group: str, path: Path) -> Path | None:
    """Nearest real clips to sampled futures, of BYOL's methods and of its control."""
    clips = [
        (title, FutureClips(sources=w["sources"], came=w["came"], nearest=w["nearest"]))
        for title, w in shown.items()
        if "BYOL" in title and (w["nearest"].shape[1] == 16 or "no r" in title)
    ]
    if not clips:
        return None
    return figures.future_sheet(clips, path, title=f"Sampled futures, setting {group}")


def draw_velocities(shown: Forecasts, group: str, path: Path) -> Path | None:
    """Sampled next velocities of some sources, with those of the true distribution."""
    clouds = [
        Cloud(
            name=title,
            samples=w["samples"][i],
            true=w["true"][i],
            velocity=w["velocity"][i],
            next_velocity=w["next_velocity"][i],
        )
        for title, w in shown.items()
        for i in range(NUM_CLOUDS)
    ]
    if not clouds:
        return None
    title = f"Next velocity: sampled and true, setting {group}"
    return figures.velocity_clouds(clouds, path, title=title)


def draw_ranks(shown: Forecasts, group: str, path: Path) -> Path | None:
    """Rank histograms of the methods with samples."""
    counts = {title: w["ranks"] for title, w in shown.items() if w["ranks"].sum()}
    if not counts:
        return None
    title = f"Rank of what came among 19 futures, setting {group}"
    return figures.rank_histograms(counts, path, title=title)


def draw_axes(results: Results, group: str, path: Path) -> Path | None:
    """Share of futures that change along y by digit."""
    shares = {}
    for method, title in results.titles(group).items():
        table = pd.DataFrame(
            {d: results.values(group, method, f"{F}share_y/{d}") for d in range(10)}
        )
        if len(table) and "no-r" not in method:
            shares[title] = (table.mean().to_numpy(), table.std().fillna(0.0).to_numpy())
    if not shares:
        return None
    truth = np.array([probability_of_y("A" if group == "A" else "B", d) for d in range(10)])
    title = f"Which axis changes, by digit, setting {group}"
    return figures.axis_curve(shares, truth, path, title=title)


def draw_use(results: Results, trials: Path, path: Path) -> Path:
    """KL, active dimensions and their entropy over training."""
    v, s = ([m for m in results.titles("A") if kind in m] for kind in ("-v", "-s"))
    panels = {
        "KL of V, nats": ("A", v, "train/kl"),
        "E‖r‖₀ of S": ("A", s, "train/latent_mean_active"),
        "H(ρ) of S, nats": ("A", s, "train/latent_use_entropy"),
    }
    shown = panels_of(results, trials, panels)
    title = "How r is used over training"
    return figures.grid_of_lines(shown, path, title=title, y_label="", share_y=False)


def draw_long(results: Results, trials: Path, path: Path) -> Path:
    """KL and loss over training, with and without free bits."""
    both = list(results.titles("long"))
    panels = {
        "KL, nats": ("long", both, "train/kl"),
        "InfoNCE, nats": ("long", both, "train/ssl"),
    }
    shown = panels_of(results, trials, panels)
    title = "KL over a long training"
    return figures.grid_of_lines(shown, path, title=title, y_label="", share_y=False)


def forecasts_of(results: Results, trials: Path, group: str) -> Forecasts:
    """Title and arrays of the first trial of each method that is shown."""
    found: Forecasts = {}
    titles = results.titles(group)
    for method in SHOWN_METHODS:
        if method in titles:
            file = trials / str(results.of_arm(group, method).trial.iloc[0]) / FORECAST_FILE
            if file.exists():
                with np.load(file) as arrays:
                    found[titles[method]] = dict(arrays)
    return found
