from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipelines.sweep.report import plots
from pipelines.sweep.report.leaderboard import leaderboard, readable
from pipelines.sweep.report.page import write_page
from pipelines.sweep.report.results import collect
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
    write_page(found, readable(leaderboard(found), found), shares, note, sentences(found), path)
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
    assert plots_shown == {"map", "parameters", "importance", "parallel", "validations"}
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
    assert reader.texts["td"].count("baseline") == 1
    assert [tag for tag, _ in reader.tags].count("tr") == (1 + 16) + (1 + 7)
    assert not {"<NA>", "nan", "None", "-0.000"} & set(reader.texts["td"])


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
    found = made.results(*made.usual())
    panels = plots.slices(found).data
    assert len(panels) == 3
    values = sorted(v for t in found.trials if (v := found.value(t)) and not t.is_baseline)
    for panel in panels:
        assert sorted(panel.y) == values
    assert plots.slices(found).layout.shapes[0].y0 == pytest.approx(0.61), "the baseline"
    lines = plots.validations(found).data
    assert len(lines) == 38
    assert sum(line.line.dash == "dash" for line in lines) == 6
    assert lines[-1].name == "baseline"
    assert any("&lt;loss&gt; &amp; co" in line.hovertext[0] for line in lines)
    parallel = [line for line in plots.parallel(found).data if line.mode == "lines"]
    assert len(parallel) == 15, "one line a setting"
    words = {"method.editor": {"kind": "choice", "values": ["<b>", "mlp"], "why": ""}}
    trials = made.drawn(9, lambda _: 0.5, sampled=words)
    panel = plots.slices(made.results(made.sweep(sampled=words), trials)).data[0]
    assert set(panel.x) == {"'&lt;b&gt;'", "'mlp'"}


def test_the_map_is_over_beta_and_d_r_or_over_what_matters_most() -> None:
    found = made.results(*made.usual())
    axes = plots.mapped(found, None)
    assert [axis.label for axis in axes] == ["β", "d_r"]
    assert plots.contour(found, axes).data[0].type == "contour"
    sampled = {f"a.{name}": made.LATENT_DIM for name in "wxyz"}
    other = made.results(made.sweep(sampled=sampled), made.drawn(9, len, sampled=sampled))
    shares = {"a.z": 0.6, "a.x": 0.3, "a.w": 0.1, "a.y": 0.0}
    assert [axis.key for axis in plots.mapped(other, shares)] == ["a.x", "a.z"]
    single = made.results(made.sweep(), made.drawn(1, made.hill))
    assert plots.mapped(single, None) == (), "one value on each axis is no map"


def test_a_page_without_results_is_small_and_says_so(tmp_path: Path) -> None:
    found = made.results(made.sweep(), [])
    table = readable(leaderboard(found), found)
    path = write_page(found, table, None, "no", sentences(found), tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    assert Reader(text).open == []
    assert len(text) < 20_000
    assert "No setting has a finished trial with val/r2" in text
