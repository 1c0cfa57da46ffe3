"""Shape errors that say what came and what to do."""

from torch import Tensor


def require_shape(tensor: Tensor, shape: tuple[int | None, ...], *, name: str, remedy: str) -> None:
    """Refuse a tensor of another shape.

    Args:
        tensor: what came.
        shape: the sizes that it must have; None stands for any size, the batch.
        name: what the caller calls the tensor.
        remedy: what the caller can do, the end of the message.

    Raises:
        ValueError: the shape differs; the message names both.
    """
    sizes = tuple(tensor.shape)
    fits = len(sizes) == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, sizes, strict=True)
    )
    if not fits:
        wanted = ", ".join("batch" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} of shape {sizes}: must be [{wanted}]; {remedy}")
