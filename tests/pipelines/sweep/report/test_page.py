import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipelines.sweep.report import plots
from pipelines.sweep.report.page import write_page
from pipelines.sweep.report.results import collect
from pipelines.sweep.report.sensitivity import sensitivity_map
from pipelines.sweep.report.verdict import sentences
from pipelines.sweep.report.write import importance
from tests.pipelines.sweep.report import made

VOID = {"meta", "br", "link", "img", "hr", "input"}
NAME = "a<script>alert(1)</script> & b"


class Reader(HTMLParser):
    """Keeps the tags, their attributes and the texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "every tag is closed where it was opened"

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Reader]:
    record, trials = made.usual()
    found = collect(record, trials, name=NAME)
    shares, note = importance(found)
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(found, shares, note, sentences(found), path)
    text = path.read_text(encoding="utf-8")
    return text, Reader(text)


def test_the_page_parses_and_loads_nothing(page: tuple[str, Reader]) -> None:
    text, reader = page
    assert reader.open == []
    for tag, attributes in reader.tags:
        assert not {"src", "href", "action", "data"} & set(attributes), tag
    assert "@import" not in "".join(reader.texts["style"])
    assert "url(" not in "".join(reader.texts["style"])
    assert len(text) < 8_000_000
    assert text.count("plotly.js v") <= 2, "plotly is there once"


def test_the_page_has_every_part(page: tuple[str, Reader]) -> None:
    _, reader = page
    plots_shown = {a["id"] for tag, a in reader.tags if tag == "div" and "id" in a}
    assert plots_shown == {"map", "parameters", "importance", "parallel", "looks"}
    words = "\n".join(
        part for tag, parts in reader.texts.items() if tag != "script" for part in parts
    )
    assert "Robust region: β" in words
    assert "31 finished, 6 pruned, 1 failed" in words
    assert "Trials that enter no mean (7)" in words
    for name in ("004-s0", "004-s1", "009-s0", "009-s1", "011-s1", "013-s0", "013-s1"):
        assert name in words
    assert "below 2/3 at step 400" in words
    assert "0.01 to 1, log-uniform. the paper's 0.1–0.8 <and> around" in words
    rows = [a for tag, a in reader.tags if tag == "tr"]
    assert sum(a.get("class") == "baseline" for a in rows) == 1
    assert len(rows) == (1 + 16) + (1 + 7)


def test_what_users_wrote_is_shown_as_they_wrote_it(page: tuple[str, Reader]) -> None:
    text, reader = page
    assert NAME not in text
    assert "".join(reader.texts["h1"]) == f"Sweep {NAME}"
    assert "".join(reader.texts["title"]) == f"Sweep {NAME}"
    assert "DivergedError: <loss> & co" in reader.texts["td"]
    assert "<loss>" not in text
    assert "secret" not in text, "the page is passed on"
    assert "http://***@host:5000" in "".join(reader.texts["dd"])


def test_plots_hold_the_data_and_escape_their_texts() -> None:
    record, trials = made.usual()
    found = made.results(record, trials)
    cells = plots.scatters(found)
    assert len(cells.data) == 3
    assert all(len(trace.y) == 29 for trace in cells.data)
    first = next(t for t in found.trials if t.name == "000-s0")
    note = cells.data[0].hovertext[0]
    assert "<b>000-s0</b>, seed 0" in note
    assert f"{first.metrics['val/r2']:.5g}" in note
    assert all(key in note for key in first.params)
    lines = plots.looks(found).data
    assert len(lines) == 38
    assert sum(line.line.dash == "dash" for line in lines) == 6
    assert lines[-1].name == "baseline"
    assert any("&lt;loss&gt; &amp; co" in line.hovertext[0] for line in lines)
    dimensions = plots.parallel(found).data[0].dimensions
    assert [d.label for d in dimensions] == ["β", "d_r", "β warm-up, steps", "val/r2"]
    assert dimensions[0].ticktext[0] == "0.01"
    assert dimensions[0].tickvals[0] == pytest.approx(-2)
    assert len(dimensions[3]["values"]) == 15


def test_the_plotted_map_is_the_map() -> None:
    found = made.results(*made.usual())
    plane = sensitivity_map(found, None)
    assert plane
    figure = plots.heatmaps(found, plane)
    heats = [trace for trace in figure.data if trace.type == "heatmap"]
    assert len(heats) == 3
    for heat, means, counts in zip(heats, plane.means, plane.counts, strict=True):
        shown = json.loads(re.sub("NaN", "null", json.dumps(heat.z)))
        assert [[cell is not None for cell in row] for row in shown] == (counts > 0).tolist()
        assert heat.z[3][0] == pytest.approx(means[3, 0], nan_ok=True)
    assert len(figure.layout.shapes) == 1, "the best cell is framed"


def test_a_page_without_results_is_small_and_says_so(tmp_path: Path) -> None:
    found = made.results(made.sweep(), [])
    path = write_page(found, None, "no", sentences(found), tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    assert Reader(text).open == []
    assert len(text) < 20_000
    assert "No setting has a finished trial with val/r2" in text
