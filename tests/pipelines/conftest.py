"""Pictures as they were drawn, before they become files."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from pipelines.experiments.figures import arms, forecasts
from pipelines.figures import curves, points, sheets
from pipelines.figures import style as look
from pipelines.sweep.report import pictures as sweeps


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    kept: list[Figure] = []

    def keep(figure: Figure, path: Path) -> Path:
        kept.append(figure)
        return look.save(figure, path)

    for module in (arms, curves, forecasts, points, sheets, sweeps):
        monkeypatch.setattr(module, "save", keep)
    return kept
