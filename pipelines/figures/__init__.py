"""The pictures of a run and of a sweep: each function takes what it shows and writes one PNG."""

from pipelines.figures.cells import sensitivity
from pipelines.figures.curves import collapse, loss_terms
from pipelines.figures.points import comparison, projection
from pipelines.figures.sheets import futures, pairs_sheet
from pipelines.figures.sweeps import (
    importance,
    leaderboard,
    one_parameter,
    parameters,
)

__all__ = [
    "collapse",
    "comparison",
    "futures",
    "importance",
    "leaderboard",
    "loss_terms",
    "one_parameter",
    "pairs_sheet",
    "parameters",
    "projection",
    "sensitivity",
]
