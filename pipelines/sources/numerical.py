"""The numerical experiment of AdaSSL (arXiv 2602.02381): factors, their change, and a mixing.

Factors c ~ N(0, I) change to c+ by a conditional p(c+ | c), and an invertible network g shows both:
x = g(c), x+ = g(c+). Everything about c and its change is known, so what an encoder keeps of c, and
what r says about c+ - c, can be measured. No files: a batch is drawn when it is needed.

The paper names the conditionals and does not give their numbers; these are ours. With n ~ N(0, 1)
and a fair sign s, drawn separately for every factor, and j the factor before i, in a ring:

    isotropic         c+_i = c_i + 0.3 n
    anisotropic       c+_i = c_i + a_i n,       a_i from 0.1 to 1, in a geometric row
    heteroscedastic   c+_i = c_i + w(c_j) n,    w(c) = 0.1 + 1.9 sigmoid(3 c)
    multimodal        c+_i = c_i + 2 s + 0.2 n
    complex           c+_i = c_i + u(c_j) s + 0.2 n,    u(c) = 0.5 + 3.5 sigmoid(3 c)

The neighbour c_j, not c_i itself, sets the size: dimension i of the change then says something
about another factor than its own.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import leaky_relu

from adassl.views import Views
from pipelines.errors import UserError

Conditional = Literal["isotropic", "anisotropic", "heteroscedastic", "multimodal", "complex"]

ISOTROPIC_STD = 0.3
ANISOTROPIC_STDS = (0.1, 1.0)
HETEROSCEDASTIC_STDS = (0.1, 2.0)
JUMP = 2.0
COMPLEX_JUMPS = (0.5, 4.0)
JUMP_STD = 0.2
STEEPNESS = 3.0

MIXING_LAYERS = 3
SLOPE = 0.2
SINGULAR_VALUES = (0.75, 1.5)


class NumericalError(UserError, ValueError):
    """Settings from which no factors can be drawn."""


@dataclass(frozen=True, kw_only=True)
class NumericalSettings:
    """What the pairs depend on, besides their number.

    Attributes:
        conditional: the distribution of the change, see the module.
        dim: number of factors, and of the numbers that show them.
        seed: of the mixing g.
    """

    conditional: Conditional
    dim: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.conditional not in get_args(Conditional):
            raise NumericalError(
                f"conditional={self.conditional!r}: it must be one of "
                f"{', '.join(get_args(Conditional))}"
            )
        if self.dim < 2:
            raise NumericalError(
                f"dim={self.dim}: a factor's change depends on its neighbour; use 2 or more"
            )
        if self.seed < 0:
            raise NumericalError(f"seed={self.seed}: it must not be negative")


class Mixing:
    """g: an invertible network of square layers with leaky ReLUs between them.

    Every weight matrix is a rotation or reflection, a stretch and another one; the stretches lie in
    `SINGULAR_VALUES`, so no direction gets lost. No biases, as in Zimmermann et al. (arXiv
    2102.08850): g(k c) = k g(c) for every k > 0.

    Args:
        settings: its `dim` and `seed` alone decide the weights.
    """

    def __init__(self, settings: NumericalSettings) -> None:
        generator = torch.Generator().manual_seed(_seed_of("mixing", settings.seed, settings.dim))
        shape = (MIXING_LAYERS, settings.dim, settings.dim)
        # The columns' signs are made independent of the algorithm of qr, as Haar's measure asks.
        left, right = (
            q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]
            for q, r in (
                torch.linalg.qr(torch.randn(shape, generator=generator, dtype=torch.float64))
                for _ in range(2)
            )
        )
        low, high = SINGULAR_VALUES
        stretches = low + (high - low) * torch.rand(shape[:2], generator=generator).double()
        self.weights: Float[Tensor, "layers dim dim"] = left * stretches[:, None, :] @ right

    def __call__(self, factors: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Observe factors: x = g(c)."""
        values = factors
        for layer, weight in enumerate(self.weights.to(factors)):
            values = (leaky_relu(values, SLOPE) if layer else values) @ weight.T
        return values

    def inverse(self, observed: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """The factors c that are seen as x = g(c)."""
        values = observed
        for layer, weight in reversed(list(enumerate(self.weights.to(observed)))):
            values = torch.linalg.solve(weight, values.T).T
            values = leaky_relu(values, 1 / SLOPE) if layer else values
        return values


def draw_change(
    settings: NumericalSettings, factors: Float[Tensor, "batch dim"], generator: torch.Generator
) -> Float[Tensor, "batch dim"]:
    """c+ - c, drawn from the conditional for the factors given."""
    noise = torch.randn(factors.shape, generator=generator)
    signs = torch.randint(0, 2, factors.shape, generator=generator) * 2.0 - 1.0
    share = torch.sigmoid(STEEPNESS * factors.roll(1, dims=-1))
    match settings.conditional:
        case "isotropic":
            return ISOTROPIC_STD * noise
        case "anisotropic":
            return _anisotropic_stds(settings.dim) * noise
        case "heteroscedastic":
            return _between(HETEROSCEDASTIC_STDS, share) * noise
        case "multimodal":
            return JUMP * signs + JUMP_STD * noise
        case "complex":
            return _between(COMPLEX_JUMPS, share) * signs + JUMP_STD * noise


def draw_pairs(
    settings: NumericalSettings,
    num_pairs: int,
    generator: torch.Generator,
    *,
    variance: float = 1.0,
) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch dim"]]:
    """Factors and changed factors, c ~ N(0, variance * I) and c+ ~ p(c+ | c).

    Args:
        settings: the true distribution.
        num_pairs: how many.
        generator: source of all randomness.
        variance: of each factor; 1 in training, 5 for evaluation out of distribution.
    """
    factors = variance**0.5 * torch.randn(num_pairs, settings.dim, generator=generator)
    return factors, factors + draw_change(settings, factors, generator)


def batches(
    settings: NumericalSettings,
    seed: int,
    batch_size: int,
    first_step: int,
    num_steps: int,
    with_latent: bool,
) -> Iterator[Views]:
    """Pairs to train on: the batches of `num_steps` steps from `first_step` on.

    A batch is a pure function of the settings, its size, `seed` and its step, so a run that goes on
    from a checkpoint sees what it would have seen.

    Args:
        settings: the true distribution.
        seed: of the pairs; the mixing has its own.
        batch_size: pairs in a batch.
        first_step: step of the first batch.
        num_steps: number of batches.
        with_latent: hand over the change c+ - c itself, for latent="given".
    """
    mixing = Mixing(settings)
    for step in range(first_step, first_step + num_steps):
        generator = torch.Generator().manual_seed(_seed_of("pairs", seed, step))
        factors, changed = draw_pairs(settings, batch_size, generator)
        yield Views(
            context=as_clips(mixing(factors)),
            target=as_clips(mixing(changed)),
            group=torch.arange(batch_size),
            latent=changed - factors if with_latent else None,
        )


def as_clips(observed: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch 1 dim 1 1"]:
    """Observed numbers as the backbones take them: a clip of `dim` frames of one grey pixel."""
    return observed[:, None, :, None, None]


def _anisotropic_stds(dim: int) -> Float[Tensor, " dim"]:
    low, high = ANISOTROPIC_STDS
    return low * (high / low) ** torch.linspace(0, 1, dim)


def _between(bounds: tuple[float, float], share: Tensor) -> Tensor:
    low, high = bounds
    return low + (high - low) * share


def _seed_of(*key: str | int) -> int:
    text = " ".join(str(part) for part in key).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big")
