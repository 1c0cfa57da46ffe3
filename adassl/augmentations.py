"""Augmentation of clips: views of one moment in the place of two moments."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from adassl.shapes import require_shape

WHOLE_AREA = (0.5, 1.0)
"""Least and greatest share of the frame that a view keeps; on average 0.73."""
LOCAL_AREA = (0.15, 0.5)
"""The same of a small crop (multi-crop, arXiv 2006.09882): never more than a view."""
GAIN = (0.6, 1.4)
"""Least and greatest factor of the brightness."""
NUM_DRAWS = 4
"""Random numbers for each view: how much is cropped, where (two), and the gain."""


def augment(
    clips: Float[Tensor, "batch ..."],
    noise: Float[Tensor, "batch draws"] | None = None,
    area: tuple[float, float] = WHOLE_AREA,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch ..."]:
    """A random crop, scaled back to the whole, and a random gain; the same for all of a clip.

    Crop and colour are what SimCLR (arXiv 2002.05709) found to matter; what moves goes on moving as
    it did, up to the scale.

    Args:
        clips: pixels from -1, black, to 1: [batch, channels, frames, height, width], or images
            [batch, channels, height, width].
        noise: uniform in [0, 1), NUM_DRAWS a clip; None: drawn here.
        area: least and greatest share of the frame that is kept.
        generator: source of the noise that is drawn here; None: torch's global generator.

    Raises:
        ValueError: shapes that do not fit.
    """
    if clips.ndim not in (4, 5):
        raise ValueError(
            f"clips of shape {tuple(clips.shape)}: must be [batch, channels, height, width] or "
            "[batch, channels, frames, height, width]; add what is missing by reshaping"
        )
    if noise is None:
        source = clips.device if generator is None else generator.device
        draws = torch.rand(len(clips), NUM_DRAWS, generator=generator, device=source)
        noise = draws.to(clips.device)
    require_shape(noise, (len(clips), NUM_DRAWS), name="noise", remedy="draw NUM_DRAWS a clip")
    size, across, down, bright = noise.unbind(dim=1)
    least, greatest = (math.sqrt(share) for share in area)
    scale = least + (greatest - least) * size
    affine = torch.zeros(len(clips), 2, 3, device=clips.device)
    affine[:, 0, 0] = affine[:, 1, 1] = scale
    affine[:, 0, 2] = (1 - scale) * (2 * across - 1)
    affine[:, 1, 2] = (1 - scale) * (2 * down - 1)
    images = clips.float().flatten(1, -3)
    # In bfloat16 a grid is up to 0.4 pixels of 64 off.
    with torch.autocast(clips.device.type, enabled=False):
        grid = affine_grid(affine, list(images.shape), align_corners=False)
        cropped = grid_sample(images, grid, padding_mode="border", align_corners=False)
    gain = GAIN[0] + (GAIN[1] - GAIN[0]) * bright
    brighter = ((cropped + 1) * gain[:, None, None, None] - 1).clamp(-1, 1).view(clips.shape)
    order = torch.channels_last if clips.ndim == 4 else torch.channels_last_3d
    if clips.is_contiguous(memory_format=order):
        brighter = brighter.contiguous(memory_format=order)  # which the convolutions want
    return brighter.to(clips.dtype)
