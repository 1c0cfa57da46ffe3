"""What every latent answers: a sampled r and what it cost."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class LatentSample:
    """A sampled r and what it cost.

    Attributes:
        value: r, float32.
        penalty: the regulariser of each pair: KL(q || p) in nats (with a mixture prior an upper
            bound on it), or the expected number of active dimensions; 0 for a given r.
        penalty_per_dimension: its parts; they sum to `penalty`.
        mask: the binary mask of a sparse r (1 = active); None for any other.
    """

    value: Float[Tensor, "batch latent"]
    penalty: Float[Tensor, " batch"]
    penalty_per_dimension: Float[Tensor, "batch latent"]
    mask: Float[Tensor, "batch latent"] | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> "LatentSample":
        """A sample whose every tensor went through a function, such as a gather."""
        return LatentSample(
            value=function(self.value),
            penalty=function(self.penalty),
            penalty_per_dimension=function(self.penalty_per_dimension),
            mask=None if self.mask is None else function(self.mask),
        )

    def only(self, kept: Float[Tensor, " latent"] | None) -> "LatentSample":
        """The sample with r 0 and at no cost where `kept` is 0; None: the sample as it is."""
        if kept is None:
            return self
        parts = self.penalty_per_dimension * kept
        return LatentSample(
            value=self.value * kept,
            penalty=parts.sum(dim=-1),
            penalty_per_dimension=parts,
            mask=None if self.mask is None else self.mask * kept,
        )

    def first(self, rows: int | None) -> "LatentSample":
        """The first `rows` pairs, or all of them, detached."""
        return self.map(lambda tensor: tensor[:rows].detach())
