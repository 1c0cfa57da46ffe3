"""Pictures as they were drawn, before they become files; a bucket."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from pipelines.experiments.figures import arms, forecasts
from pipelines.experiments.figures import points as panels
from pipelines.figures import curves, points, sheets
from pipelines.figures import style as look
from pipelines.sweep.report import pictures as sweeps
from tests.buckets import s3_server


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    kept: list[Figure] = []

    def keep(figure: Figure, path: Path) -> Path:
        kept.append(figure)
        return look.save(figure, path)

    for module in (arms, curves, forecasts, panels, points, sheets, sweeps):
        monkeypatch.setattr(module, "save", keep)
    return kept


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server with an empty bucket."""
    with s3_server("bucket") as address:
        yield address
