"""What the experiment on several digits reports: hypotheses by stated rules, tables, futures."""

from pathlib import Path

import numpy as np

from pipelines.experiments import figures
from pipelines.experiments.figures import Cloud
from pipelines.experiments.page import Page, Section
from pipelines.experiments.results import Column, Results
from pipelines.experiments.several_digits.alone import ALONE_FILE
from pipelines.experiments.several_digits.hypotheses import (
    ALONE,
    CONTROL,
    DIGIT,
    GROUPS,
    LATENT,
    PAIR,
    SEVERAL,
    VELOCITY,
    WIDTH,
    WITH_R,
    hypotheses,
)

PROTOCOL = """\
- **Data.** Stochastic moving digits, setting A (`pipelines/sources/digit_motion.py`), with one, two
  or three digits in a scene, each with its own glyph, start, velocity and change of velocity, drawn
  independently; all change at the same frame. Digit 1 comes from the upper left, 2 from the lower
  right, 3 from the upper right, and moves towards the middle, where they may overlap. Digit 1 moves
  alike in all three sets. H.264 files of 16 scenes of nine frames, 64 × 64 pixels, 500 files for
  each number of digits: 70 % of the glyphs for training, 10 % for validation, 20 % for test.
- **Runs.** The recipe `digit-scenes` (InfoNCE, AdaSSL-V, x++) from index to MLflow as by `adassl
  train`: 200 steps of 256 pairs, each decoded pair used four times, with 8 dimensions of r for each
  digit.
- **Editors.** All have one hidden layer and as many parameters, within 5 %. *MLP*: MLP([z, r]), as
  in the paper. *residual MLP*: z + MLP([z, r]), the recipe's, which is the fair rival of the next
  two, as they are residual too. *slots*: z and r are cut into four parts, and one MLP moves each
  part of z by its own part of r, seeing nothing else. *attention*: each part of z attends to all
  parts of z and r, and an MLP reads it and what it attended to. *no r*: the residual MLP, fed with
  z alone. No editor is told which digit is which or how many there are.
- **Tuning.** Each editor on scenes of two digits: three settings of temperature and learning rate,
  half of the steps, one seed, chosen by `val/score` of validation videos, the mean over class,
  velocity and change (from (z, r), without r from (z, z+)). On one and three digits it takes what
  was chosen there. The test split is used once, by the arms.
- **Probes.** Ridge and logistic regression for each digit by itself, fitted on training videos,
  regularised on validation videos, scored on test videos: class and velocity from h, the change of
  velocity from (z, r) with r drawn from the posterior, from (z, z+) and from the edited embedding.
- **Futures of one digit.** Each dimension of r goes to the digit whose change it tells most of on
  training pairs (R² of a linear fit to x, y and their sizes). For each digit 32 futures of 250 test
  pairs: its dimensions are drawn, all others stay at the posterior's mean of the pair. r is drawn
  by the prior that is fitted after training (`adassl/forecaster.py`): the learnt one is factorised,
  so its draws lack the correlations that r has, and free bits leave it apart from the posterior. An
  MLP fitted on real clips of training videos reads all velocities out of each future. *Share*: of
  the variance over the futures, what falls on the digit that was meant; chance is one over the
  number of digits. *Clips*: the same share for clips drawn with one digit's change from the true
  distribution and the others' as they were: what encoder and reader allow. *Width*: root of the
  variance of the digit that was meant over the true one; *all of r*: the same with every dimension
  drawn. A digit that gets no dimension has share and width 0.
"""
SHOWN = ("mlp", "slots", "attention")
"""Editors whose futures are drawn."""


def page_of(results: Results, trials: Path) -> Page:
    """The page of the trials so far."""
    groups = [group for group in GROUPS if results.titles(group)]
    sections = [_representation(results, group) for group in groups]
    sections += [_futures(results, trials, group) for group in groups]
    return Page(
        title="Several digits: structured editors against the MLP",
        summary=(
            "Scenes of one, two and three digits that change independently. Does an editor that "
            "moves parts of the embedding by parts of r recover the change of each digit better "
            "than an MLP of as many parameters, and can its futures vary one digit alone? "
            "Hypotheses that did not hold are reported too."
        ),
        protocol=PROTOCOL,
        hypotheses=hypotheses(results),
        sections=sections,
    )


def _title(group: str) -> str:
    return f"{group.capitalize()} digit{'s' * (GROUPS[group] > 1)}"


def _of_each(metric: str, title: str, group: str) -> list[Column]:
    """The mean over the digits, then each digit where there are several."""
    numbers = range(1, GROUPS[group] + 1) if group in SEVERAL else ()
    each = [Column(metric=f"{metric}_{k}", title=f"{title}, digit {k}") for k in numbers]
    return [Column(metric=metric, title=title), *each]


def _representation(results: Results, group: str) -> Section:
    columns = [
        *_of_each(DIGIT, "class (h)", group),
        *_of_each(VELOCITY, "velocity (h)", group),
        Column(metric=PAIR, title="change (z, z+)"),
        *_of_each(LATENT, "change (z, r)", group),
        Column(metric="test/change_edited", title="change (edited)"),
        Column(metric="val/kl", title="KL, nats", digits=1),
        Column(metric="test/rankme", title="RankMe (z)", digits=0),
        Column(metric="seconds", title="seconds, with evaluation", digits=0),
    ]
    return Section(
        title=f"{_title(group)}: what is known",
        tables={f"known-{group}": results.table(group, columns)},
        pictures={
            f"known-{group}": (
                "Class, velocity and change by editor",
                lambda path: draw_known(results, group, path),
            )
        },
    )


def _futures(results: Results, trials: Path, group: str) -> Section:
    columns = [
        *_of_each(ALONE, "share", group),
        Column(metric=f"{ALONE}_true", title="share, clips"),
        *_of_each(WIDTH, "width / true", group),
        Column(metric="test/spread", title="all of r / true"),
        *_of_each("test/dimensions", "dimensions of r", group)[1:],
        Column(metric="test/reader_r2", title="reader's R²"),
    ]
    return Section(
        title=f"{_title(group)}: futures of one digit",
        text=f"Chance is {1 / GROUPS[group]:.2f}." if group in SEVERAL else "",
        tables={f"futures-{group}": results.table(group, columns, WITH_R)},
        pictures={
            f"futures-{group}": (
                "Futures in which one digit is meant to vary",
                lambda path: draw_futures(results, trials, group, path),
            )
        },
    )


def draw_known(results: Results, group: str, path: Path) -> Path:
    """Class, velocity, change, and the share of futures that is of the digit meant, by editor."""
    columns = {
        "class, accuracy (h)": DIGIT,
        "velocity, R² (h)": VELOCITY,
        "change, R² (z, r)": LATENT,
        "futures, share on the digit meant": ALONE,
    }
    chosen = results.runs[results.runs.group == group]
    known = {
        name: key for name, key in columns.items() if key in chosen and chosen[key].notna().any()
    }
    groups = chosen.groupby("title", sort=False)[list(known.values())]
    names = {key: name for name, key in known.items()}
    means, sds = groups.mean().rename(columns=names), groups.std().rename(columns=names)
    muted = [title for method, title in results.titles(group).items() if method == CONTROL]
    return figures.dots(
        means, sds, path, title="What is known of each digit", subtitle=_title(group), muted=muted
    )


def draw_futures(results: Results, trials: Path, group: str, path: Path) -> Path | None:
    """Velocities of every digit in futures in which one alone is to vary: a row each, one pair."""
    clouds = []
    titles = results.titles(group)
    for method in (m for m in SHOWN if m in titles and group in SEVERAL):
        file = trials / str(results.of_arm(group, method).trial.iloc[0]) / ALONE_FILE
        if not file.exists():
            continue
        with np.load(file) as arrays:
            shown = dict(arrays)
        pair = int(np.argmax(np.abs(shown["velocity"]).min(axis=(1, 2))))
        for meant in range(GROUPS[group]):
            clouds += [
                Cloud(
                    name=f"{titles[method]}: digit {meant + 1} alone",
                    samples=shown["samples"][meant, pair, :, k],
                    true=shown["true"][meant, pair, :, k],
                    velocity=shown["velocity"][pair, k],
                    next_velocity=shown["next_velocity"][pair, k],
                )
                for k in range(GROUPS[group])
            ]
    if not clouds:
        return None
    about = "a column is a digit; in each row only one is to vary"
    title = f"Futures of one test pair, {_title(group).lower()}"
    return figures.velocity_clouds(clouds, path, title=title, about=about)
