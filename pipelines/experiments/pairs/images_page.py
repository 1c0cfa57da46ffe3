"""What the experiment on images reports: verdicts, tables, gain by share of noise, pictures."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import pandas as pd

from pipelines.experiments import figures
from pipelines.experiments.hypothesis import Check, Hypothesis, check, check_methods, every
from pipelines.experiments.page import Draw, Page, Section
from pipelines.experiments.pairs.methods import INFONCE, NO_LATENT
from pipelines.experiments.pictures import pictures_of
from pipelines.experiments.results import Column, Results, Score, compared

SOLIDS, TURNTABLE = "solids", "turntable"
NOISE = (0.0, 0.25, 0.5)
"""Shares of pairs whose x+ is of another species of the superclass."""
OURS, OTHER = "v-additive", "v"
GOAL_DCI, GOAL_STEP = 0.85, 0.5
MARGIN = 0.02
T = "test/"
DCI, MAP = f"{T}dci/z", f"{T}map/h"
FLOORS = {"raw": "raw pixels", "untrained": "untrained encoder"}
SOLID_COLUMNS = (
    Column(metric=DCI, title="DCI, lasso (z)"),
    Column(metric=f"{T}dci_ridge/z", title="DCI, ridge (z)"),
    Column(metric=f"{T}dci_completeness/z", title="completeness"),
    Column(metric=f"{T}values/h", title="latents R² (h)"),
    Column(metric=f"{T}changes/z_pair", title="changes (z, z+)"),
    Column(metric=f"{T}changes/r", title="changes (r)"),
    Column(metric=f"{T}changes/z_r", title="changes (z, r)"),
    Column(metric="val/kl", title="KL, nats", digits=1),
    Column(metric="seconds", title="seconds, with evaluation", digits=0),
)
TURN_COLUMNS = (
    Column(metric=MAP, title="object mAP (h)"),
    Column(metric=f"{T}map_chance/h", title="chance"),
    Column(metric=f"{T}changes/z", title="step (z)"),
    Column(metric=f"{T}changes/z_pair", title="step (z, z+)"),
    Column(metric=f"{T}changes/r", title="step (r)"),
    Column(metric=f"{T}changes/z_r", title="step (z, r)"),
    Column(metric=f"{T}leakage/z", title="object from z"),
    Column(metric=f"{T}leakage/r", title="object from r"),
    Column(metric=f"{T}transfer/recall_at_1", title="transfer R@1"),
    Column(metric=f"{T}transfer/chance_at_1", title="by chance"),
    Column(metric="val/kl", title="KL, nats", digits=1),
)
NOISE_COLUMNS = (
    Column(metric=f"{T}species/h", title="species (h)"),
    Column(metric=f"{T}next_species/z", title="species of x+ (z)"),
    Column(metric=f"{T}next_species/r", title="species of x+ (r)"),
    Column(metric="val/kl", title="KL, nats", digits=1),
)
PROTOCOL = """\
- **Solids.** Rendered scenes of one object with the ten latents of 3DIdent (`adassl data solids`,
  or `--solids FOLDER` in the layout of 3DIdent), read at 48 pixels. x+ is the picture nearest to
  the latents of x, of which each is drawn anew with probability 0.2, as in the paper. The paper has
  250,000 pictures and we 12,000, so the nearest one differs a little in the latents that were kept,
  too.
- **DCI.** Disentanglement (Eastwood and Williams) of the unit embedding z, 16 dimensions, by the
  weights of a cross-validated lasso for each latent, as the paper has it; and by those of a ridge
  regression. The lasso rewards random rotations of a code of more dimensions than factors. Fitted
  on the test pictures.
- **Turntable.** Grey pictures of objects at every five degrees (COIL-20 or the like, `--turntable`)
  at 32 pixels; x+ shows the object turned by 5 to 45 degrees. Of every five objects three are
  trained on, one judges the tuning and one is for the test. *Object mAP*: all pictures of a test
  object by the cosine of h, with nothing fitted. *Step*: R² of the turn from x to x+, by ridge
  regression fitted on training objects. *Transfer*: r of a pair edits the picture of another
  object; is the nearest of that object's pictures the one turned as far?
- **Noise.** As iNaturalist in the paper, but with species made of the latents of the solids:
  superclass is one of four hues of the object, species that hue at one of nine places. There is no
  small free set of photographs with superclasses, and here it is known what corrupted pairs still
  share. x+ is of the species of x, but for a share, which is only of its superclass. The accuracy
  of 36 species from h, by logistic regression.
- **Runs.** Index, stream, learner and MLflow as by `adassl train`: batches of 128 pairs,
  the convolutional encoder of the recipe `images` with 128 outputs and a linear map to z. 600
  steps on solids, 400 on the turntable, 300 with noise, the same for all methods.
- **Tuning.** Three settings for each method and group, a quarter of the steps, one seed, chosen by
  validation pairs: the DCI (lasso) of solids, the species with noise, and on the turntable the mean
  of the object's mAP and the step's R² from (z, r), or from z without r.
- **Floors.** Linear probes of 16 × 16 pixels, and of the encoder before training.
"""


def noise_group(share: float) -> str:
    """The group of the arms with a share of corrupted pairs."""
    return f"noise-{round(100 * share)}"


NOISY = {noise_group(share): share for share in NOISE}


def page_of(results: Results, trials: Path) -> Page:
    """The page of the trials so far."""
    groups = set(results.runs.group)
    hypotheses: list[Hypothesis] = []
    sections: list[Section] = []
    if SOLIDS in groups:
        hypotheses += _of_solids(results)
        sections.append(_solids(results, trials))
    if TURNTABLE in groups:
        hypotheses += _of_turntable(results)
        sections.append(_turntable(results, trials))
    if groups & set(NOISY):
        hypotheses += _of_noise(results)
        sections.append(_noise(results))
    return Page(
        title="Images: disentangled latents, turned objects, and noisy pairs",
        summary=(
            "Pairs of pictures: rendered solids as the paper's 3DIdent, objects on a turntable, "
            "and pairs of one species of which a share is corrupted. AdaSSL beside InfoNCE, its "
            "anisotropic relatives and the control without r."
        ),
        protocol=PROTOCOL,
        hypotheses=hypotheses,
        sections=sections,
    )


def _of_solids(results: Results) -> Iterator[Hypothesis]:
    def score(method: str, metric: str = DCI) -> Score:
        return Score(SOLIDS, method, metric)

    order = (INFONCE, "aninfonce", "hinfonce", OURS)
    for source, metric, what in (
        ("paper", DCI, "the lasso, the paper's measure"),
        ("ours", f"{T}dci_ridge/z", "ridge, our measure"),
    ):
        yield every(
            source,
            f"solids: DCI grows from InfoNCE over AnInfoNCE and H-InfoNCE to AdaSSL, by {what}",
            [
                check(results, score(larger, metric), score(smaller, metric))
                for smaller, larger in pairwise(order)
            ],
        )
    yield every(
        "paper",
        f"solids: AdaSSL-V with the additive editor has a DCI above {GOAL_DCI:g}",
        [check(results, score(OURS), GOAL_DCI)],
    )
    yield every(
        "paper",
        "solids: the additive editor disentangles better than the MLP",
        [check(results, score(OURS), score(OTHER))],
    )
    for method in (OURS, OTHER, "s"):
        title = results.titles(SOLIDS).get(method, method)
        yield every(
            "ours",
            f"solids: {title} has a higher DCI than InfoNCE and than the editor without r",
            [check(results, score(method), score(other)) for other in (INFONCE, NO_LATENT)],
        )
    yield every(
        "ours",
        "solids: h of AdaSSL-V (additive) knows more of the latents than h without r",
        [
            check_methods(results, SOLIDS, OURS, other, f"{T}values/h", "R²")
            for other in (INFONCE, NO_LATENT)
        ],
    )


def _of_turntable(results: Results) -> Iterator[Hypothesis]:
    def score(method: str, name: str, title: str = "") -> Score:
        return Score(TURNTABLE, method, T + name, title)

    without = (INFONCE, NO_LATENT)
    for method in (OTHER, OURS, "s"):
        title = results.titles(TURNTABLE).get(method, method)
        yield every(
            "ours",
            f"turntable: {title}: r tells the step of unseen objects, R² above {GOAL_STEP:g} and "
            "above what (z, z+) without r tells",
            [
                check(results, score(method, "changes/r"), GOAL_STEP),
                *(
                    check(results, score(method, "changes/r"), score(other, "changes/z_pair"))
                    for other in without
                ),
            ],
        )
    yield every(
        "ours",
        "turntable: h of AdaSSL-V (MLP) keeps the object of unseen objects: no more than "
        f"{MARGIN:g} mAP below InfoNCE, above raw pixels and the untrained encoder",
        [
            check(results, score(OTHER, "map/h"), score(INFONCE, "map/h"), less=MARGIN),
            *(
                check(results, score(OTHER, "map/h"), score(INFONCE, f"map/{floor}", title))
                for floor, title in FLOORS.items()
            ),
        ],
    )
    yield every(
        "ours",
        "turntable: r tells less of the object than z",
        [check(results, score(OTHER, "leakage/z", "z"), score(OTHER, "leakage/r", "r"))],
    )
    yield every(
        "ours",
        "turntable: r carries a turn over to another object, above chance and the arms without r",
        [
            check(
                results,
                score(OTHER, "transfer/recall_at_1"),
                score(OTHER, "transfer/chance_at_1", "chance"),
            ),
            *(
                check_methods(results, TURNTABLE, OTHER, other, f"{T}transfer/recall_at_1")
                for other in without
            ),
        ],
    )


def _of_noise(results: Results) -> Iterator[Hypothesis]:
    metric = f"{T}species/h"
    least, most = noise_group(NOISE[0]), noise_group(NOISE[-1])
    yield every(
        "paper",
        f"noise: the gain of AdaSSL-V grows from {NOISE[0]:.0%} to {NOISE[-1]:.0%} corrupted pairs",
        [
            Check(
                name=f"gain over {results.titles(most).get(other, other)}",
                test=compared(_gain(results, most, other), _gain(results, least, other)),
            )
            for other in (INFONCE, NO_LATENT)
        ],
    )
    for group, share in NOISY.items():
        yield every(
            "paper",
            f"noise: with {share:.0%} corrupted pairs h of AdaSSL-V knows more of the species",
            [check_methods(results, group, OTHER, other, metric) for other in (INFONCE, NO_LATENT)],
        )


def _gain(results: Results, group: str, other: str) -> pd.Series:
    metric = f"{T}species/h"
    gain = results.values(group, OTHER, metric) - results.values(group, other, metric)
    return pd.Series(gain.dropna())


def _solids(results: Results, trials: Path) -> Section:
    names = named(results, SOLIDS, INFONCE, "h")
    pictures: dict[str, tuple[str, Draw]] = {
        "solids_dci": (
            "DCI of z by both measures, and R² of the latents from h",
            partial(_draw_dots, results, SOLIDS, SOLID_COLUMNS[:2] + SOLID_COLUMNS[3:4]),
        )
    }
    for method in (INFONCE, OURS, OTHER):
        pictures |= pictures_of(results, trials, SOLIDS, method, thing="image", label="hue")
    columns = [Column(metric=f"{T}{name}/h", title=name) for name in names]
    return Section(
        title="Solids",
        text=(
            "*Changes*: mean R² of the change of each latent from x to x+. In the second table R² "
            "of each latent from h."
        ),
        tables={
            "solids": results.table(SOLIDS, SOLID_COLUMNS),
            "solids-latents": results.with_floors(SOLIDS, columns, INFONCE, FLOORS),
        },
        pictures=pictures,
    )


def _turntable(results: Results, trials: Path) -> Section:
    pictures: dict[str, tuple[str, Draw]] = {
        "turntable_step": (
            "The object from h and the step from r",
            partial(_draw_dots, results, TURNTABLE, [TURN_COLUMNS[i] for i in (0, 3, 4)]),
        )
    }
    for method in (INFONCE, OTHER):
        pictures |= pictures_of(results, trials, TURNTABLE, method, thing="object", label="object")
    return Section(
        title="Turntable",
        text="All numbers are of objects that were never trained on.",
        tables={"turntable": results.with_floors(TURNTABLE, TURN_COLUMNS, INFONCE, FLOORS)},
        pictures=pictures,
    )


def _noise(results: Results) -> Section:
    groups = [group for group in NOISY if (results.runs.group == group).any()]
    return Section(
        title="Noise",
        text="From top to bottom with 0, 25 and 50 % of the pairs corrupted.",
        tables={
            group: results.with_floors(group, NOISE_COLUMNS, INFONCE, FLOORS) for group in groups
        },
        pictures={
            "noise": ("Accuracy of species by corrupted share", partial(_draw_noise, results))
        },
    )


def named(results: Results, group: str, method: str, source: str) -> list[str]:
    """Values that a group's trials were asked of from a source, without means and changes."""
    known = results.of_arm(group, method).dropna(axis=1, how="all")
    names = [str(c).removeprefix(T).removesuffix(f"/{source}") for c in known if _is(c, source)]
    return [n for n in names if n not in ("values", "changes") and not n.endswith("_change")]


def _is(column: object, source: str) -> bool:
    return str(column).startswith(T) and str(column).endswith(f"/{source}")


def _draw_dots(results: Results, group: str, columns: Sequence[Column], path: Path) -> Path:
    means, sds = dots_of(results, group, columns)
    muted = [results.titles(group).get(NO_LATENT, "")]
    return figures.dots(means, sds, path, title=f"{group.capitalize()}: test pairs", muted=muted)


def dots_of(
    results: Results, group: str, columns: Sequence[Column]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means and standard deviations, a row a method and a column a metric."""
    titles = results.titles(group)
    return means_and_sds(
        {
            column.title: {
                title: results.values(group, method, column.metric)
                for method, title in titles.items()
            }
            for column in columns
        }
    )


def means_and_sds(
    found: Mapping[str, Mapping[str, pd.Series]],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same of values by column and row."""
    means, sds = (
        pd.DataFrame({c: {m: of(v) for m, v in rows.items()} for c, rows in found.items()})
        for of in (pd.Series.mean, pd.Series.std)
    )
    return means, sds


def _draw_noise(results: Results, path: Path) -> Path:
    metric = f"{T}species/h"
    titles = {m: t for group in NOISY for m, t in results.titles(group).items()}
    found = {
        f"{share:.0%} corrupted": {
            title: results.values(group, method, metric) for method, title in titles.items()
        }
        for group, share in NOISY.items()
    }
    means, sds = means_and_sds(found)
    muted = [titles.get(NO_LATENT, "")]
    return figures.dots(means, sds, path, title="Accuracy of species from h", muted=muted)
