"""The pictures of runs, sweeps and experiments: each takes what it shows and writes one PNG."""

from pipelines.figures.arms import dots, grid_of_lines, lines
from pipelines.figures.cells import sensitivity
from pipelines.figures.curves import collapse, loss_terms
from pipelines.figures.forecasts import (
    Cloud,
    FutureClips,
    axis_curve,
    future_sheet,
    rank_histograms,
    velocity_clouds,
)
from pipelines.figures.points import comparison, projection
from pipelines.figures.sheets import futures, pairs_sheet
from pipelines.figures.sweeps import (
    importance,
    leaderboard,
    one_parameter,
    parameters,
)

__all__ = [
    "Cloud",
    "FutureClips",
    "axis_curve",
    "collapse",
    "comparison",
    "dots",
    "future_sheet",
    "futures",
    "grid_of_lines",
    "importance",
    "leaderboard",
    "lines",
    "loss_terms",
    "one_parameter",
    "pairs_sheet",
    "parameters",
    "projection",
    "rank_histograms",
    "sensitivity",
    "velocity_clouds",
]
