"""What the experiment on re-use reports: hypotheses by stated rules, tables, accuracy by re-use."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from pipelines.experiments import figures
from pipelines.experiments.hypothesis import Hypothesis, check, every
from pipelines.experiments.page import Page, Section
from pipelines.experiments.results import Column, Results, Score

REUSE = (1, 2, 4, 8)
FEWER = (2, 8)
"""By how much the steps of an arm without re-use are divided."""
SCORE = "test/score"
MARGIN = 0.02
"""Of the score, that re-use may cost."""
TITLES = {"digits": "Moving digits", "videos": "Labelled videos"}
COLUMNS = (
    Column(metric=SCORE, title="score"),
    Column(metric="test/digit/linear_accuracy", title="digit"),
    Column(metric="stream/decoded_frames_per_pair", title="decoded frames a pair"),
    Column(metric="time/pairs_per_second", title="pairs/s", digits=0),
    Column(metric="seconds", title="seconds, with evaluation", digits=0),
)
PROTOCOL = """\
- **Data.** *Moving digits*, setting A: 300 files of 16 scenes; a pair is two successive clips of
  three frames, so that a pair that is used again is the very same pair. *Labelled videos*: those
  of the command; x+ comes 0.2 to 1 s after x, and each further use of a start frame draws another
  gap.
- **Runs.** InfoNCE as published, batches of 64 pairs, from index to MLflow as by `adassl train`;
  one worker and one decoder. All arms of a half take the same number of steps (152 on digits, 200
  on videos), but for *1/k of the steps*, which takes as many *decoded frames* as re-use k does at
  all steps. Where decoding is what takes the time, equal frames are equal time; where training is,
  equal steps are. The seconds measured stand in the table; two trainings shared two cores.
- **Mixing.** *Shortest windows*: the memory of decoded frames (`data.shuffle_memory_mib`) holds
  little more than one pair for each pair of a batch (2 MiB on digits, 32 MiB on videos, in place of
  1,024), so windows are as short as they can be. *n moments a video*: a batch draws n pairs from
  each of 64 / n windows (`data.moments_per_video`), so that it is mixed less and other moments of
  the same video are among the negatives.
- **Score.** Linear probes of h, fitted on 1,200 training pairs, strength by cross-validation over
  videos, scored on 800 test pairs: the mean of the accuracies of classes and of the R² of values,
  those below 0 taken as 0. Changes over the gap are left out.
- **Tuning.** None.
"""


def page_of(results: Results, trials: Path) -> Page:
    """The page of the trials so far."""
    groups = [group for group in TITLES if (results.runs.group == group).any()]
    return Page(
        title="Re-use: what it costs to use decoded frames again, and to mix them less",
        summary=(
            "A decoded frame can be the start of several pairs (`data.reuse`), and the shuffle "
            "window can be small. Both save decoding or memory; this is what they cost in "
            "accuracy. Data echoing (arXiv 1907.05550) for video."
        ),
        protocol=PROTOCOL,
        hypotheses=[each for group in groups for each in _hypotheses(results, group)],
        sections=[_section(results, group) for group in groups],
    )


def _hypotheses(results: Results, group: str) -> Iterator[Hypothesis]:
    plain, where = Score(group, "reuse-1", SCORE), TITLES[group].lower()
    again = [Score(group, f"reuse-{times}", SCORE) for times in REUSE[1:]]
    yield every(
        "ours",
        f"On {where}, each re-use costs less than {MARGIN} of the score at equal steps",
        [check(results, score, plain, less=MARGIN) for score in again],
    )
    yield every(
        "ours",
        f"On {where}, each re-use is better than none at equal decoded frames",
        [
            check(
                results,
                Score(group, f"reuse-{times}", SCORE),
                Score(group, f"fewer-{times}", SCORE),
            )
            for times in FEWER
        ],
    )
    yield every(
        "ours",
        f"On {where}, the shortest windows cost less than {MARGIN} of the score",
        [check(results, Score(group, "short", SCORE), plain, less=MARGIN)],
    )
    yield every(
        "ours",
        f"On {where}, 8 moments of a video in a batch are better than 1",
        [check(results, Score(group, "moments-8", SCORE), plain)],
    )


def _section(results: Results, group: str) -> Section:
    def draw(path: Path) -> Path:
        arms = {
            "re-use k, all steps": {times: f"reuse-{times}" for times in REUSE},
            "re-use 1, 1/k of the steps": {1: "reuse-1", **{k: f"fewer-{k}" for k in FEWER}},
        }
        curves = {}
        for name, methods in arms.items():
            values = {x: results.values(group, method, SCORE) for x, method in methods.items()}
            columns = {
                "x": list(values),
                "mean": [some.mean() for some in values.values()],
                "sd": [some.std() for some in values.values()],
            }
            curves[name] = pd.DataFrame(columns).fillna(0.0)
        title = f"{TITLES[group]}: accuracy by re-use"
        return figures.lines(curves, path, title=title, y_label="score", x_label="k")

    return Section(
        title=TITLES[group],
        text=(
            "At each k both curves have decoded the same number of frames; re-use k has trained k "
            "times as many steps on them."
        ),
        tables={group: results.table(group, COLUMNS)},
        pictures={f"reuse_{group}": ("Score against re-use, at equal frames", draw)},
    )
