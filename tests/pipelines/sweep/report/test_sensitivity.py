import numpy as np
import pytest

from pipelines.sweep.report.axes import axes_of
from pipelines.sweep.report.sensitivity import levels, sensitivity_map
from tests.pipelines.sweep.report import made

KEYS = ("method.beta", "method.latent_dim", "method.beta_warmup_steps")


def test_the_cells_are_the_means_over_their_finished_trials() -> None:
    record, trials = made.usual()
    plane = sensitivity_map(made.results(record, trials), None)
    assert plane
    assert plane.panel
    assert (plane.x.key, plane.y.key, plane.panel.key) == KEYS
    assert plane.x.num_cells == 4, "as many bins as the root of fifteen settings, rounded up"
    assert plane.x.edges == pytest.approx(0.01 * 100 ** (np.arange(5) / 4))
    dims, warmups = made.LATENT_DIM["values"], made.WARMUP["values"]
    for i, j, k in np.ndindex(3, 4, 4):
        inside = [
            t
            for t in trials
            if not t.is_baseline
            and t.params[KEYS[2]] == warmups[i]
            and t.params[KEYS[1]] == dims[j]
            and plane.x.edges[k] <= float(t.params[KEYS[0]]) < plane.x.edges[k + 1]
        ]
        values = [t.metrics["val/r2"] for t in inside if t.state == "finished"]
        assert plane.counts[i, j, k] == len(values)
        assert plane.dropped[i, j, k] == len(inside) - len(values)
        if values:
            assert plane.means[i, j, k] == pytest.approx(np.mean(values))
        else:
            assert np.isnan(plane.means[i, j, k])
    assert plane.counts.sum() == 29
    assert plane.best
    assert plane.means[plane.best] == np.nanmax(plane.means)


def test_the_best_cell_of_a_loss_is_the_lowest() -> None:
    plane = sensitivity_map(made.results(made.sweep(mode="min"), made.drawn(9, made.hill)), None)
    assert plane
    assert plane.best
    assert plane.means[plane.best] == np.nanmin(plane.means)


def test_a_space_with_other_keys_is_mapped_over_its_most_important() -> None:
    sampled = {f"a.{name}": made.LATENT_DIM for name in "wxyz"}
    found = made.results(made.sweep(sampled=sampled), made.drawn(9, len, sampled=sampled))
    plane = sensitivity_map(found, None)
    assert plane
    assert plane.panel
    assert (plane.x.key, plane.y.key, plane.panel.key) == ("a.w", "a.x", "a.y")
    plane = sensitivity_map(found, {"a.z": 0.6, "a.x": 0.3, "a.w": 0.1, "a.y": 0.0})
    assert plane
    assert plane.panel
    assert (plane.x.key, plane.y.key, plane.panel.key) == ("a.x", "a.z", "a.w")
    two = made.sweep(sampled=dict(list(sampled.items())[:2]))
    plane = sensitivity_map(made.results(two, []), None)
    assert plane
    assert plane.panel is None
    assert plane.best is None
    assert sensitivity_map(made.results(made.sweep(sampled={"a.w": made.BETA}), []), None) is None


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
