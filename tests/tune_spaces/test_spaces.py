"""Every space holds: its keys exist and whatever it gives makes a config and a method."""

import pytest

import tune_spaces
from pipelines.config.run import RunConfig, flatten, with_overrides
from pipelines.recipes import recipe
from pipelines.sweep.settings import decide
from pipelines.training.build import build
from tune_spaces import Choice, LogUniform, Space

NAMES = tune_spaces.names()


def base(space: Space) -> RunConfig:
    return with_overrides(recipe(space.recipe), space.settings)


def test_the_spaces_that_people_ask_for_are_there() -> None:
    assert {"adassl_v", "adassl_s", "baselines", "digits"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_key_exists_and_every_range_says_why(name: str) -> None:
    space = tune_spaces.load(name)
    known = flatten(base(space).model_dump())
    assert set(space.sampled) <= set(known)
    assert all(len(range_.why.split()) >= 3 for range_ in space.sampled.values())
    assert space.metric.startswith("val/"), "never tuned on the test split"


@pytest.mark.parametrize("name", NAMES)
def test_every_point_of_the_grid_makes_a_config(name: str) -> None:
    space = tune_spaces.load(name)
    config = base(space)
    points = [*space.grid(), *space.first, *([space.baseline] if space.baseline else [])]
    assert len(points) > 4
    for point in points:
        flat = flatten(with_overrides(config, point).model_dump())
        assert all(flat[key] == value for key, value in point.items())


@pytest.mark.parametrize("name", NAMES)
def test_every_sample_is_in_range_and_builds_a_method(name: str) -> None:
    space = tune_spaces.load(name)
    config = base(space)
    samples = [decide(space, "random", number, seed=7) for number in range(40)]
    for sample in samples:
        assert all(space.sampled[key].holds(value) for key, value in sample.items())
        with_overrides(config, sample)
    for sample in samples[:3] + [dict(p) for p in space.first]:
        method = build(with_overrides(config, sample))
        assert method.beta == sample.get("method.beta", config.method.beta)


def test_a_range_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="low < high"):
        LogUniform(low=1, high=0.1, why="")
    with pytest.raises(ValueError, match="each once"):
        Choice(values=(1, 1), why="")
    ranges = {"method.latent_dim": Choice(values=(2, 4), why="")}
    with pytest.raises(ValueError, match="out of its range"):
        Space(
            title="t",
            recipe="videos",
            sampled=ranges,
            metric="m",
            first=({"method.latent_dim": 3},),
        )
    with pytest.raises(ValueError, match="must set"):
        Space(title="t", recipe="videos", sampled=ranges, metric="m", first=({"x": 3},))


def test_the_grid_of_a_log_range_has_equal_ratios_and_both_ends() -> None:
    assert LogUniform(low=0.01, high=1, num_grid=3, why="").grid == (0.01, 0.1, 1.0)


def test_an_unknown_space_names_those_there_are() -> None:
    with pytest.raises(KeyError, match="adassl_v"):
        tune_spaces.load("adasl")
