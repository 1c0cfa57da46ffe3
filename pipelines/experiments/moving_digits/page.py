"""What the moving-digits experiment says: claims by stated rules, tables and figures."""

from pathlib import Path

from pipelines.experiments.moving_digits import figures as draw
from pipelines.experiments.moving_digits.hypotheses import (
    DIGIT,
    EDITED,
    ENERGY,
    PAIR,
    SLOPE,
    SPREAD,
    VELOCITY,
    T,
    hypotheses,
)
from pipelines.experiments.page import Page, Section
from pipelines.experiments.results import Column, Results

REPRESENTATION = (
    Column(metric=DIGIT, title="digit (h)"),
    Column(metric=T + "digit/knn", title="digit, kNN (h)"),
    Column(metric=VELOCITY, title="velocity (h)"),
    Column(metric=PAIR, title="change (z, z+)"),
    Column(metric=EDITED, title="change (edited)"),
    Column(metric=T + "change_edited/mlp", title="change, MLP (edited)"),
    Column(metric=T + "change_source_edited/linear", title="change (z, edited)"),
    Column(metric=T + "change_latent/linear", title="change (z, r)"),
)
USE = (
    Column(metric="val/kl", title="KL, nats"),
    Column(metric="val/latent_mean_active", title="E‖r‖₀"),
    Column(metric="val/latent_use_entropy", title="H(ρ), nats"),
    Column(metric=T + "centre_norm", title="‖s‖"),
    Column(metric=T + "rankme", title="RankMe (z)", digits=0),
)
FUTURES = (
    Column(metric=ENERGY, title="energy score", digits=3),
    Column(metric=T + "world/energy_oracle", title="of the law", digits=3),
    Column(metric=T + "world/energy_last_velocity", title="of no change", digits=3),
    Column(metric=T + "world/crps", title="CRPS", digits=3),
    Column(metric=SPREAD, title="spread / true"),
    Column(metric=T + "world/cross", title="smaller / larger change"),
    Column(metric=T + "world/share_x", title="share along x"),
    Column(metric=T + "world/share_x_oracle", title="along x by the law"),
    Column(metric=T + "world/share_y", title="share along y"),
    Column(metric=T + "world/share_y_oracle", title="along y by the law"),
    Column(metric=SLOPE, title="slope by digit", digits=3),
    Column(metric=T + "world/rank_edges", title="ranks at the edges / flat"),
    Column(metric=T + "world/recall_1", title="recall@1"),
    Column(metric=T + "world/recall_1_best", title="recall@1, best of 16"),
    Column(metric=T + "world/path_energy", title="energy, 2 steps", digits=3),
    Column(metric=T + "world/path_spread", title="spread, 2 steps"),
    Column(metric=T + "world/reader_r2", title="reader's R²"),
)
PROTOCOL = """\
- **Data.** Stochastic moving digits (arXiv 2602.02381; `pipelines/sources/digit_motion.py`) as
  H.264 files of 16 scenes of nine frames, 64 × 64 pixels, 500 files for each setting: 70 % of the
  glyphs for training, 10 % for validation, 20 % for test; no glyph is in two. Setting A: either
  axis changes with probability ½; B: y with 0.1 + 0.8 · digit / 9.
- **Runs.** The recipe `moving-digits` through index, stream, learner and MLflow as by `adassl
  train`: encoder `conv3d_pooled`; with InfoNCE 200 steps of 256 pairs at a learning rate of 0.001,
  with BYOL, which does without large batches, as many pairs in 800 steps of 64 at 0.002. All arms
  of an objective have the same encoder, optimiser, steps and seeds (*long*: twice the steps).
- **Editors.** With InfoNCE f(x) + MLP([f(x), r]), with BYOL (and for AdaSSL-S) the low-rank one,
  before the predictor. r has 32 dimensions.
- **Control.** "editor, no r" is the very editor of AdaSSL-V, fed with f(x) alone: what it reaches
  too is no merit of r.
- **Tuning.** By some 35 trainings on validation videos of another set, most of them of AdaSSL-V and
  one or two of each control: **the baselines were not tuned as hard**. Encoder, temperature, batch
  and editor were chosen for all arms at once by digit, velocity and change together.
- **Probes.** Ridge and logistic regression on standardised features, fitted on training videos,
  regularised by validation videos, judged on test videos; *edited* is t(f(x), r) with r from the
  posterior, before BYOL's predictor. R² is the mean over x and y.
- **Futures.** 64 samples r ~ p(r | x) a source, edited; an MLP fitted on real clips of training
  glyphs reads the velocity out of each. Energy score (fair) in px/frame against what came, beside
  the law's own samples; a method without r has one future. Two steps: what was predicted is edited
  again, against two changes of the law one after another. A share along an axis is that of the
  futures whose larger change is along it. Retrieval among all test clips.
"""


def page_of(results: Results, trials: Path) -> Page:
    """The page of the trials so far."""
    groups = [group for group in ("A", "B") if results.titles(group)]
    sections = [_representation(results, trials)]
    sections += [_futures(results, trials, group) for group in groups]
    sections.append(_use(results, trials))
    if results.titles("long"):
        sections.append(_long(results, trials))
    return Page(
        title="Moving digits: what r adds to video",
        summary=(
            "AdaSSL-V and -S on videos of a known law, beside InfoNCE and BYOL alone and beside "
            "the same editor without r. What does not hold is said."
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
                lambda path: draw.representation(results, path),
            )
        },
    )


def _futures(results: Results, trials: Path, group: str) -> Section:
    methods = [m for m in results.titles(group) if _has_futures(results, group, m)]
    pictures = {
        f"futures-{group}": (
            "Source, what came, and sixteen sampled futures as the nearest real clips",
            lambda path: draw.futures(results, trials, group, path),
        ),
        f"velocities-{group}": (
            "Sampled next velocities and the law",
            lambda path: draw.velocities(results, trials, group, path),
        ),
        f"ranks-{group}": ("Rank histograms", lambda p: draw.ranks(results, trials, group, p)),
        f"axes-{group}": (
            "Share of futures that change along y, by digit",
            lambda path: draw.axes(results, group, path),
        ),
    }
    return Section(
        title=f"Sampled futures against the law (setting {group})",
        tables={f"futures-{group}": results.table(group, FUTURES, methods)},
        pictures=pictures,
    )


def _has_futures(results: Results, group: str, method: str) -> bool:
    return len(results.values(group, method, ENERGY)) > 0


def _use(results: Results, trials: Path) -> Section:
    methods = [m for m in results.titles("A") if "-v" in m or "-s" in m]
    return Section(
        title="How r is used",
        tables={"use": results.table("A", USE, methods)},
        pictures={"use": ("Use of r over training", lambda p: draw.use(results, trials, p))},
    )


def _long(results: Results, trials: Path) -> Section:
    return Section(
        title="Keeping r alive in long InfoNCE runs",
        text=(
            "InfoNCE is content once the positive stands out from the batch. As what x alone tells "
            "grows sharper (the glyph above all), r gains less and less, until a nat of it costs "
            "more than it brings: KL falls while the loss does, and the change goes with it. Free "
            "bits take the price off the first nats. The same recipe, twice as long, with and "
            "without them:"
        ),
        tables={"long": results.table("long", (*REPRESENTATION, *USE[:1]))},
        pictures={"long": ("KL and loss over training", lambda p: draw.long(results, trials, p))},
    )
