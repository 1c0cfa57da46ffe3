"""Figures of experiments: arms beside each other, and forecasts."""

from pipelines.experiments.figures.arms import dots, grid_of_lines, lines
from pipelines.experiments.figures.forecasts import (
    Cloud,
    FutureClips,
    axis_curve,
    future_sheet,
    rank_histograms,
    velocity_clouds,
)
from pipelines.experiments.figures.points import panels_of_points

__all__ = [
    "Cloud",
    "FutureClips",
    "axis_curve",
    "dots",
    "future_sheet",
    "grid_of_lines",
    "lines",
    "panels_of_points",
    "rank_histograms",
    "velocity_clouds",
]
