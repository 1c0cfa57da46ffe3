"""Encoders of single images as encoders of clips: frame by frame, then pooled over time."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adassl.resnet import build_resnet


class FrameEncoder(nn.Module):
    """An image encoder for each frame; the mean over time, and how the clip's halves differ.

    The mean alone would be the same for a clip and its reverse. Of a single frame there is only
    that frame's representation.

    Args:
        image_encoder: from clips of one frame [n, channels, 1, height, width] to [n, dim].
        dim: size of its output.
        num_frames: of a clip.
    """

    def __init__(self, image_encoder: nn.Module, *, dim: int, num_frames: int) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.output_dim = dim if num_frames == 1 else 2 * dim

    def tokens(
        self, clips: Float[Tensor, "batch channels frames height width"]
    ) -> Float[Tensor, "batch frames dim"]:
        """The representation of each frame."""
        frames = clips.transpose(1, 2).flatten(0, 1).unsqueeze(2)
        encoded: Tensor = self.image_encoder(frames).unflatten(0, (-1, clips.shape[2]))
        return encoded

    def forward(
        self, clips: Float[Tensor, "batch channels frames height width"]
    ) -> Float[Tensor, "batch pooled"]:
        """Representations of clips."""
        encoded = self.tokens(clips)
        mean: Tensor = encoded.mean(dim=1)
        num_frames = encoded.shape[1]
        if num_frames == 1:
            return mean
        half = num_frames // 2  # of an odd number the one in the middle is in neither
        change = encoded[:, -half:].mean(dim=1) - encoded[:, :half].mean(dim=1)
        return torch.cat([mean, change], dim=1)


def build_frame_resnet(
    input_shape: tuple[int, int, int, int],
) -> tuple[FrameEncoder, int]:
    """A ResNet-18 for each frame, pooled over time, and the size of its output."""
    channels, frames, height, width = input_shape
    network, dim = build_resnet("resnet18", input_shape=(channels, 1, height, width))
    encoder = FrameEncoder(network, dim=dim, num_frames=frames)
    return encoder, encoder.output_dim
