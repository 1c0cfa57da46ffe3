"""Pictures as they were drawn, before they become files."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from pipelines.figures import arms, cells, curves, forecasts, look, points, sheets, sweeps


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    kept: list[Figure] = []

    def keep(figure: Figure, path: Path) -> Path:
        kept.append(figure)
        return look.save(figure, path)

    for module in (arms, cells, curves, forecasts, points, sheets, sweeps):
        monkeypatch.setattr(module, "save", keep)
    return kept
