"""The best settings of a sweep beside the baseline, with the spread of the seeds."""

from pathlib import Path
from typing import Any

from pipelines.figures.style import BLUE, ORANGE, TEXT_SIZE, new_figure, quiet, save
from pipelines.figures.text import cut, fitted, plain
from pipelines.sweep.report.results import Results, setting_name

_MOST_ROWS = 15
_WIDTH = 11.0


def best_settings(results: Results, path: Path) -> Path:
    """The best settings' means and seeds, and the baseline as a line with a band."""
    shown = list(results.settings[:_MOST_ROWS])
    best, base = shown[0], results.baseline
    key = "dots: mean over the seeds, bars: ± sd, ticks: single seeds; hollow: seeds are missing"
    if len(shown) < len(results.settings):
        key = f"the best {len(shown)} of {len(results.settings)} settings; {key}"
    title, subtitle = fitted(
        _WIDTH,
        f"Best: setting {setting_name(best.setting)}, {results.metric} {results.show_score(best)}",
        f"sweep {results.name}; {results.counts}",
        key,
    )
    height = 1.5 + 0.24 * subtitle.count("\n") + 0.36 * len(shown)
    figure = new_figure(_WIDTH, height, title, subtitle)
    axes = figure.subplots()
    for i, score in enumerate(shown):
        fill = BLUE if score.is_complete else "white"
        marker: dict[str, Any] = {"color": BLUE, "markerfacecolor": fill, "zorder": 3}
        axes.errorbar(score.mean, i, xerr=score.sd, fmt="o", elinewidth=1.6, **marker)
        if len(score.values) > 1:
            axes.plot(score.values, [i] * len(score.values), "|", color=BLUE, markersize=11)
    if base:
        sd = base.sd or 0.0
        axes.axvspan(base.mean - sd, base.mean + sd, color=ORANGE, alpha=0.15, linewidth=0)
        axes.axvline(base.mean, color=ORANGE, linewidth=1.4)
        axes.text(
            base.mean,
            1.01,
            f"baseline {results.show_score(base)}",
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            size=TEXT_SIZE,
            color=ORANGE,
        )
    names = [f"{cut(results.describe(s.params), 58)}   {setting_name(s.setting)}" for s in shown]
    axes.set_yticks(range(len(shown)), [plain(name) for name in names])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlabel(plain(f"{results.metric} ({results.better})"), size=TEXT_SIZE)
    quiet(axes)
    axes.tick_params(axis="y", length=0)
    return save(figure, path)
