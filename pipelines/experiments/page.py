"""The page of an experiment: verdicts with their evidence, protocol, tables and figures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from pipelines.experiments.hypothesis import RULES, Hypothesis
from pipelines.experiments.results import Results, markdown

VALUES = "values"
"""The folder beside pages with a file of every training's metrics for each of them."""
Draw = Callable[[Path], Path | None]
"""Writes a picture to the path given; None where there is nothing to show yet."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the numbers of a page come from.

    Attributes:
        name: of the experiment.
        command: that made them.
        commits: of the code that ran the trials.
    """

    name: str
    command: str
    commits: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with text, tables by name, and pictures by name and caption."""

    title: str
    text: str = ""
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    pictures: dict[str, tuple[str, Draw]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything that an experiment reports; `notes` are about the run behind it."""

    title: str
    summary: str
    protocol: str
    hypotheses: Sequence[Hypothesis]
    sections: Sequence[Section]
    notes: str = ""

    def write(self, out: Path, *, images: Path, origin: Origin, results: Results) -> Path:
        """Write NAME.md, beside it pictures, values by seed and each table; returns the page."""
        values = out / VALUES / f"{origin.name}.csv"
        values.parent.mkdir(exist_ok=True)
        timed = [name for name in results.runs if str(name).startswith("time/")]
        results.runs.drop(columns=timed).to_csv(values, index=False, float_format="%.5g")
        parts = [f"# {self.title}", self.summary, f"```\n{origin.command}\n```"]
        parts += [_size(results, origin), self.notes, *verdicts(self.hypotheses)]
        parts += ["## Protocol", self.protocol.strip()]
        for section in self.sections:
            parts += [f"## {section.title}", section.text]
            for table_name, table in section.tables.items():
                table.to_csv(out / f"{table_name}.csv", index=False)
                parts.append(markdown(table))
            for picture, (caption, draw) in section.pictures.items():
                if draw(images / f"{picture}.png") is not None:
                    parts.append(f"![{caption}](images/{origin.name}/{picture}.png)")
        page = out / f"{origin.name}.md"
        page.write_text("\n\n".join(part for part in parts if part) + "\n")
        return page


def verdicts(hypotheses: Sequence[Hypothesis]) -> list[str]:
    """The table of short cells and, below it, the evidence by the same numbers."""
    rows = [
        {
            "": i,
            "hypothesis": h.statement,
            "from": h.source,
            "verdict": f"**{h.verdict}**",
            "number": h.number,
        }
        for i, h in enumerate(hypotheses, 1)
    ]
    evidence = "\n".join(
        f"{i}. {h.evidence[0]}" if len(h.evidence) == 1 else "\n    - ".join([f"{i}.", *h.evidence])
        for i, h in enumerate(hypotheses, 1)
    )
    return ["## Verdicts", markdown(pd.DataFrame(rows)), RULES, "### Evidence", evidence]


def _size(results: Results, origin: Origin) -> str:
    done, minutes = len(results.runs), results.runs.seconds.sum() / 60
    failed = f", {results.num_failed} failed" if results.num_failed else ""
    by = (
        f" Trained at commit {', '.join(c[:12] for c in origin.commits)}." if origin.commits else ""
    )
    return (
        f"{done} of {results.num_trials} trainings finished{failed}; they took "
        f"{minutes:.0f} minutes one after another.{by} Numbers are mean ± sd over seeds; every "
        f"training's are in [{VALUES}/{origin.name}.csv]({VALUES}/{origin.name}.csv)."
    )
