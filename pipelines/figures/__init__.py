"""Figures of a run, and what all figures share: each takes what it shows and writes one PNG."""

from pipelines.figures.answers import confusion, predicted_values
from pipelines.figures.curves import collapse, loss_terms
from pipelines.figures.moments import surprise_curves
from pipelines.figures.points import comparison, projection
from pipelines.figures.sheets import (
    forecast,
    futures,
    latent_sweep,
    pairs_sheet,
    spread,
    transfers,
)

__all__ = [
    "collapse",
    "comparison",
    "confusion",
    "forecast",
    "futures",
    "latent_sweep",
    "loss_terms",
    "pairs_sheet",
    "predicted_values",
    "projection",
    "spread",
    "surprise_curves",
    "transfers",
]
