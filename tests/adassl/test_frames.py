import pytest
import torch
from torch import nn

from adassl.frames import FrameEncoder


class Mean(nn.Module):
    """The mean of each channel of clips of one frame."""

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        assert clips.shape[2] == 1
        return clips.mean(dim=(2, 3, 4))


@pytest.mark.parametrize(("num_frames", "change"), [(2, 1.0), (3, 2.0), (4, 2.0), (5, 3.0)])
def test_frames_are_pooled_to_their_mean_and_their_change(num_frames: int, change: float) -> None:
    clips = torch.arange(float(num_frames)).reshape(1, 1, -1, 1, 1).expand(2, 3, -1, 4, 4)
    encoder = FrameEncoder(Mean(), dim=3, num_frames=num_frames)
    pooled = encoder(clips)
    assert pooled.shape == (2, encoder.output_dim) == (2, 6)
    torch.testing.assert_close(pooled[:, :3], torch.full((2, 3), (num_frames - 1) / 2))
    torch.testing.assert_close(pooled[:, 3:], torch.full((2, 3), change))


def test_a_single_frame_is_itself() -> None:
    encoder = FrameEncoder(Mean(), dim=3, num_frames=1)
    assert encoder(torch.ones(2, 3, 1, 4, 4)).shape == (2, encoder.output_dim) == (2, 3)
