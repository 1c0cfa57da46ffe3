"""What the experiment on sounds reports: verdicts, digit and speaker from h, what r tells of x+."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from pipelines.experiments import figures
from pipelines.experiments.hypothesis import Hypothesis, check, check_methods, every
from pipelines.experiments.page import Draw, Page, Section
from pipelines.experiments.pairs.images_page import FLOORS, dots_of
from pipelines.experiments.pairs.methods import INFONCE, NO_LATENT
from pipelines.experiments.pictures import pictures_of
from pipelines.experiments.results import Column, Results, Score

DIGITS, DIGIT, SPEAKER = "digits", "digit", "speaker"
OURS = "v"
MARGIN = 0.1
T = "test/"
COLUMNS = (
    Column(metric=f"{T}{DIGIT}/h", title="digit (h)", digits=3),
    Column(metric=f"{T}{SPEAKER}/h", title="speaker (h)", digits=3),
    Column(metric="val/kl", title="KL, nats", digits=1),
    Column(metric="seconds", title="seconds, with evaluation", digits=0),
)
HELD = (
    Column(metric=f"{T}next_{SPEAKER}/z", title="speaker of x+ (z)"),
    Column(metric=f"{T}next_{SPEAKER}/z_pair", title="speaker of x+ (z, z+)"),
    Column(metric=f"{T}next_{SPEAKER}/r", title="speaker of x+ (r)"),
    Column(metric=f"{T}next_{SPEAKER}/z_r", title="speaker of x+ (z, r)"),
    Column(metric=f"{T}{SPEAKER}/r", title="speaker of x (r)"),
    Column(metric=f"{T}{DIGIT}/r", title="digit (r)"),
)
PROTOCOL = """\
- **Data.** The Free Spoken Digit Dataset (`--digits`): ten digits by six speakers. x+ is the digit
  of x, in another take or by another speaker. Takes 0 to 4 are the test split of the set's authors,
  5 to 7 are for validation, the others are trained on, so takes are held out, and no speaker is. A
  sound is its log-mel spectrogram over 0.7 s, 48 bands and 48 columns.
- **Runs.** The convolutional encoder of the recipe `sounds`, 600 steps of 128 pairs,
  through table, stream, learner and MLflow as by `adassl train`. No augmentation.
- **Tuning.** Three settings for each method, a quarter of the steps, one seed, chosen by the
  accuracy of the digit from h on validation takes.
- **Probes.** Logistic regression fitted on all training recordings, scored on all test recordings.
  Pairs share the digit alone: what a pair does not share, such as the speaker, an encoder without r
  has no reason to keep; r should hold the speaker of x+, and not the digit.
- **Floors.** The same probes of the spectrogram at 16 × 16 and of the encoder before training.
"""


def page_of(results: Results, trials: Path) -> Page:
    """The page of the trials so far."""
    pictures: dict[str, tuple[str, Draw]] = {
        "digits_known": (
            "Digit and speaker from h, the speaker of x+ from r",
            partial(_draw_known, results, [*COLUMNS[:2], HELD[2]]),
        )
    }
    for method in (INFONCE, OURS):
        pictures |= pictures_of(results, trials, DIGITS, method, thing="recording", label=DIGIT)
    section = Section(
        title="Spoken digits",
        text="Accuracies on held-out takes; by chance a tenth of digits, a sixth of speakers.",
        tables={
            "sound": results.with_floors(DIGITS, COLUMNS, INFONCE, FLOORS),
            "sound-r": results.table(DIGITS, HELD),
        },
        pictures=pictures,
    )
    return Page(
        title="Sound: a digit by different speakers, and r as the speaker",
        summary=(
            "Pairs of recordings of one digit. What h knows of digit and speaker with and without "
            "r, and what r tells of the other recording."
        ),
        protocol=PROTOCOL,
        hypotheses=list(_hypotheses(results)),
        sections=[section],
    )


def _hypotheses(results: Results) -> Iterator[Hypothesis]:
    def score(method: str, metric: str, title: str = "") -> Score:
        return Score(DIGITS, method, T + metric, title)

    without = (INFONCE, NO_LATENT)
    yield every(
        "ours",
        "h of AdaSSL-V knows the digit better than raw pixels and the untrained encoder",
        [
            check(results, score(OURS, f"{DIGIT}/h"), score(INFONCE, f"{DIGIT}/{floor}", title))
            for floor, title in FLOORS.items()
        ],
    )
    for factor in (DIGIT, SPEAKER):
        yield every(
            "ours",
            f"h of AdaSSL-V knows more of the {factor} than InfoNCE and the editor without r",
            [check_methods(results, DIGITS, OURS, m, f"{T}{factor}/h") for m in without],
        )
    metric = f"next_{SPEAKER}"
    yield every(
        "ours",
        f"r tells the speaker of x+, by {MARGIN:g} more than z, and more than (z, z+) without r",
        [
            check(
                results, score(OURS, f"{metric}/r"), score(OURS, f"{metric}/z", "z"), less=-MARGIN
            ),
            *(
                check(results, score(OURS, f"{metric}/r"), score(m, f"{metric}/z_pair"))
                for m in without
            ),
        ],
    )
    yield every(
        "ours",
        "r tells less of the digit than h",
        [check(results, score(OURS, f"{DIGIT}/h", "h"), score(OURS, f"{DIGIT}/r", "r"))],
    )


def _draw_known(results: Results, columns: Sequence[Column], path: Path) -> Path:
    means, sds = dots_of(results, DIGITS, columns)
    muted = [results.titles(DIGITS).get(NO_LATENT, "")]
    return figures.dots(means, sds, path, title="Spoken digits: accuracies", muted=muted)
