"""What the experiment on texts reports: verdicts, correlations, what r finds of other captions."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from pipelines.experiments import figures
from pipelines.experiments.hypothesis import Hypothesis, check, check_methods, every
from pipelines.experiments.page import Page, Section
from pipelines.experiments.pairs.images_page import means_and_sds
from pipelines.experiments.pairs.methods import INFONCE, NO_LATENT
from pipelines.experiments.results import Column, Results, Score

CAPTIONS = "captions"
SETS = ("sts", "sick")
NAMES = {"sts": "STS-B", "sick": "SICK"}
FOUND = (5, 10)
"""How many captions are retrieved."""
EXAMPLES_FILE = "examples.json"
"""In the trial's folder: captions with what was retrieved."""
OURS, DROPOUT = "v", "dropout"
FLOORS = {"tf_idf": "TF-IDF", "untrained": "untrained encoder"}
T = "test/"
COLUMNS = (
    *(Column(metric=f"{T}{s}/spearman", title=f"{NAMES[s]} (h)", digits=3) for s in SETS),
    *(Column(metric=f"{T}{s}/spearman_z", title=f"{NAMES[s]} (z)", digits=3) for s in SETS),
    Column(metric="val/kl", title="KL, nats", digits=1),
    Column(metric="seconds", title="seconds, with evaluation", digits=0),
)
RETRIEVED = tuple(
    Column(metric=f"{T}recall_at_{k}/{how}", title=title.format(k=k), digits=3)
    for k in FOUND
    for how, title in (
        ("one", "R@{k}, one sample"),
        ("samples", "R@{k}, {k} samples"),
        ("chance", "chance of {k}"),
    )
)
PROTOCOL = f"""\
- **Data.** The captions of Multi30k (`--captions`): five of each picture by different people,
  29,000 pictures to train on, in the splits of the set. A pair is two captions of one picture; a
  byte-level BPE of 8,192 tokens is trained on the training captions; 32 tokens a text.
- **Judged on** the test splits of the STS benchmark (`--sts`) and of SICK (`--sick`), neither of
  which is trained on: Spearman's rank correlation of the cosine of two sentences with their score,
  by h, as sentence encoders are judged, and by z.
- **Runs.** A transformer of two blocks of width 128 from nothing, 900 steps of 128 pairs,
  through table, stream, learner and MLflow as by `adassl train`. The same steps for all;
  *dropout views* encodes one caption twice with other dropout (SimCSE, arXiv 2104.08821), so it
  sees half as many texts.
- **Tuning.** Three settings for each method, a quarter of the steps, one seed, chosen by the mean
  of the correlations of h on the validation splits of both sets.
- **Floors.** The cosine of TF-IDF vectors, weighed by the training captions; the encoder before
  training.
- **What r holds.** For {1000:,} test captions the four others of their picture are looked for among
  the 4,999 other test captions. *One sample*: the k captions nearest to one future, t(z, r) with r
  drawn from the prior; without r there is one future only. *k samples*: the k captions that are
  nearest to any of k futures. Both retrieve k captions; the score is the share of the four that is
  among them.
"""


def page_of(results: Results, trials: Path) -> Page:
    """The page of the trials so far."""
    return Page(
        title="Text: captions of one picture, and what r tells of the others",
        summary=(
            "A small text transformer trained from nothing on pairs of captions, with and without "
            "r, judged by how alike other sentences are to people."
        ),
        protocol=PROTOCOL,
        hypotheses=list(_hypotheses(results)),
        sections=[_likeness(results), _retrieval(results, trials)],
    )


def _hypotheses(results: Results) -> Iterator[Hypothesis]:
    def score(method: str, metric: str, title: str = "") -> Score:
        return Score(CAPTIONS, method, T + metric, title)

    for name in SETS:
        metric = f"{name}/spearman"
        for floor, title in FLOORS.items():
            yield every(
                "ours",
                f"{NAMES[name]}: h of AdaSSL-V is above {title}",
                [
                    check(
                        results,
                        score(OURS, metric),
                        score(INFONCE, f"{metric}/{floor}", title),
                    )
                ],
            )
        yield every(
            "ours",
            f"{NAMES[name]}: h of AdaSSL-V is above InfoNCE and the editor without r",
            [
                check_methods(results, CAPTIONS, OURS, other, T + metric)
                for other in (INFONCE, NO_LATENT)
            ],
        )
        yield every(
            "ours",
            f"{NAMES[name]}: two captions are better views than one caption with dropout",
            [check_methods(results, CAPTIONS, INFONCE, DROPOUT, T + metric)],
        )
    for k in FOUND:
        several = score(OURS, f"recall_at_{k}/samples", f"{k} samples")
        yield every(
            "ours",
            f"{k} samples of r find more of the other captions than one sample of it, and than "
            "the arms without r",
            [
                check(results, several, score(OURS, f"recall_at_{k}/one", "one sample")),
                *(
                    check(results, several, score(other, f"recall_at_{k}/one"))
                    for other in (INFONCE, NO_LATENT)
                ),
            ],
        )


def _likeness(results: Results) -> Section:
    def draw(path: Path) -> Path:
        titles = results.titles(CAPTIONS)
        found = {}
        for name in SETS:
            metric = f"{T}{name}/spearman"
            rows = {
                title: results.values(CAPTIONS, INFONCE, f"{metric}/{floor}")
                for floor, title in FLOORS.items()
            }
            rows |= {t: results.values(CAPTIONS, m, metric) for m, t in titles.items()}
            found[NAMES[name]] = rows
        means, sds = means_and_sds(found)
        muted = [*FLOORS.values(), titles.get(NO_LATENT, "")]
        title = "Spearman's correlation with people's scores"
        return figures.dots(means, sds, path, title=title, subtitle="test splits, h", muted=muted)

    return Section(
        title="Likeness of sentences",
        tables={"text": _with_floors(results)},
        pictures={"spearman": ("Spearman's correlation of each arm, and of the floors", draw)},
    )


def _with_floors(results: Results) -> pd.DataFrame:
    """The table, above its methods the floors, of which only the columns of h are known."""
    methods = results.table(CAPTIONS, COLUMNS)
    rows = []
    for floor, title in FLOORS.items():
        cells = {
            column.title: results.shown(CAPTIONS, INFONCE, f"{column.metric}/{floor}", 3)
            for column in COLUMNS
            if column.metric.endswith("/spearman")
        }
        rows.append({"method": title, **cells})
    return pd.concat([pd.DataFrame(rows), methods]).fillna("–")[list(methods.columns)]


def _retrieval(results: Results, trials: Path) -> Section:
    return Section(
        title="What r holds",
        text=examples_of(results, trials),
        tables={"text-retrieval": results.table(CAPTIONS, RETRIEVED)},
        pictures={"recall": ("Share of the other captions found", partial(_draw_recall, results))},
    )


def _draw_recall(results: Results, path: Path) -> Path | None:
    titles = results.titles(CAPTIONS)
    found = {}
    for k in FOUND:
        rows = {
            f"{title}, {what}": results.values(CAPTIONS, method, f"{T}recall_at_{k}/{how}")
            for method, title in titles.items()
            for how, what in (("one", "one sample"), ("samples", "k samples"))
        }
        found[f"recall at {k}"] = {name: values for name, values in rows.items() if len(values)}
    if not any(map(len, found.values())):
        return None
    means, sds = means_and_sds(found)
    muted = [name for name in means.index if not name.endswith("k samples")]
    return figures.dots(means, sds, path, title="Other captions of a picture", muted=muted)


def examples_of(results: Results, trials: Path) -> str:
    """Some captions with what the first trial of AdaSSL-V retrieved, in Markdown."""
    runs = results.of_arm(CAPTIONS, OURS)
    file = trials / str(runs.trial.iloc[0]) / EXAMPLES_FILE if len(runs) else None
    if file is None or not file.exists():
        return ""
    lines = ["Captions of test pictures and what is nearest to their sampled futures:"]
    for example in json.loads(file.read_text()):
        lines += ["", f"- *{_plain(example['caption'])}*"]
        for key, what in (("samples", "several samples"), ("one", "one sample")):
            found = "; ".join(_plain(text) for text in example[key])
            lines.append(f"    - {what}: {found}")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """A caption as it may stand in Markdown."""
    return text.replace("*", "").replace("_", " ").replace("|", "/").replace("<", "")
