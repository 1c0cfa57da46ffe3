from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipelines.experiments import figures
from pipelines.experiments.figures import Cloud, FutureClips, arms, forecasts
from pipelines.figures import style as look
from tests.pipelines.figures.test_figures import (
    clips,
    cut_texts,
    ink_of,
    overlapping_texts,
    shown_texts,
)

Array = NDArray[Any]

METHODS = [
    "AdaSSL-V",
    "AdaSSL-S",
    "SimCLR",
    "same recipe, no r",
    "random encoder",
    "AdaSSL-V, r drawn from the prior, low-rank editor",
    *(f"method {i}" for i in range(6)),
]
FIGURES = ["digit, accuracy", "velocity, R²", "change from x and x⁺, R² (linear)"]
FIGURES += ["energy, px/frame", "RankMe", "spread"]


def table(num_methods: int, num_figures: int, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    random = np.random.default_rng(seed)
    scale = np.array([1, 1, 1, 0.02, 180, 1])[:num_figures]
    values = random.uniform(0.3, 0.95, (num_methods, num_figures)) * scale
    means = pd.DataFrame(values, index=METHODS[:num_methods], columns=FIGURES[:num_figures])
    return means, means * random.uniform(0, 0.1, means.shape)


def curves(num: int, seed: int = 0, x: Array | None = None) -> dict[str, pd.DataFrame]:
    random = np.random.default_rng(seed)
    x = np.arange(0, 20001, 500) if x is None else x
    return {
        name: pd.DataFrame({"x": x, "mean": random.uniform(-0.1, 0.9, len(x)), "sd": 0.03})
        for name in METHODS[:num]
    }


def future_clips(num_futures: int, seed: int = 0, num_sources: int = 4) -> FutureClips:
    shape = (3, 32, 32, 1)
    return FutureClips(
        sources=clips(num_sources, *shape),
        came=clips(num_sources, *shape, seed=1),
        nearest=clips(num_sources, num_futures, *shape, seed=seed + 2),
    )


def clouds(name: str, num_samples: int, seed: int = 0, num_sources: int = 5) -> list[Cloud]:
    random = np.random.default_rng(seed)
    made = []
    for _ in range(num_sources):
        velocity = random.uniform(1, 3, 2)
        true = velocity + np.eye(2)[random.integers(0, 2, 64)] * random.normal(0, 2, (64, 1))
        samples = velocity + random.normal(0, 1, (num_samples, 2))
        made.append(
            Cloud(name=name, samples=samples, true=true, velocity=velocity, next_velocity=true[0])
        )
    return made


def dots(folder: Path, seed: int) -> Path:
    title = "AdaSSL-V reads the change and the controls do not, in words too many to show " * 2
    return figures.dots(*table(12, 6, seed), folder / "d.png", title=title, subtitle="5 seeds")


def lines(folder: Path, seed: int) -> Path:
    named: dict[str, Any] = {"y_label": "R²", "x_label": "d_r", "reference": {"truth": 0.97}}
    return figures.lines(curves(12, seed), folder / "l.png", title="t", **named)


def grid_of_lines(folder: Path, seed: int) -> Path:
    panels = {name: curves(5, seed + i) for i, name in enumerate(FIGURES[:5])}
    return figures.grid_of_lines(panels, folder / "g.png", title="t", y_label="R²")


def future_sheet(folder: Path, seed: int) -> Path:
    shown = [("AdaSSL-V", future_clips(16, seed)), ("no r", future_clips(1, seed))]
    return figures.future_sheet(shown, folder / "f.png", title="What may come next")


def velocity_clouds(folder: Path, seed: int) -> Path:
    panels = [*clouds("AdaSSL-V", 64, seed), *clouds(METHODS[5], 1, seed)]
    return figures.velocity_clouds(panels, folder / "v.png", title="Clouds")


def axis_curve(folder: Path, seed: int) -> Path:
    random = np.random.default_rng(seed)
    shares = {name: (random.uniform(0, 1, 10), np.full(10, 0.05)) for name in METHODS[:4]}
    return figures.axis_curve(shares, np.linspace(0.1, 0.9, 10), folder / "a.png", title="Axes")


def rank_histograms(folder: Path, seed: int) -> Path:
    random = np.random.default_rng(seed)
    counts: dict[str, Array] = {name: random.integers(150, 250, 20) for name in METHODS[:6]}
    return figures.rank_histograms(counts, folder / "r.png", title="Ranks")


def panels_of_points(folder: Path, seed: int) -> Path:
    random = np.random.default_rng(seed)
    panels: dict[str, Array] = {
        f"next clip by the r that saw it {i}\nρ 0.{i}": random.permutation(48) for i in range(13)
    }
    kinds = np.array(["infonce", "byol", "vicreg", "lejepa"])[np.arange(48) % 4]
    values = random.uniform(0.2, 0.9, 48)
    return figures.panels_of_points(panels, values, kinds, folder / "p.png", title="Mean probe")


DRAWN: list[Callable[[Path, int], Path]] = [dots, lines, future_sheet, velocity_clouds]
DRAWN_TOO = [grid_of_lines, axis_curve, rank_histograms, panels_of_points]


@pytest.mark.parametrize(
    "draw", [*DRAWN, *(pytest.param(draw, marks=pytest.mark.slow) for draw in DRAWN_TOO)]
)
def test_a_figure_shows_its_data_and_its_words_are_readable(
    draw: Callable[[Path, int], Path], tmp_path: Path, drawn: list[Figure]
) -> None:
    first = ink_of(draw(tmp_path / "new folder", 0))
    assert 1000 < first.shape[1] < 1700
    assert 300 < first.shape[0] < 2200
    assert np.mean(np.any(first != 255, axis=-1)) > 0.01
    assert overlapping_texts(drawn[0]) == []
    assert cut_texts(drawn[0]) == []
    other = ink_of(draw(tmp_path, 1))
    assert other.shape == first.shape
    assert np.mean(np.any(other != first, axis=-1)) > 0.001, "other data, another picture"


@pytest.mark.parametrize(("num_methods", "num_figures"), [(1, 1), (12, 2), (3, 6)])
def test_dots_of_any_table(
    num_methods: int, num_figures: int, tmp_path: Path, drawn: list[Figure]
) -> None:
    means, sds = table(num_methods, num_figures)
    means.iloc[0, 0] = -1.5
    if num_methods > 1:
        means.iloc[1, -1] = np.nan
        sds.iloc[0, 0] = np.nan
    figures.dots(means, sds, tmp_path / "d.png", title="t")
    for axes, column in zip(drawn[0].axes, means, strict=True):
        bars = [c for c in axes.containers if isinstance(c, ErrorbarContainer)]
        places = sorted(float(bar[0].get_xdata()[0]) for bar in bars)
        assert places == sorted(means[column].dropna())
        low, high = axes.get_xlim()
        spans = (means[column] - sds[column].fillna(0), means[column] + sds[column].fillna(0))
        assert low < spans[0].min()
        assert spans[1].max() < high
        said = [text.get_text() for text in axes.texts]
        assert said.count("–") == means[column].isna().sum()
        for text in axes.texts:
            box, panel = text.get_window_extent(), axes.get_window_extent()
            assert box.x0 > panel.x0 - 3
            assert box.x1 < panel.x1 + 3
    assert "−1.50" in [words for words, _ in shown_texts(drawn[0])]
    assert overlapping_texts(drawn[0]) == []
    assert cut_texts(drawn[0]) == []


def test_dots_of_nothing_and_of_one_seed(tmp_path: Path, drawn: list[Figure]) -> None:
    means, sds = table(3, 2)
    means.iloc[:, 1] = np.nan
    means.iloc[:, 0] = 0.5
    figures.dots(means, sds * np.nan, tmp_path / "d.png", title="t", muted=["SimCLR"])
    assert [text.get_text() for text in drawn[0].axes[0].texts] == ["0.50"] * 3
    assert [text.get_text() for text in drawn[0].axes[1].texts] == ["–"] * 3
    colours = [text.get_color() for text in drawn[0].axes[0].get_yticklabels()]
    assert colours == [look.INK, look.INK, look.FAINT]


def test_lines_leave_out_what_is_unknown(tmp_path: Path, drawn: list[Figure]) -> None:
    budgets = np.array([0, 100, 300, 1000])
    shown = curves(3, x=budgets)
    shown["AdaSSL-V"].loc[2, "mean"] = np.nan
    shown["AdaSSL-S"]["sd"] = np.nan
    shown["SimCLR"]["mean"] = np.nan
    named: dict[str, Any] = {"title": "t", "y_label": "R²", "x_label": "d_r"}
    figures.lines(shown, tmp_path / "l.png", **named)
    axes = drawn[0].axes[0]
    known = [list(np.asarray(line.get_xdata())) for line in axes.lines]
    assert known == [[100, 1000], [100, 300, 1000]], "a logarithm has no zero"
    assert {text.get_text() for text in axes.texts} == {"AdaSSL-V", "AdaSSL-S"}
    assert [text.get_text() for text in axes.get_xticklabels()] == ["100", "300", "1000"]
    figures.lines({}, tmp_path / "none.png", **named)
    assert [text.get_text() for text in drawn[1].axes[0].texts] == ["not measured"]


@pytest.mark.parametrize("num_panels", [1, 4])
def test_a_grid_has_one_legend(num_panels: int, tmp_path: Path, drawn: list[Figure]) -> None:
    panels = {name: curves(12, i) for i, name in enumerate(FIGURES[:num_panels])}
    figures.grid_of_lines(panels, tmp_path / "g.png", title="t", y_label="R²", share_y=False)
    assert sum(axes.axison for axes in drawn[0].axes) == num_panels
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == METHODS
    assert all(axes.get_legend() is None for axes in drawn[0].axes)
    assert overlapping_texts(drawn[0]) == []
    assert cut_texts(drawn[0]) == []


def test_twelve_lines_differ_by_colour_or_dashes() -> None:
    styles = arms.styles(METHODS)
    assert len({str(style) for style in styles.values()}) == 12
    assert [colour for colour, _ in arms.styles(METHODS[:4]).values()] == list(look.COLOURS[:4])


def test_a_sheet_of_futures_holds_three_sources(tmp_path: Path, drawn: list[Figure]) -> None:
    future_sheet(tmp_path, 0)
    assert len(drawn[0].axes) == 3 * (2 + 16 + 1)
    words = [words for words, _ in shown_texts(drawn[0])]
    assert words.count("AdaSSL-V: 16 sampled futures") == 3
    assert words.count("no r: its one future") == 3
    figures.future_sheet([("a", future_clips(1, num_sources=1))], tmp_path / "1.png", title="t")
    assert len(drawn[1].axes) == 3
    assert cut_texts(drawn[1]) == []
    assert overlapping_texts(drawn[1]) == []


def test_methods_on_a_sheet_have_the_same_sources(tmp_path: Path) -> None:
    shown = [("AdaSSL-V", future_clips(16)), ("no r", future_clips(1, num_sources=3))]
    with pytest.raises(ValueError, match="no r: other sources than those of AdaSSL-V"):
        figures.future_sheet(shown, tmp_path / "f.png", title="t")


def test_a_trail_is_dim_where_the_digit_was_and_bright_where_it_is() -> None:
    clip = np.zeros((3, 2, 3, 1), np.uint8)
    for frame in range(3):
        clip[frame, 0, frame] = 200
    trail = forecasts._trail(clip)
    sums = trail[0].sum(axis=-1)
    assert 0 < sums[0] < sums[1] < sums[2] == 600
    assert (trail[1] == 0).all()
    assert (forecasts._trail(np.full((3, 2, 2, 1), 200, np.uint8)) == 200).all(), "still: white"


def test_the_window_of_a_sheet_is_square_and_holds_all_that_is_seen() -> None:
    clip = np.zeros((1, 3, 20, 30, 1), np.uint8)
    clip[0, 0, 18, 4], clip[0, 2, 12, 10] = 255, 255
    rows, columns = forecasts._lit([clip, np.zeros_like(clip)])
    assert (rows, columns) == (slice(12, 19), slice(4, 11))
    assert forecasts._lit([np.zeros_like(clip)]) == (slice(None), slice(None))


def test_clouds_show_every_point(tmp_path: Path, drawn: list[Figure]) -> None:
    velocity_clouds(tmp_path, 0)
    grid = np.array(drawn[0].axes).reshape(2, 4)
    assert [len(np.asarray(line.get_xdata())) for line in grid[0, 0].lines] == [64, 64, 1, 1]
    assert [len(np.asarray(line.get_xdata())) for line in grid[1, 0].lines] == [64, 1, 1, 1]
    for axes in grid.ravel():
        low, high = axes.get_xlim()
        assert high - low == pytest.approx(np.diff(axes.get_ylim())[0])
        box = axes.get_window_extent()
        assert box.width == pytest.approx(box.height, rel=0.01)
        for line in axes.lines:
            x, y = np.asarray(line.get_data())
            assert low < x.min()
            assert x.max() < high
            assert axes.get_ylim()[0] < y.min()
    assert grid[0, 1].get_xlim() == grid[1, 1].get_xlim()
    words = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert words == ["true distribution", "sampled", "velocity now", "what came"]


def test_the_truth_is_named_beside_the_methods(tmp_path: Path, drawn: list[Figure]) -> None:
    share = np.linspace(0.2, 0.8, 10)
    share[3] = np.nan
    shares = {"AdaSSL-V": (share, np.full(10, np.nan)), "none": (share * np.nan, share)}
    figures.axis_curve(shares, np.linspace(0.1, 0.9, 10), tmp_path / "a.png", title="t")
    axes = drawn[0].axes[0]
    assert {text.get_text() for text in axes.texts} == {"AdaSSL-V", "true distribution"}
    assert [len(np.asarray(line.get_xdata())) for line in axes.lines[:2]] == [10, 9]
    assert axes.get_ylim() == pytest.approx((-0.03, 1.03))


def test_ranks_are_shares_over_what_chance_allows(tmp_path: Path, drawn: list[Figure]) -> None:
    counts = {"flat": np.full(20, 200), "no r": np.zeros(20, np.int64)}
    figures.rank_histograms(counts, tmp_path / "r.png", title="t")
    flat, none = drawn[0].axes
    bars = flat.containers[0]
    assert isinstance(bars, BarContainer)
    assert [bar.get_height() for bar in bars] == pytest.approx([0.05] * 20)
    band = flat.patches[-1].get_window_extent().transformed(flat.transData.inverted())
    sd = np.sqrt(0.05 * 0.95 / 4000)
    assert (band.y0, band.y1) == pytest.approx((0.05 - 2 * sd, 0.05 + 2 * sd))
    assert [text.get_text() for text in none.texts] == ["not measured"]
