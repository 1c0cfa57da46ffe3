"""The input of a step: pairs of views of the same thing, such as two moments of a video.

A pair with further moments is a chain, one with a negative a triplet.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int, Num
from torch import Tensor

from adassl.shapes import require_shape


@dataclass(frozen=True, kw_only=True)
class Views:
    """A batch of pairs, row i of every field belonging to pair i.

    A sample is whatever the encoder takes: images [channels, height, width], clips [channels,
    frames, height, width], vectors, token ids [tokens]. Context and target may be of two kinds,
    with another number of dimensions, for a method with two encoders.

    Attributes:
        context: x, which is encoded and edited.
        target: x+, which the edited context must agree with.
        further: x_3 to x_k, the moments after x_1 = context and x_2 = target, in order: the row is
            then a chain (`adassl.chains`). None: pairs.
        surrogate: x++, another view of the target that the posterior over r reads in the place of
            x+, so that r cannot copy what is peculiar to x+; None: it reads x+ itself.
        context_surrogate: another view of the context, for the reverse direction of a method with
            surrogate_form="both"; None for every other.
        negative: x-, which the edited context must stay away from, for `Triplet`; None: the other
            pairs of the batch are the negatives.
        latent: r of x to x+ for `GivenLatent`, in float; None for every other latent.
        local: further, smaller crops of x for multi-crop, each as large as x in pixels; None: none.
        group: which video each pair comes from; None: each from its own. Ids are compared across
            workers, so they must mean the same video everywhere.

    Raises:
        ValueError: the fields are not of one batch, or the views not of one shape.
    """

    context: Num[Tensor, "batch ..."]
    target: Num[Tensor, "batch ..."]
    further: Num[Tensor, "moments batch ..."] | None = None
    surrogate: Num[Tensor, "batch ..."] | None = None
    context_surrogate: Num[Tensor, "batch ..."] | None = None
    negative: Num[Tensor, "batch ..."] | None = None
    latent: Float[Tensor, "batch latent"] | None = None
    local: Float[Tensor, "crops batch ..."] | None = None
    group: Int[Tensor, " batch"] | None = None

    def __post_init__(self) -> None:
        sizes = tuple(self.context.shape)
        remedy = "as context; cut and resize the views of a pair alike"
        if self.target.ndim == self.context.ndim:
            require_shape(self.target, sizes, name="target", remedy=remedy)
        elif len(self.target) != len(self.context):
            raise ValueError(
                f"{len(self.context)} contexts and {len(self.target)} targets: must be as many"
            )
        of_target = tuple(self.target.shape)
        for name, like in (
            ("surrogate", of_target),
            ("context_surrogate", sizes),
            ("negative", of_target),
        ):
            view = getattr(self, name)
            if view is not None:
                require_shape(view, like, name=name, remedy=remedy)
        if self.further is not None:
            remedy = "as context, one after another: [k - 2, batch, ...]"
            require_shape(self.further, (None, *sizes), name="further", remedy=remedy)
        if self.local is not None:
            require_shape(self.local, (None, *sizes), name="local", remedy="scale crops to context")
        if self.group is not None:
            remedy = "give one video number a pair, or group=None"
            require_shape(self.group, sizes[:1], name="group", remedy=remedy)

    @property
    def moments(self) -> list[Num[Tensor, "batch ..."]]:
        """x_1 to x_k: of a pair the context and the target."""
        return [self.context, self.target, *(() if self.further is None else self.further)]

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.context)
