import numpy as np
import pytest

from pipelines.sweep.report.axes import axes_of
from pipelines.sweep.report.robustness import levels
from tests.pipelines.sweep.report import made


def test_levels_weigh_settings_alike_whatever_their_seeds() -> None:
    two, four = {"d": 2}, {"d": 4}
    trials = made.settings([(two, [1.0, 2.0, 3.0]), (two, [4.0]), (four, [5.0])])
    found = made.results(made.sweep(sampled={"d": made.LATENT_DIM}), trials)
    first, second = levels(found, found.axes[0])
    assert (first.mean, first.num_settings, first.num_trials) == (3.0, 2, 4)
    assert (second.mean, second.num_settings, second.num_trials) == (5.0, 1, 1)


@pytest.mark.parametrize(("num_settings", "bins"), [(1, 2), (9, 3), (10, 4), (36, 6), (400, 6)])
def test_a_range_is_cut_into_bins_of_equal_ratio(num_settings: int, bins: int) -> None:
    (axis,) = axes_of({"b": made.BETA}, [], num_settings=num_settings, is_grid=False)
    assert axis.num_cells == bins
    ratios = np.divide(axis.edges[1:], axis.edges[:-1])
    assert ratios == pytest.approx(np.full(bins, 100 ** (1 / bins)))
    cells = [axis.cell({"b": low * 1.01}) for low in axis.edges[:-1]]
    assert cells == list(range(bins))
    assert axis.cell({"b": 0.01}) == 0
    assert axis.cell({"b": 1.0}) == bins - 1
    assert axis.cell({}) is None


def test_a_grid_over_a_range_keeps_its_values() -> None:
    points = [{"b": value, "d": 3} for value in (1.0, 0.01, 0.1, 0.1)]
    beta, dim = axes_of(
        {"b": made.BETA, "d": made.LATENT_DIM}, points, num_settings=3, is_grid=True
    )
    assert beta.values == (0.01, 0.1, 1.0)
    assert beta.is_log
    assert dim.values == (2, 3, 4, 8, 16), "a value that was tried is on the axis"
    assert dim.cell_text(1, 3) == "3 to 8"
    assert beta.cell_text(0, 1) == "0.01 or 0.1"
