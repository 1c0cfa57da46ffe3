"""Random directions on which objectives compare a batch with a Gaussian, one number a pair."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from adassl.collectives import world_size


def draw_projections(
    dim: int,
    num_projections: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | None = None,
) -> Float[Tensor, "dim projections"]:
    """Unit vectors, evenly over the sphere, one a column.

    Args:
        dim: size of an embedding.
        num_projections: how many.
        generator: source of the noise, in the same state on every worker. None: torch's global
            generator, which workers do not share: refused where there are several.
        device: of the result.

    Raises:
        ValueError: there are several workers and no generator.
    """
    if generator is None and world_size() > 1:
        raise ValueError(
            f"generator=None with {world_size()} workers: they would project on different "
            "directions and have different losses; hand in a torch.Generator seeded alike on all"
        )
    source = device if generator is None else generator.device
    noise = torch.randn((dim, num_projections), generator=generator, device=source)
    return normalize(noise.to(device), dim=0)
