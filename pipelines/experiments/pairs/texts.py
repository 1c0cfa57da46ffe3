"""`adassl experiment text`: captions of one picture, judged by how alike other sentences are."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.config.run import ConfigError, RunConfig, with_overrides
from pipelines.evaluation.evaluate import label_free
from pipelines.evaluation.protocol import fresh_backbone
from pipelines.evaluation.retrieval import PartnersFound, find_partners
from pipelines.evaluation.similarity import similarity, similarity_floors
from pipelines.experiments.arm import Settings
from pipelines.experiments.grid import Experiment
from pipelines.experiments.pairs.methods import arms_of, experiment_of
from pipelines.experiments.pairs.texts_page import CAPTIONS, EXAMPLES_FILE, FOUND, SETS, page_of
from pipelines.experiments.pairs.trial import Side, Trained, run_pair_trial, score_of
from pipelines.pairs.make import make_table
from pipelines.pairs.table import PairTable, find_table
from pipelines.recipes import recipe
from pipelines.sources.captions import read_captions
from pipelines.sources.sentences import read_sentences
from pipelines.storage.folder import Folder
from pipelines.trials.trial import TrialJob

METHODS = ("infonce", "dropout", "no-r", "v", "s")
QUICK = ("dropout", "infonce", "v")
STEPS = 900
ALL = 10**6
"""Pairs of a set of sentences that judge: all there are."""
NUM_CAPTIONS, NUM_QUERIES = 5000, 1000
"""Captions that are retrieved from, and those of them that partners are looked for."""
VOCABULARY = 8192
SHOWN, SHOWN_FOUND = 4, 5
FILES = {
    CAPTIONS: ("*.en", "*.en.gz", "*.token", "*.csv", "*.txt"),
    "sts": ("sts-*.csv", "sts-*.tsv"),
    "sick": ("SICK*.txt", "SICK*.tsv"),
}
"""Names of the files of each folder, in the layouts of their authors."""


def experiment(
    *,
    quick: bool,
    captions: Path | None = None,
    sts: Path | None = None,
    sick: Path | None = None,
) -> Experiment:
    """The full experiment, or a version of some minutes that shows that everything works.

    Args:
        quick: whether small.
        captions: a folder of Multi30k, several captions a picture.
        sts: a folder of the STS benchmark.
        sick: a folder of SICK.

    Raises:
        ConfigError: if one of them is missing or holds no file in its layout.
    """
    folders = {CAPTIONS: captions, "sts": sts, "sick": sick}
    missing = [name for name, folder in folders.items() if folder is None]
    if missing:
        raise ConfigError(
            "text is trained on captions and judged on the STS benchmark and SICK: give "
            f"{' and '.join(f'--{name} FOLDER' for name in missing)} too; docs/pairs.md says what "
            "they hold"
        )
    files = {name: _files(name, folder) for name, folder in folders.items() if folder}
    settings: Settings = {"train.steps": STEPS}
    arms = list(
        arms_of(CAPTIONS, QUICK if quick else METHODS, settings, table=CAPTIONS, quick=quick)
    )
    return experiment_of(
        arms,
        base_config(),
        quick=quick,
        trial=run_text_trial,
        prepare=partial(_prepare, files=files),
        report=page_of,
    )


def base_config() -> RunConfig:
    """The recipe `texts` with two narrow blocks, which two cores train in minutes."""
    return with_overrides(
        recipe("texts"),
        {
            "data.max_tokens": 32,
            "backbone.hidden_dims": [128, 128],
            "backbone.vocabulary": VOCABULARY,
            "train.global_batch_size": 128,
            "train.checkpoint_every": 10_000,
            "optim.learning_rate": 1e-3,
            "tracking.experiment": "text",
        },
    )


def run_text_trial(trial: Mapping[str, Any], *, job: TrialJob) -> None:
    """What Tune runs."""
    run_pair_trial(trial, job=job, measure=measure)


def measure(this: Trained) -> dict[str, float]:
    """Spearman's correlations on the two sets of sentences; the score is the mean of those of h.

    In a test also what r finds of the captions of a picture.
    """
    metrics: dict[str, float] = {}
    for name in SETS:
        side = this.side(this.split, ALL, name=name)
        found = similarity(this.learner, side.pairs, side.table)
        if this.has_floors:
            fresh, corpus = fresh_backbone(this.learner), _corpus(this)
            found |= similarity_floors(this.learner, fresh, side.pairs, side.table, corpus)
        metrics |= {f"{name}/{key}": value for key, value in found.items()}
    metrics["score"] = float(
        np.mean([score_of(this, metrics, f"{name}/spearman") for name in SETS])
    )
    if this.split == "test":
        side = this.side("test", NUM_CAPTIONS)
        metrics |= label_free(side.pairs) | partners(this, side)
    return metrics


def _corpus(this: Trained) -> Iterator[str]:
    """The captions that were trained on."""
    table = find_table(this.data_of()).select(split="train")
    yield from (str(text) for text in table.table[table.column_of("context")].to_pylist())


def partners(this: Trained, side: Side) -> dict[str, float]:
    """How many of a picture's other captions are found by k samples of r, and by one.

    A method without r has one answer, which is `one`; a sparse r has no prior to be drawn from, so
    nothing is asked of it.
    """
    if not this.learner.method.has_futures:
        return {}
    own = np.arange(min(NUM_QUERIES, len(side.pairs)))
    bank, labels = side.pairs.context, side.pairs.path
    noise = this.learner.generator(this.seed)
    with torch.no_grad():
        texts = this.learner.to_input(side.pairs.clips[own])
        embedded = this.learner.method.encode(texts).embedding
        sampled = this.learner.method.futures_of(embedded, max(FOUND), noise).float().cpu().numpy()
    metrics: dict[str, float] = {}
    for k in FOUND:
        one = find_partners(k, sampled[:1], bank, own, labels)
        metrics |= {f"recall_at_{k}/one": one.recall, f"recall_at_{k}/chance": one.chance}
        if this.learner.method.latent is not None:
            several = find_partners(k, sampled[:k], bank, own, labels)
            metrics[f"recall_at_{k}/samples"] = several.recall
            if this.is_shown and k == SHOWN_FOUND:
                _keep_examples(this, side, several, one)
    return metrics


def _keep_examples(this: Trained, side: Side, several: PartnersFound, one: PartnersFound) -> None:
    """Write captions with what k samples of r and one of them find, for the page."""
    rows = {number: row for row, number in enumerate(side.table.number.tolist())}
    texts = [_text(side.table, rows[number]) for number in side.pairs.start.tolist()]
    examples = [
        {
            "caption": texts[query],
            "samples": [texts[item] for item in several.found[query]],
            "one": [texts[item] for item in one.found[query]],
        }
        for query in np.linspace(0, len(one.found) - 1, SHOWN).astype(int).tolist()
    ]
    this.trial.folder.folder.write_text(EXAMPLES_FILE, json.dumps(examples, ensure_ascii=False))


def _text(table: PairTable, row: int) -> str:
    return str(table.entry("context", row))


def _files(name: str, folder: Path) -> list[Path]:
    """The files of a folder that are in the layout of its set.

    Raises:
        ConfigError: if there is none.
    """
    found = sorted({file for kind in FILES[name] for file in folder.glob(kind)})
    if not found:
        raise ConfigError(
            f"--{name} {folder}: no file is named as {' or '.join(FILES[name])}; give the folder "
            "that holds them"
        )
    return found


def _prepare(
    config: RunConfig, folder: Folder, *, files: Mapping[str, Sequence[Path]]
) -> RunConfig:
    """Write the three tables, with the tokenizer of the captions; the config names them."""
    assert folder.local is not None
    data = (folder.local / "data").absolute()
    data.mkdir(parents=True, exist_ok=True)

    def path(name: str) -> str:
        return str(data / f"{name}.parquet")

    made = make_table(read_captions(files[CAPTIONS]), path(CAPTIONS), vocabulary=VOCABULARY)
    for name in SETS:
        make_table(read_sentences(files[name]), path(name), tokenizer=made.table.tokenizer)
    return with_overrides(config, {"data.index": path("{table}")})
