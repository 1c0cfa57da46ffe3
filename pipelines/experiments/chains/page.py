"""What the experiment on chains reports: hypotheses by stated rules, tables, energy by step."""

from pathlib import Path

import pandas as pd

from pipelines.experiments import figures
from pipelines.experiments.hypothesis import (
    Check,
    Hypothesis,
    check,
    check_methods,
    every,
    jointly,
    some,
)
from pipelines.experiments.page import Page, Section
from pipelines.experiments.results import Column, Results, Score

GROUP = "A"
STEPS = (1, 2, 3)
MARGIN = 0.03
"""Of the energy of one step, in px/frame, that chains may cost."""
SPREAD = (0.75, 1.25)
CHAINS, PAIRS = "chains-3-v", "pairs-v"
CONTROL = "chains-3-no-r"
REPRESENTATION = (
    Column(metric="test/digit", title="digit (h)"),
    Column(metric="test/velocity", title="velocity (h)"),
    Column(metric="val/kl", title="KL a step, nats", digits=1),
    Column(metric="seconds", title="seconds, with evaluation", digits=0),
)
PROTOCOL = """\
- **Data.** Stochastic moving digits, setting A (`pipelines/sources/digit_motion.py`), in scenes of
  22 frames on a canvas of 96 pixels, trained on at 48: 500 H.264 files of 16 scenes, 70 % of the
  glyphs for training, 10 % for validation, 20 % for test. The moments of a chain are the clips of
  three frames at frames 0, 6, 12 and 18: one velocity each, one change of velocity between any two.
  Velocities and energies are in px/frame of the canvas.
- **Runs.** The recipe `digit-scenes` (InfoNCE, residual editor, r of 32 dimensions) without x++ and
  forward only: in reverse the prior would have to tell pasts, too. From index to MLflow as by
  `adassl train`, batches of 256 rows. *Pairs*: two moments, from frame 0 and from frame 11 of each
  scene, so that later moments and their greater range of places and speeds are trained on too.
  *Chains of k*: k moments from frame 0 (`data.moments_per_chain`). All arms encode as many clips:
  300 steps of pairs, 200 of chains of 3, 150 of chains of 4.
- **Tuning.** For each arm three settings with half of its steps, one training each, chosen by the
  energy of two-step futures of *validation* chains, pairs applied again included: β and free nats
  with r, the temperature without. The test split is used once, by the arms.
- **Futures.** r_2 ~ p(r | f(x_1)), e_2 = t(f(x_1), r_2), r_3 ~ p(r | e_2) and so on, 64 samples; an
  MLP fitted on later moments of training chains reads the velocity of each. Energy score (fair)
  against what came in the very scene. *Rescaled*: each edited embedding gets the mean length of
  real ones before it is edited again. A method trained on pairs has never edited what it edited,
  and the loss does not fix lengths: pairs must be beaten in both ways. Chains of 4 were trained on
  three steps, chains of 3 on two: their third step is a step beyond.
- **Trivial forecasts.** *Last velocity*: that of x_1, known exactly. *No change*: read from the
  embedding of x_1 in the place of a future, so that it has the reader's error too.
- **The bound** that chains train, and what it says: `adassl/chains.py`; its test on laws with known
  information: `tests/adassl/test_chain_bound.py`.
"""


def energy(step: int, *, rescaled: bool = False) -> str:
    """The metric of the energy score after so many steps."""
    return f"test/{'rescaled/' if rescaled else ''}energy_{step}"


def page_of(results: Results, trials: Path) -> Page:
    """The page of the trials so far."""
    return Page(
        title="Chains: more than two moments",
        summary=(
            "Does training on chains x₁, x₂, x₃ make futures of two steps better than applying a "
            "method trained on pairs twice? On digits whose velocity changes at each of two or "
            "three points."
        ),
        protocol=PROTOCOL,
        hypotheses=hypotheses(results),
        sections=[
            *(_futures(results, step) for step in STEPS),
            Section(
                title="What the encoder knows",
                text="Accuracy of the digit and R² of the velocity of x₁, by linear probes.",
                tables={"representation": results.table(GROUP, REPRESENTATION)},
                pictures={"energies": ("Energy score by step", lambda p: draw_steps(results, p))},
            ),
        ],
    )


def hypotheses(results: Results) -> list[Hypothesis]:
    """Each hypothesis, decided by the metrics."""
    return [
        every(
            "ours",
            "Futures of two steps are better after training on chains of 3 than by a method "
            "trained on pairs and applied twice, rescaled or not",
            _against_pairs(results, CHAINS, 2),
        ),
        every(
            "ours",
            "Futures of three steps are better after training on chains of 4 than by a method "
            "trained on pairs and applied three times, rescaled or not",
            _against_pairs(results, "chains-4-v", 3),
        ),
        every(
            "ours",
            "Chains of 3 help a step beyond their training: their futures of three steps are "
            "better than those of pairs, rescaled or not",
            _against_pairs(results, CHAINS, 3),
        ),
        every(
            "ours",
            "After two steps the clip that came is found among all others by one of 16 futures "
            "more often with chains of 3 than with pairs, which needs no reader",
            [check_methods(results, GROUP, CHAINS, PAIRS, "test/recall_1_best_2")],
        ),
        every(
            "ours",
            "Futures of two steps are better with r than by the same editor without",
            [_lower(results, CHAINS, CONTROL, 2)],
        ),
        every(
            "ours",
            "Futures of two steps are better than the last velocity, known exactly, and than no "
            "change",
            [
                check(
                    results,
                    Score(GROUP, CHAINS, f"test/energy_{name}_2", name.replace("_", " ")),
                    Score(GROUP, CHAINS, energy(2)),
                    "energy of",
                )
                for name in ("last_velocity", "no_change")
            ],
        ),
        every(
            "ours",
            f"Chains of 3 cost the first step less than {MARGIN} of its energy",
            [_lower(results, CHAINS, PAIRS, 1, less=-MARGIN)],
        ),
        some(
            "ours",
            "The encoder's h knows more of the digit or of the velocity with chains of 3",
            [
                check_methods(results, GROUP, CHAINS, PAIRS, f"test/{name}", f"{name},")
                for name in ("digit", "velocity")
            ],
        ),
        every(
            "ours",
            "The spread of two-step futures of chains of 3 is within ±25 % of the true one",
            [_spread(results)],
        ),
    ]


def _against_pairs(results: Results, method: str, step: int) -> list[Check]:
    ours = Score(GROUP, method, energy(step))
    return [
        check(
            results,
            Score(GROUP, PAIRS, energy(step, rescaled=rescaled), title),
            ours,
            f"energy, {step} steps,",
        )
        for rescaled, title in ((False, "pairs, as they are"), (True, "pairs, rescaled"))
    ]


def _lower(results: Results, ours: str, theirs: str, step: int, less: float = 0.0) -> Check:
    larger, smaller = (Score(GROUP, each, energy(step)) for each in (theirs, ours))
    label = f"energy, {step} step{'s' * (step > 1)},"
    return check(results, larger, smaller, label, less=-less)


def _spread(results: Results) -> Check:
    spread = Score(GROUP, CHAINS, "test/spread_2")
    sides = [check(results, spread, SPREAD[0]), check(results, SPREAD[1], spread)]
    return jointly(f"spread {results.shown(*spread[:3])}", sides)


def _futures(results: Results, step: int) -> Section:
    columns = (
        Column(metric=energy(step), title="energy score", digits=3),
        Column(metric=energy(step, rescaled=True), title="rescaled", digits=3),
        Column(metric=f"test/energy_oracle_{step}", title="true distribution", digits=3),
        Column(metric=f"test/energy_last_velocity_{step}", title="last velocity", digits=3),
        Column(metric=f"test/energy_no_change_{step}", title="no change (read)", digits=3),
        Column(metric=f"test/spread_{step}", title="spread / true"),
        Column(metric=f"test/rescaled/spread_{step}", title="spread, rescaled"),
        Column(metric=f"test/recall_1_{step}", title="recall@1"),
        Column(metric=f"test/recall_1_best_{step}", title="recall@1, best of 16"),
        Column(metric=f"test/reader_r2_{step}", title="reader's R²"),
    )
    name = f"{step} step{'s' * (step > 1)}"
    return Section(
        title=f"Futures after {name}", tables={f"futures-{step}": results.table(GROUP, columns)}
    )


def draw_steps(results: Results, path: Path) -> Path:
    """Energy score after one to three steps, of every method and of the trivial forecasts."""
    curves = {
        title: _curve(results, method, "energy") for method, title in results.titles(GROUP).items()
    }
    for name in ("oracle", "last_velocity"):
        curves[name.replace("_", " ")] = _curve(results, CHAINS, f"energy_{name}")
    title = "Energy score of futures, px/frame"
    return figures.lines(curves, path, title=title, y_label="energy score", x_label="steps")


def _curve(results: Results, method: str, metric: str) -> pd.DataFrame:
    values = [results.values(GROUP, method, f"test/{metric}_{step}") for step in STEPS]
    columns = {
        "x": list(STEPS),
        "mean": [some.mean() for some in values],
        "sd": [some.std() for some in values],
    }
    return pd.DataFrame(columns).fillna(0.0)
