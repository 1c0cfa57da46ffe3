"""Figures of a run, and what all figures share: each takes what it shows and writes one PNG."""

from pipelines.figures.answers import confusion, predicted_values
from pipelines.figures.curves import collapse, loss_terms
from pipelines.figures.points import comparison, projection
from pipelines.figures.sheets import futures, pairs_sheet, transfers

__all__ = [
    "collapse",
    "comparison",
    "confusion",
    "futures",
    "loss_terms",
    "pairs_sheet",
    "predicted_values",
    "projection",
    "transfers",
]
