"""The laws of the numerical experiment, by moments and modes, and its mixing by its inverse."""

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.sources.numerical import (
    ANISOTROPIC_STDS,
    COMPLEX_JUMPS,
    HETEROSCEDASTIC_STDS,
    ISOTROPIC_STD,
    JUMP,
    JUMP_STD,
    SINGULAR_VALUES,
    SLOPE,
    Conditional,
    Mixing,
    NumericalError,
    NumericalSettings,
    as_clips,
    batches,
    draw_change,
    draw_pairs,
)

CONDITIONALS: tuple[Conditional, ...] = (
    "isotropic",
    "anisotropic",
    "heteroscedastic",
    "multimodal",
    "complex",
)
MANY = 100_000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pairs_of(conditional: Conditional, num_pairs: int = MANY) -> tuple[Tensor, Tensor]:
    """Factors and their change."""
    settings = NumericalSettings(conditional=conditional)
    factors, changed = draw_pairs(settings, num_pairs, generator())
    return factors, changed - factors


def changes_beside(conditional: Conditional, neighbour: float) -> Tensor:
    """Changes [many, 4] of factors all of which have a neighbour of this value."""
    factors = torch.full((MANY, 4), neighbour)
    return draw_change(NumericalSettings(conditional=conditional), factors, generator())


def between(bounds: tuple[float, float], neighbour: float) -> float:
    low, high = bounds
    return low + (high - low) / (1 + float(np.exp(-3 * neighbour)))


@pytest.mark.parametrize("variance", [1.0, 5.0])
def test_factors_are_standard_normal_times_a_size(variance: float) -> None:
    settings = NumericalSettings(conditional="complex", dim=3)
    factors, _ = draw_pairs(settings, MANY, generator(), variance=variance)
    np.testing.assert_allclose(factors.mean(dim=0), 0, atol=0.03)
    np.testing.assert_allclose(factors.T.cov(), variance * np.eye(3), atol=0.02 * variance)


@pytest.mark.parametrize("conditional", CONDITIONALS)
def test_changes_have_no_direction_and_do_not_depend_on_each_other(
    conditional: Conditional,
) -> None:
    factors, change = pairs_of(conditional)
    spread = change.std(dim=0)
    np.testing.assert_allclose(change.mean(dim=0) / spread, 0, atol=0.02)
    both = torch.cat([factors, change], dim=1).T.corrcoef()
    np.testing.assert_allclose(both, np.eye(8), atol=0.02)


def test_isotropic_changes_are_alike_in_all_factors() -> None:
    _, change = pairs_of("isotropic")
    np.testing.assert_allclose(change.std(dim=0), ISOTROPIC_STD, rtol=0.02)


def test_anisotropic_changes_grow_from_factor_to_factor() -> None:
    factors, change = pairs_of("anisotropic")
    low, high = ANISOTROPIC_STDS
    stds = change.std(dim=0)
    np.testing.assert_allclose(stds[[0, -1]], [low, high], rtol=0.02)
    np.testing.assert_allclose(stds[1:] / stds[:-1], (high / low) ** (1 / 3), rtol=0.03)
    upper = factors.roll(1, dims=1) > 0
    np.testing.assert_allclose(change[upper].std(), change[~upper].std(), rtol=0.02)


@pytest.mark.parametrize("neighbour", [-2.0, -0.5, 0.0, 0.5, 2.0])
def test_heteroscedastic_changes_are_as_wide_as_the_neighbour_says(neighbour: float) -> None:
    change = changes_beside("heteroscedastic", neighbour)
    expected = between(HETEROSCEDASTIC_STDS, neighbour)
    np.testing.assert_allclose(change.std(dim=0), expected, rtol=0.02)
    np.testing.assert_allclose((change / expected).pow(4).mean(dim=0), 3, atol=0.2)  # Gaussian


@pytest.mark.parametrize("conditional", ["heteroscedastic", "complex"])
def test_only_the_neighbour_before_sets_the_size(conditional: Conditional) -> None:
    settings = NumericalSettings(conditional=conditional)
    factors = torch.zeros(MANY, 4)
    before = draw_change(settings, factors, generator())
    factors[:, 1] = 2.0
    after = draw_change(settings, factors, generator())
    same = (before == after).all(dim=0)
    assert same.tolist() == [True, True, False, True]


def test_multimodal_changes_have_two_modes_of_one_size() -> None:
    _, change = pairs_of("multimodal")
    assert_two_modes(change, JUMP)


@pytest.mark.parametrize("neighbour", [-2.0, 0.0, 2.0])
def test_complex_changes_have_two_modes_as_far_apart_as_the_neighbour_says(
    neighbour: float,
) -> None:
    assert_two_modes(changes_beside("complex", neighbour), between(COMPLEX_JUMPS, neighbour))


def assert_two_modes(change: Tensor, size: float) -> None:
    up = change > 0
    np.testing.assert_allclose(up.float().mean(dim=0), 0.5, atol=0.01)
    for sign, side in ((1, up), (-1, ~up)):
        values = change[side]
        assert float(values.mean()) == pytest.approx(sign * size, abs=0.02)
        assert float(values.std()) == pytest.approx(JUMP_STD, rel=0.05)
    if size > 5 * JUMP_STD:
        assert float((change.abs() < size / 2).float().mean()) < 0.01  # a gap between them
    signs = change.sign()
    np.testing.assert_allclose(signs.T.corrcoef(), np.eye(4), atol=0.02)


@pytest.mark.parametrize("dim", [2, 4, 9])
def test_the_mixing_has_an_inverse(dim: int) -> None:
    mixing = Mixing(NumericalSettings(conditional="isotropic", dim=dim, seed=3))
    factors = 5 * torch.randn(1000, dim, generator=generator(), dtype=torch.float64)
    observed = mixing(factors)
    np.testing.assert_allclose(mixing.inverse(observed), factors, atol=1e-10)
    assert float((observed - factors).abs().mean()) > 0.5
    single = mixing(factors.float())
    assert single.dtype == torch.float32
    np.testing.assert_allclose(mixing.inverse(single), factors, atol=1e-3)


def test_the_mixing_loses_no_direction_and_is_not_linear() -> None:
    for seed in range(20):
        settings = NumericalSettings(conditional="isotropic", seed=seed)
        values = torch.linalg.svdvals(Mixing(settings).weights)
        assert float(values.min()) >= SINGULAR_VALUES[0] - 1e-9
        assert float(values.max()) <= SINGULAR_VALUES[1] + 1e-9
        assert float(values.std()) > 0.05
    mixing = Mixing(NumericalSettings(conditional="isotropic"))
    factors = torch.randn(1000, 4, generator=generator())
    torch.testing.assert_close(mixing(3 * factors), 3 * mixing(factors))
    gap = mixing(factors) + mixing(-factors)
    assert float(gap.norm(dim=1).mean()) > (1 - SLOPE) / 4


def test_the_mixing_depends_on_its_seed_and_size_alone() -> None:
    factors = torch.randn(10, 4, generator=generator())

    def seen(seed: int, conditional: Conditional = "isotropic") -> Tensor:
        return Mixing(NumericalSettings(conditional=conditional, seed=seed))(factors)

    torch.manual_seed(1)
    once = seen(0)
    torch.manual_seed(2)
    assert torch.equal(once, seen(0))
    assert torch.equal(once, seen(0, "complex"))
    assert not torch.allclose(once, seen(1))


def test_batches_are_clips_that_unmix_to_the_law() -> None:
    settings = NumericalSettings(conditional="multimodal", dim=5, seed=2)
    (views,) = batches(settings, 7, 1024, 0, 1, with_latent=True)
    assert views.context.shape == views.target.shape == (1024, 1, 5, 1, 1)
    assert views.surrogate is None
    assert views.group is not None
    assert views.group.tolist() == list(range(1024))
    mixing = Mixing(settings)
    factors, changed = (
        mixing.inverse(clips[:, 0, :, 0, 0]) for clips in (views.context, views.target)
    )
    torch.testing.assert_close(as_clips(mixing(factors)), views.context, atol=1e-4, rtol=1e-4)
    assert views.latent is not None
    torch.testing.assert_close(changed - factors, views.latent, atol=1e-3, rtol=1e-3)
    assert float(factors.std()) == pytest.approx(1, rel=0.05)
    assert float(views.latent.abs().mean()) == pytest.approx(JUMP, rel=0.05)


def test_the_change_is_handed_over_only_on_request() -> None:
    (views,) = batches(NumericalSettings(conditional="complex"), 0, 8, 0, 1, with_latent=False)
    assert views.latent is None


def test_a_batch_is_a_function_of_its_seed_and_step() -> None:
    settings = NumericalSettings(conditional="complex")

    def drawn(seed: int, first_step: int, num_steps: int) -> list[Tensor]:
        parts = batches(settings, seed, 16, first_step, num_steps, with_latent=True)
        return [torch.cat([views.context, views.target]) for views in parts]

    torch.manual_seed(1)
    straight = drawn(0, 0, 5)
    torch.manual_seed(2)
    resumed = drawn(0, 0, 2) + drawn(0, 2, 3)
    assert len(straight) == len(resumed) == 5
    assert all(torch.equal(a, b) for a, b in zip(straight, resumed, strict=True))
    assert not torch.equal(straight[0], straight[1])
    assert not torch.equal(straight[0], drawn(1, 0, 1)[0])


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(NumericalError, match="one of isotropic, aniso"):
        NumericalSettings(conditional="gaussian")  # type: ignore[arg-type]
    with pytest.raises(NumericalError, match="dim=1"):
        NumericalSettings(conditional="complex", dim=1)
    with pytest.raises(NumericalError, match="seed=-1"):
        NumericalSettings(conditional="complex", seed=-1)
