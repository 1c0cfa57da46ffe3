import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import optuna
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from pipelines.figures import style as look
from pipelines.sweep.report import plots
from pipelines.sweep.report.pictures import best_settings
from pipelines.sweep.report.results import Results
from tests.pipelines.figures.test_figures import cut_texts, ink_of, overlapping_texts
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


@pytest.mark.parametrize("results", [usual, single, others])
def test_the_leaderboard_has_its_size_and_its_words_are_readable(
    results: Callable[[], Results], tmp_path: Path, drawn: list[Figure]
) -> None:
    picture = ink_of(best_settings(results(), tmp_path / "new folder" / "picture.png"))
    width, height = drawn[0].get_size_inches() * look.DPI
    assert abs(picture.shape[1] - width) <= 1
    assert abs(picture.shape[0] - height) <= 1
    assert np.mean(np.any(picture != 255, axis=-1)) > 0.01
    assert overlapping_texts(drawn[0]) == []
    assert cut_texts(drawn[0]) == []


def test_the_leaderboard_marks_settings_that_lack_seeds(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    results = usual()
    best_settings(results, tmp_path / "l.png")
    (axes,) = drawn[0].axes
    bars = [container for container in axes.containers if isinstance(container, ErrorbarContainer)]
    fills = [bar.lines[0].get_markerfacecolor() for bar in bars if bar.lines[0]]
    assert fills == [look.BLUE] * 14 + ["white"]
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert [name.split()[-1] for name in names] == [f"{s.setting:03d}" for s in results.settings]


def style_now() -> dict[str, object]:
    return {key: value for key, value in mpl.rcParams.items() if not key.startswith("backend")}


@pytest.mark.parametrize("results", [usual, others])
def test_optunas_pictures_are_drawn_and_leave_no_trace(
    results: Callable[[], Results], tmp_path: Path
) -> None:
    from matplotlib import pyplot as plt

    found = results()
    style, verbosity = style_now(), optuna.logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written = [
            plots.contour_png(found, plots.mapped(found, None), "Noise.", tmp_path / "map.png"),
            plots.slices_png(found, "", tmp_path / "parameters.png"),
            plots.importances_png(found, "How. " * 30, tmp_path / "importance.png"),
        ]
    for path in written:
        picture = ink_of(path)
        assert 1000 < picture.shape[1] < 2500
        assert np.mean(np.any(picture != 255, axis=-1)) > 0.05
    assert plt.get_fignums() == []
    assert style_now() == style
    assert optuna.logging.get_verbosity() == verbosity


def test_the_parameters_show_the_baseline(tmp_path: Path) -> None:
    picture = ink_of(plots.slices_png(usual(), "", tmp_path / "p.png"))
    orange = np.abs(picture[..., :3].astype(int) - (0xD5, 0x5E, 0)).max(axis=-1) < 12
    assert orange.any(axis=0).sum() > picture.shape[1] / 2
