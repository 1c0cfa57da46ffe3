"""What one training step looks at: pairs of clips from the same video."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Views:
    """A batch of pairs, row i of every field belonging to pair i.

    Clips hold floats, normalised as the backbone expects them. Vector data comes as
    [batch, channels, 1, 1, 1]; the "mlp" backbone flattens.

    Attributes:
        context: x, the clip that is encoded and edited.
        target: x+, the clip that the edited context must agree with.
        surrogate: x++, another view of the target that the posterior over r reads in the place of
            x+, so that r cannot copy what is peculiar to x+; None: it reads x+ itself.
        latent: r of x to x+ for latent="given", in float; None for every other latent.
        local: further, smaller crops of x for multi-crop, each as large as x in pixels; None: none.
        group: which video each pair comes from. Ids are compared across workers, so they must mean
            the same video everywhere.
    """

    context: Float[Tensor, "batch channels frames height width"]
    target: Float[Tensor, "batch channels frames height width"]
    surrogate: Float[Tensor, "batch channels frames height width"] | None = None
    latent: Float[Tensor, "batch latent"] | None = None
    local: Float[Tensor, "crops batch channels frames height width"] | None = None
    group: Int[Tensor, " batch"]
