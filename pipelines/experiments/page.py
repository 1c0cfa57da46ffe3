"""The page of an experiment: claims and their verdicts, protocol, tables, figures, the command."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from pipelines.experiments.results import Results, markdown

Verdict = Literal["held", "did not hold", "not tested"]


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """Something that the experiment can decide.

    Attributes:
        source: who says so: "paper", "pilot" or "ours".
        statement: what.
        verdict: by the figures.
        evidence: the figures.
    """

    source: str
    statement: str
    verdict: Verdict
    evidence: str


def judged(source: str, statement: str, holds: bool | None, evidence: str) -> Hypothesis:
    """A claim that holds, does not, or (None) lacks the figures to say."""
    verdict: Verdict = "not tested" if holds is None else "held" if holds else "did not hold"
    return Hypothesis(source=source, statement=statement, verdict=verdict, evidence=evidence)


Draw = Callable[[Path], Path | None]
"""Writes a picture to the path given; None where there is nothing to show yet."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with text, tables by name, and pictures by name and caption."""

    title: str
    text: str = ""
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    pictures: dict[str, tuple[str, Draw]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything that an experiment says."""

    title: str
    summary: str
    protocol: str
    hypotheses: Sequence[Hypothesis]
    sections: Sequence[Section]

    def write(self, out: Path, *, name: str, images: Path, command: str, results: Results) -> Path:
        """Write NAME.md, the pictures beside it and each table as CSV; returns the page."""
        parts = [f"# {self.title}", self.summary, f"```\n{command}\n```", self._size(results)]
        claims = pd.DataFrame(
            [
                {
                    "claim": c.statement,
                    "from": c.source,
                    "verdict": f"**{c.verdict}**",
                    "figures": c.evidence,
                }
                for c in self.hypotheses
            ]
        )
        parts += ["## Verdicts", markdown(claims), "## Protocol", self.protocol]
        for section in self.sections:
            parts += [f"## {section.title}", section.text]
            for table_name, table in section.tables.items():
                table.to_csv(out / f"{table_name}.csv", index=False)
                parts.append(markdown(table))
            for picture, (caption, draw) in section.pictures.items():
                if draw(images / f"{picture}.png") is not None:
                    parts.append(f"![{caption}](images/{name}/{picture}.png)")
        page = out / f"{name}.md"
        page.write_text("\n\n".join(part for part in parts if part) + "\n")
        return page

    def _size(self, results: Results) -> str:
        done, minutes = len(results.runs), results.runs.seconds.sum() / 60
        failed = f", {results.num_failed} failed" if results.num_failed else ""
        return (
            f"{done} of {results.num_trials} trainings finished{failed}; they took "
            f"{minutes:.0f} minutes one after another. Figures are mean ± sd over seeds."
        )
