"""Pairs of sentences in files of tab-separated values, csv or jsonl, with or without a score.

STS benchmark     sts-train.csv, …: tabs, no head; columns 5 to 7 are score and sentences
SICK              SICK_train.txt, …: tabs, a head: sentence_A, sentence_B, relatedness_score
others            a head, or keys, of which `COLUMNS` are known; or two columns without a head
"""

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipelines.sources.listing import SPLIT_NAMES, Listing, SourceError

COLUMNS = {
    "context": ("context", "sentence1", "sentence_a", "text1", "anchor", "premise", "source"),
    "target": ("target", "sentence2", "sentence_b", "text2", "positive", "hypothesis"),
    "score": ("score", "relatedness_score", "similarity", "similarity_score", "label"),
}
"""Names of the columns, in lower case, the first that is there counts."""
_STS = ("genre", "filename", "year", "old_index", "score", "sentence1", "sentence2")


def read_sentences(files: Sequence[str | Path], *, least_score: float | None = None) -> Listing:
    """Pairs of sentences, each with the score of its file where it has one.

    Args:
        files: the files; one whose name holds train, dev, val or test is of that split.
        least_score: training pairs of a lower score are left out: they are no natural pairs.

    Raises:
        SourceError: if a file cannot be read or has no two sentences a line.
    """
    every, skipped = [], {}
    for file in map(Path, files):
        rows = _named(file, _read(file))
        words = re.split(r"[^a-z]+", file.name.lower())
        rows["split"] = next((SPLIT_NAMES[w] for w in words if w in SPLIT_NAMES), None)
        if {"sick", "trial"} <= set(words):
            rows["split"] = "val"
        for number, pair in enumerate(zip(rows["context"], rows["target"], strict=True)):
            if not all(isinstance(text, str) and text.strip() for text in pair):
                skipped[f"{file}, pair {number + 1}"] = "empty text"
        good = rows["context"].str.strip().astype(bool) & rows["target"].str.strip().astype(bool)
        every.append(rows[good.fillna(False).astype(bool)])
    table = pd.concat(every, ignore_index=True) if every else pd.DataFrame()
    if not len(table):
        raise SourceError(f"{', '.join(map(str, files))}: no pair of sentences")
    if least_score is not None:
        if "score" not in table:
            raise SourceError(f"least score {least_score:g}: no file has a column of scores")
        low = (table["split"] == "train") & (table["score"] < least_score)
        for number in table.index[low]:
            skipped[f"training pair {number + 1}"] = f"score below {least_score:g}"
        table = table[~low].reset_index(drop=True)
    return Listing(rows=table, kinds={"context": "text", "target": "text"}, skipped=skipped)


def _read(file: Path) -> pd.DataFrame:
    """The columns of a file as text, named by its head, by number where it has none."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        lines = [line for line in text.splitlines() if line.strip()]
        if not lines:
            raise SourceError(f"{file}: empty")
        if file.suffix == ".jsonl":
            return pd.DataFrame([json.loads(line) for line in lines])
    except (OSError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{file}: cannot be read: {error}") from error
    tabs = "\t" in lines[0]
    rows = (
        [line.split("\t") for line in lines]  # quotation marks are part of the texts
        if tabs
        else list(csv.reader(lines))
    )
    head = [name.strip().lower() for name in rows[0]]
    if any(name in known for name in head for known in COLUMNS.values()):
        return pd.DataFrame(
            [row[: len(head)] for row in rows[1:] if len(row) >= len(head)], columns=head
        )
    width = min(map(len, rows))
    if width >= len(_STS) and all(_is_number(row[4]) for row in rows):
        return pd.DataFrame([row[: len(_STS)] for row in rows], columns=_STS)
    if width in (2, 3):
        names = ["context", "target", "score"][:width]
        return pd.DataFrame([row[:width] for row in rows], columns=names)
    raise SourceError(
        f"{file}: no column is named as a sentence; name two of them context and target in the "
        "first line"
    )


def _named(file: Path, rows: pd.DataFrame) -> pd.DataFrame:
    names = {str(name).lower(): name for name in rows.columns}
    found = {}
    for column, known in COLUMNS.items():
        name = next((names[each] for each in known if each in names), None)
        if name is not None:
            found[column] = rows[name]
        elif column != "score":
            raise SourceError(f"{file}: no column {' or '.join(known)}")
    table = pd.DataFrame(found)
    if "score" in table:
        table["score"] = pd.to_numeric(table["score"], errors="coerce")
        if table["score"].isna().all():
            table = table.drop(columns="score")  # words, such as entailment
        else:
            table["score"] = table["score"].astype(float)
    return table.reset_index(drop=True)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
