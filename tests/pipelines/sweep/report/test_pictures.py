from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from pipelines.figures import style as look
from pipelines.sweep.report import cells, pictures
from pipelines.sweep.report.results import Results
from pipelines.sweep.report.sensitivity import sensitivity_map
from tests.pipelines.figures.test_figures import cut_texts, ink_of, overlapping_texts, shown_texts
from tests.pipelines.sweep.report import made

GRID = {
    "method.editor": {"kind": "choice", "values": ["mlp", "low_rank", "$a$ <b>"], "why": ""},
    "method.beta": {**made.BETA, "low": 1e-4},
    "train.global_batch_size": {"kind": "choice", "values": [16, 32, 64], "why": ""},
    "data.grayscale": {"kind": "choice", "values": [True, False], "why": ""},
}


def usual() -> Results:
    return made.results(*made.usual())


def single() -> Results:
    return made.results(made.sweep(), made.drawn(1, made.hill, num_seeds=1))


def others() -> Results:
    record = made.sweep(sampled=GRID, mode="min", baseline=None)
    trials = made.drawn(40, lambda p: 2.0 + 0.1 * (p["method.editor"] == "mlp"), sampled=GRID)
    return made.results(record, trials)


def sensitivity(results: Results, path: Path) -> Path:
    plane = sensitivity_map(results, None)
    assert plane
    return cells.sensitivity(results, plane, path)


def importance(results: Results, path: Path) -> Path:
    shares = {axis.label: 1 / len(results.axes) for axis in results.axes}
    return pictures.importance(shares, path, note="What was computed, in many words. " * 6)


DRAWN: dict[str, Callable[[Results, Path], Path]] = {
    "map": sensitivity,
    "parameters": pictures.parameters,
    "one parameter": pictures.one_parameter,
    "importance": importance,
    "leaderboard": pictures.leaderboard,
}


@pytest.mark.parametrize("results", [usual, single, others])
@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_has_its_size_and_its_words_are_readable(
    name: str, results: Callable[[], Results], tmp_path: Path, drawn: list[Figure]
) -> None:
    picture = ink_of(DRAWN[name](results(), tmp_path / "new folder" / "picture.png"))
    width, height = drawn[0].get_size_inches() * look.DPI
    assert abs(picture.shape[1] - width) <= 1
    assert abs(picture.shape[0] - height) <= 1
    assert 8 < drawn[0].get_size_inches()[0] < 15
    assert picture.shape[0] > 150
    assert np.mean(np.any(picture != 255, axis=-1)) > 0.01
    assert overlapping_texts(drawn[0]) == []
    assert cut_texts(drawn[0]) == []


def test_cells_show_means_and_numbers_and_what_is_missing(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    results = usual()
    plane = sensitivity_map(results, None)
    assert plane
    cells.sensitivity(results, plane, tmp_path / "map.png")
    for panel, axes in enumerate(drawn[0].axes[:3]):
        words = [text.get_text() for text in axes.texts]
        known = plane.means[panel][np.isfinite(plane.means[panel])]
        assert all(results.show(mean) in words for mean in known)
        assert sum(word.startswith("n ") for word in words) == len(known)
        assert sum("†" in word for word in words) == (plane.dropped[panel] > 0).sum()
        hatched = [patch for patch in axes.patches if patch.get_hatch()]
        assert len(hatched) == (plane.counts[panel] == 0).sum()
        framed = [patch for patch in axes.patches if not patch.get_fill()]
        assert len(framed) == (plane.best is not None and plane.best[0] == panel)
    assert drawn[0].axes[0].get_title(loc="left") == "β warm-up 0"
    assert drawn[0].axes[3].get_ylabel() == "val/r2 (higher is better)"


def test_parameters_show_every_setting_a_log_axis_and_the_baseline(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    results = usual()
    pictures.parameters(results, tmp_path / "p.png")
    assert [axes.get_xscale() for axes in drawn[0].axes] == ["log", "linear", "linear"]
    for axes in drawn[0].axes:
        assert len(axes.containers) == len(results.settings)
    labels = [words for words, _ in shown_texts(drawn[0])]
    assert "baseline\n0.610 ± 0.014" in labels
    assert any("31 finished, 6 pruned, 1 failed" in label for label in labels)


def test_the_leaderboard_marks_settings_that_lack_seeds(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    results = usual()
    pictures.leaderboard(results, tmp_path / "l.png")
    (axes,) = drawn[0].axes
    bars = [container for container in axes.containers if isinstance(container, ErrorbarContainer)]
    fills = [bar.lines[0].get_markerfacecolor() for bar in bars if bar.lines[0]]
    assert fills == [look.BLUE] * 14 + ["white"]
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert [name.split()[-1] for name in names] == [f"{s.setting:03d}" for s in results.settings]
