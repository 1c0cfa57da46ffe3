"""Augmentation of clips: views of one moment, or of each of two, that differ in place and colour.

Every random number is given by the caller, so that a pair's augmentation can depend on nothing but
the pair; all of a clip is changed alike; everything runs on the clips' device.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample, pad

from adassl.shapes import require_shape

LOCAL_AREA = (0.15, 0.5)
"""Least and greatest share of a small crop (multi-crop, arXiv 2006.09882): never more than a
view."""
NUM_DRAWS = 11
"""Random numbers for each view, in this order: how much is cropped, where (across, down), the
brightness, whether it is flipped, contrast, saturation, hue, whether it is grey, whether it is
blurred, how much."""
_PLACE_AND_BRIGHTNESS = 4
_YIQ = (
    (0.299, 0.587, 0.114),
    (0.595716, -0.274453, -0.321263),
    (0.211456, -0.522591, 0.311135),
)
"""RGB to luma and chroma (NTSC)."""
_GREATEST_BLUR = 0.02
"""Standard deviation of the strongest blur, as a share of the side; SimCLR's is 2 of 224 pixels."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far views are changed.

    Crop and brightness alone by default. Which others a task allows depends on what is to be
    learnt: colour says nothing of a robot's joints and much of a traffic sign, and a flip swaps
    left and right.

    Attributes:
        area: least and greatest share of the frame that a view keeps.
        brightness: greatest change of the brightness, up and down, as a share.
        flip: probability of swapping left and right.
        contrast: greatest change of the contrast around the clip's mean luma, as a share.
        saturation: greatest change of the saturation, as a share.
        hue: greatest turn of the hue, as a share of the circle.
        greyscale: probability of losing all colour.
        blur: probability of a Gaussian blur.

    Raises:
        ValueError: for what cannot be.
    """

    area: tuple[float, float] = (0.5, 1.0)
    brightness: float = 0.4
    flip: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    greyscale: float = 0.0
    blur: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise ValueError(f"area={self.area}: must be 0 < least <= greatest <= 1")
        for name in ("brightness", "flip", "contrast", "saturation", "greyscale", "blur"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be from 0 to 1")
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f"hue={self.hue}: must be from 0 to 0.5, half a circle each way")

    @property
    def num_draws(self) -> int:
        """Random numbers for each view: the first of NUM_DRAWS where crop and brightness do."""
        others = self.flip, self.contrast, self.saturation, self.hue, self.greyscale, self.blur
        return NUM_DRAWS if any(others) else _PLACE_AND_BRIGHTNESS


DEFAULT = Augmentation()


def augment(
    clips: Float[Tensor, "batch ..."],
    noise: Float[Tensor, "batch draws"] | None = None,
    augmentation: Augmentation = DEFAULT,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch ..."]:
    """A random crop, scaled back to the whole, and random colours; the same for all of a clip.

    Crop and colour are what SimCLR (arXiv 2002.05709) found to matter; what moves goes on moving as
    it did, up to the scale. Colours are changed in this order: brightness, contrast, saturation,
    hue, greyscale; then comes the blur. Saturation, hue and greyscale leave grey clips as they are.

    Args:
        clips: pixels from -1, black, to 1: [batch, channels, frames, height, width], or images
            [batch, channels, height, width].
        noise: uniform in [0, 1), `augmentation.num_draws` a clip; None: drawn here.
        augmentation: how far views are changed.
        generator: source of the noise that is drawn here; None: torch's global generator.

    Raises:
        ValueError: shapes that do not fit.
    """
    if clips.ndim not in (4, 5):
        raise ValueError(
            f"clips of shape {tuple(clips.shape)}: must be [batch, channels, height, width] or "
            "[batch, channels, frames, height, width]; add what is missing by reshaping"
        )
    num_draws = augmentation.num_draws
    if noise is None:
        source = clips.device if generator is None else generator.device
        draws = torch.rand(len(clips), num_draws, generator=generator, device=source)
        noise = draws.to(clips.device)
    remedy = f"draw {num_draws} a clip"
    require_shape(noise, (len(clips), num_draws), name="noise", remedy=remedy)
    images = clips.float().flatten(1, -3)
    # In bfloat16 a grid is up to 0.4 pixels of 64 off.
    with torch.autocast(clips.device.type, enabled=False):
        seen = _cropped(images, noise, augmentation).view(clips.shape)
        seen = _coloured(seen, noise, augmentation)
        if augmentation.blur:
            seen = _blurred(seen.flatten(1, -3), noise, augmentation).view(clips.shape)
    order = torch.channels_last if clips.ndim == 4 else torch.channels_last_3d
    if clips.is_contiguous(memory_format=order):
        seen = seen.contiguous(memory_format=order)  # which the convolutions want
    return seen.to(clips.dtype)


def _cropped(images: Tensor, noise: Tensor, augmentation: Augmentation) -> Tensor:
    """A part of each [batch, images, height, width], scaled to the whole, perhaps flipped."""
    size, across, down = noise[:, :3].unbind(dim=1)
    least, greatest = (math.sqrt(share) for share in augmentation.area)
    scale = least + (greatest - least) * size
    affine = torch.zeros(len(images), 2, 3, device=images.device)
    affine[:, 0, 0] = affine[:, 1, 1] = scale
    affine[:, 0, 2] = (1 - scale) * (2 * across - 1)
    affine[:, 1, 2] = (1 - scale) * (2 * down - 1)
    if augmentation.flip:
        affine[:, 0, 0] *= torch.where(noise[:, 4] < augmentation.flip, -1.0, 1.0)
    grid = affine_grid(affine, list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="border", align_corners=False)


def _coloured(clips: Tensor, noise: Tensor, augmentation: Augmentation) -> Tensor:
    """The colours of [batch, channels, ...] changed, pixels in ±1 before and after.

    Every change is linear, so all are one matrix and one shift a clip: a single pass over it.
    """

    def factor(draw: int, most: float) -> Tensor:
        return 1 + most * (2 * noise[:, draw] - 1)

    batch, channels = clips.shape[:2]
    pixels, has_colours = clips.flatten(2), channels == 3
    gain, shift = factor(3, augmentation.brightness), torch.zeros(batch, device=clips.device)
    if augmentation.contrast:
        luma = torch.tensor(_YIQ[0] if has_colours else (1 / channels,) * channels)
        mean = gain * (1 + pixels.mean(dim=2) @ luma.to(clips.device))
        contrast = factor(5, augmentation.contrast)
        gain, shift = contrast * gain, (1 - contrast) * mean
    matrix = torch.eye(channels, device=clips.device).expand(batch, -1, -1)
    if has_colours and (augmentation.saturation or augmentation.hue or augmentation.greyscale):
        saturation = factor(6, augmentation.saturation)
        saturation = saturation * (noise[:, 8] >= augmentation.greyscale)
        angle = 2 * math.pi * augmentation.hue * (2 * noise[:, 7] - 1)
        along, aside = saturation * angle.cos(), saturation * angle.sin()
        zero, one = torch.zeros_like(along), torch.ones_like(along)
        rows = ((one, zero, zero), (zero, along, -aside), (zero, aside, along))
        turn = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
        to_yiq = torch.tensor(_YIQ, device=clips.device)
        matrix = torch.linalg.inv(to_yiq) @ turn @ to_yiq
    # Of light from 0, black, to 2: gain * matrix @ (pixels + 1) + shift; a grey stays a grey.
    black = (gain + shift - 1).view(-1, 1, 1).expand(-1, channels, 1)
    changed = torch.baddbmm(black, gain.view(-1, 1, 1) * matrix, pixels)
    return changed.clamp_(-1, 1).view(clips.shape)


def _blurred(images: Tensor, noise: Tensor, augmentation: Augmentation) -> Tensor:
    """Some of [batch, images, height, width] under a Gaussian of their own width."""
    batch, count, height, width = images.shape
    greatest = _GREATEST_BLUR * min(height, width)
    reach = math.ceil(2 * greatest)
    wide = greatest * (0.1 + 0.9 * noise[:, 10])
    places = torch.arange(-reach, reach + 1, device=images.device)
    kernel = (-(places**2) / (2 * wide[:, None] ** 2)).exp()
    untouched = (places == 0).float()
    kernel = torch.where(noise[:, 9:10] < augmentation.blur, kernel, untouched)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(count, dim=0)
    edges = pad(images.reshape(1, -1, height, width), [reach] * 4, mode="replicate")
    across = conv2d(edges, kernel[:, None, None, :], groups=batch * count)
    return conv2d(across, kernel[:, None, :, None], groups=batch * count).view_as(images)
