"""What the experiment on real videos reports: goals and comparisons, tables, pictures."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from pipelines.experiments import figures
from pipelines.experiments.hypothesis import Hypothesis, check, every, some
from pipelines.experiments.page import Draw, Page, Section
from pipelines.experiments.pictures import pictures_of
from pipelines.experiments.real_video.trial import (
    EPOCHS,
    GAP_SECONDS,
    NUM_LABELLED,
    NUM_PAIRS,
)
from pipelines.experiments.results import Column, Results, Score

GROUPS = ("robot", "signs")
OURS, PLAIN = "adassl-v", "infonce"
WITHOUT_R = ("infonce", "no-r", "byol")
FLOORS = {"raw": "raw pixels", "untrained": "untrained encoder", "supervised": "supervised encoder"}
"""Beside the methods: measured with the pairs of the arm `PLAIN`."""
T = "test/"
ARM_GOAL, HAND_GOAL, CLASS_GOAL = 0.90, 0.60, 0.85
SHARE_OF_SUPERVISED, CHANGE_MARGIN = 0.9, 0.15
VALUES = (
    Column(metric=T + "arm/h", title="arm (h)"),
    Column(metric=T + "hand/h", title="hand (h)"),
    Column(metric="seconds", title="seconds, with evaluation", digits=0),
)
CHANGES = (
    Column(metric=T + "change/h", title="h"),
    Column(metric=T + "change/z", title="z"),
    Column(metric=T + "change/z_pair", title="(z, z+)"),
    Column(metric=T + "change/r", title="r"),
    Column(metric=T + "change/z_r", title="(z, r)"),
    Column(metric=T + "change/h_r", title="(h, r)"),
    Column(metric=T + "change/edited", title="edited"),
    Column(metric="val/kl", title="KL, nats", digits=1),
)
CARRIED = (
    Column(metric=T + "transfer/recall_at_1", title="transfer R@1"),
    Column(metric=T + "transfer/chance_at_1", title="chance"),
    Column(metric=T + "transfer/recall_at_5", title="transfer R@5"),
    Column(metric=T + "transfer/chance_at_5", title="chance at 5"),
    Column(metric=T + "leakage/r", title="video from r"),
    Column(metric=T + "leakage/z", title="video from z"),
    Column(metric=T + "leakage/chance", title="chance of a video"),
)
CLASSES = (
    Column(metric=T + "class/h", title="linear (h)"),
    Column(metric=T + "class_knn/h", title="kNN"),
    Column(metric=T + "class_recall_at_1/h", title="R@1"),
    Column(metric="seconds", title="seconds, with evaluation", digits=0),
)
PROTOCOL = f"""\
- **Data.** The folders of the command; the test videos are those that their tables name, a fifth
  of the others is for validation. *Robot*: values for each frame, such as joint states. A value
  counts if more than half of its variance lies within videos; what is left tells sessions apart.
  *Hand*: those whose names speak of a hand or a gripper; *arm*: all others. *Signs*: classes of
  whole videos.
- **Runs.** The recipe `videos` through index, stream, learner and MLflow as by `adassl train`: the
  same encoder, augmentations, batches of 64 pairs. **As many clips for all:** AdaSSL-V
  encodes four views a pair (x, x+, and both augmented once more for the posterior), the others
  two, so it takes 500 steps and they 1,000.
- **Tuning.** Three settings for each method and set, alike but for β of r: nearly whole frames
  (85 %) in strong colours, one moment of each video in a batch (β 0.1); four fifths of the frame,
  four moments (β 0.03); three fifths, eight moments (β 0.01). A quarter of the steps, one seed,
  chosen by `val/score` of validation videos: the mean of what there is of R² of arm and hand from
  h, R² of the change from (z, r), or z without r, and the accuracy of the class from h. The table
  is at the end. The three, the encoder and the extra views were found by some sixty short trainings
  of InfoNCE with and without r, in memory, on validation videos of the same sets.
- **Probes.** Ridge and logistic regression on standardised features of {NUM_PAIRS["train"]:,}
  training pairs, strength by cross-validation over videos, scored on {NUM_PAIRS["test"]:,} test
  pairs. *Change*: of each value over {GAP_SECONDS} s. What reads x alone forecasts it; what reads
  z+ or r has seen x+.
- **Raw pixels**: ridge or logistic regression on 16 × 16 pixels of the three frames. **Supervised
  encoder**: the same encoder trained on the labels of {NUM_LABELLED:,} training pairs, {EPOCHS}
  passes, without augmentation. One for each seed of InfoNCE.
- **Transfer.** r of a pair edits the context of a pair of another video; of that video's moments,
  is the nearest to the edited embedding the one whose values have changed as the donor's have? The
  arms without r edit alike for every donor. **Video from r**: the video that a pair is of, by the
  nearest pairs.
"""


def page_of(results: Results, trials: Path) -> Page:
    """The page of the trials so far."""
    groups = [group for group in GROUPS if (results.runs.group == group).any()]
    return Page(
        title="Real video: what is learnt of a robot and of traffic signs, and r as the action",
        summary=(
            "AdaSSL-V beside InfoNCE and BYOL, with and without r, and beside raw pixels, the "
            "untrained and the supervised encoder, on labelled real videos. All numbers are of "
            "test videos, which were used once."
        ),
        protocol=PROTOCOL,
        hypotheses=[each for group in groups for each in _hypotheses(results, group)],
        sections=[_section(results, trials, group) for group in groups],
    )


def _hypotheses(results: Results, group: str) -> Iterator[Hypothesis]:
    if results.values(group, PLAIN, T + "arm/h").size:
        yield from _of_values(results, group)
    if results.values(group, PLAIN, T + "class/h").size:
        yield from _of_classes(results, group)


def _of_values(results: Results, group: str) -> Iterator[Hypothesis]:
    def score(name: str, method: str = OURS, title: str = "") -> Score:
        return Score(group, method, T + name, title)

    parts = [p for p in ("arm", "hand") if results.values(group, OURS, f"{T}{p}/h").size]
    yield every(
        "ours",
        f"{group}: h reaches {SHARE_OF_SUPERVISED:g} of the supervised encoder's R²",
        [
            check(
                results,
                score(f"{part}/h"),
                score(f"{part}/supervised", PLAIN, "supervised"),
                part,
                times=SHARE_OF_SUPERVISED,
            )
            for part in parts
        ],
    )
    yield every(
        "ours",
        f"{group}: h is above raw pixels on every joint",
        [
            check(
                results,
                score(f"joint/{joint}/h"),
                score(f"joint/{joint}/raw", PLAIN, "raw pixels"),
                joint,
            )
            for joint in joints_of(results, group)
        ],
    )
    for part, goal in (("arm", ARM_GOAL), ("hand", HAND_GOAL)):
        if part in parts:
            yield every(
                "ours",
                f"{group}: mean R² of the {part} from h is above {goal:g}",
                [check(results, score(f"{part}/h"), goal)],
            )
    yield every(
        "ours",
        f"{group}: h with r knows more of the values than every arm's without",
        [
            check(results, score(f"{part}/h"), score(f"{part}/h", method), part)
            for part in parts
            for method in WITHOUT_R
        ],
    )
    for source, what in (("z", "z"), ("z_pair", "(z, z+)")):
        margin = CHANGE_MARGIN if source == "z" else 0.0
        yield every(
            "ours",
            f"{group}: the change from (z, r) is {f'{margin:g} R² ' if margin else ''}above that "
            f"from {what} of every arm without r",
            [
                check(results, score("change/z_r"), score(f"change/{source}", method), less=-margin)
                for method in WITHOUT_R
            ],
        )
    yield every(
        "ours",
        f"{group}: r carries the change over to other videos, above chance and every arm without r",
        [
            check(
                results,
                score("transfer/recall_at_1"),
                score("transfer/chance_at_1", OURS, "chance"),
            ),
            *(
                check(results, score("transfer/recall_at_1"), score("transfer/recall_at_1", method))
                for method in WITHOUT_R
            ),
        ],
    )
    yield every(
        "ours",
        f"{group}: r tells less of which video it is than z",
        [check(results, score("leakage/z", OURS, "z"), score("leakage/r", OURS, "r"))],
    )


def _of_classes(results: Results, group: str) -> Iterator[Hypothesis]:
    ours = Score(group, OURS, T + "class/h")
    methods = [method for method in (OURS, *WITHOUT_R) if len(results.of_arm(group, method))]
    yield some(
        "ours",
        f"{group}: linear accuracy from h of some arm is above {CLASS_GOAL:g}",
        [check(results, Score(group, method, T + "class/h"), CLASS_GOAL) for method in methods],
    )
    yield every(
        "ours",
        f"{group}: linear accuracy from h with r is above {CLASS_GOAL:g}",
        [check(results, ours, CLASS_GOAL)],
    )
    yield every(
        "ours",
        f"{group}: h is above raw pixels and the untrained encoder",
        [
            check(results, ours, Score(group, PLAIN, f"{T}class/{floor}", FLOORS[floor]))
            for floor in ("raw", "untrained")
        ],
    )
    yield every(
        "ours",
        f"{group}: h with r is more accurate than every arm without r",
        [check(results, ours, Score(group, method, T + "class/h")) for method in WITHOUT_R],
    )


def joints_of(results: Results, group: str) -> list[str]:
    """The values that were asked of a group, in the order of the labels."""
    start, end = f"{T}joint/", "/h"
    known = results.runs[results.runs.group == group].dropna(axis=1, how="all")
    names = [str(column) for column in known]
    return [n[len(start) : -len(end)] for n in names if n.startswith(start) and n.endswith(end)]


def _section(results: Results, trials: Path, group: str) -> Section:
    tables: dict[str, pd.DataFrame] = {}
    pictures: dict[str, tuple[str, Draw]] = {}
    if results.values(group, PLAIN, T + "arm/h").size:
        tables = {
            f"{group}-values": results.with_floors(group, VALUES, PLAIN, FLOORS),
            f"{group}-changes": results.table(group, CHANGES),
            f"{group}-transfer": results.table(group, CARRIED),
        }
        pictures[f"{group}_joints"] = (
            "R² of each joint from h, beside raw pixels and the supervised encoder",
            partial(_draw_joints, results, group),
        )
    if results.values(group, PLAIN, T + "class/h").size:
        tables[f"{group}-classes"] = results.with_floors(group, CLASSES, PLAIN, FLOORS)
    pictures |= pictures_of(results, trials, group, OURS, thing="video")
    return Section(
        title=f"{group.capitalize()}",
        text=(
            "R² of values and of their changes, accuracy of classes, from what stands in the head "
            "of the column."
        ),
        tables=tables,
        pictures=pictures,
    )


def _draw_joints(results: Results, group: str, path: Path) -> Path:
    titles = results.titles(group)
    read = {title: (PLAIN, floor) for floor, title in FLOORS.items()}
    read |= {titles[method]: (method, "h") for method in (PLAIN, OURS) if method in titles}
    found = {
        title: {
            joint.rpartition(".")[2]: results.values(group, method, f"{T}joint/{joint}/{source}")
            for joint in joints_of(results, group)
        }
        for title, (method, source) in read.items()
    }
    means, sds = (
        pd.DataFrame(
            {title: {j: of(v) for j, v in joints.items()} for title, joints in found.items()}
        )
        for of in (pd.Series.mean, pd.Series.std)
    )
    return figures.dots(means, sds, path, title="R² of each value on test videos", subtitle=group)
