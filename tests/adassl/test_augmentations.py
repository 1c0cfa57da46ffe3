"""Two augmentations of a clip: crops and gains within their limits, alike for all of a clip."""

import pytest
import torch

from adassl.augmentations import GAIN, LOCAL_AREA, NUM_DRAWS, WHOLE_AREA, augment

WHOLE = torch.tensor([1.0, 0.5, 0.5, 0.5])
"""The whole frame, at the gain in the middle."""


def ramp(side: int) -> torch.Tensor:
    """[1, 1, 2, side, side], brighter from left to right in the first frame, downwards then."""
    line = (torch.arange(side) + 0.5) / side - 1
    return torch.stack([line.expand(side, side), line.expand(side, side).T])[None, None]


def test_the_whole_frame_at_gain_one_is_left_as_it_is() -> None:
    clips = torch.rand(3, 2, 4, 8, 8) * 2 - 1
    assert GAIN[0] + (GAIN[1] - GAIN[0]) / 2 == 1
    torch.testing.assert_close(augment(clips, WHOLE.expand(3, -1)), clips, atol=1e-5, rtol=0)


@pytest.mark.parametrize("area", [WHOLE_AREA, LOCAL_AREA])
@pytest.mark.parametrize("across", [0.0, 0.25, 1.0])
def test_a_crop_keeps_the_share_asked_for_at_the_place_asked_for(
    across: float, area: tuple[float, float]
) -> None:
    side, share = 64, area[0] ** 0.5
    draws = torch.tensor([[0.0, across, 1 - across, 0.5]])
    horizontal, vertical = augment(ramp(side), draws, area)[0, 0]
    for line, place in ((horizontal[5], across), (vertical[:, 9], 1 - across)):
        first = (1 - share) * place + share * 0.5 / side - 1
        last = first + share * (side - 1) / side
        assert line[1:-1] == pytest.approx(torch.linspace(first, last, side)[1:-1], abs=1e-5)


def test_the_gain_scales_what_is_above_black_and_stops_at_white() -> None:
    clips = torch.full((2, 1, 1, 4, 4), 0.0)
    dark, bright = augment(clips, torch.tensor([[1, 0, 0, 0.0], [1, 0, 0, 1.0]]))
    assert dark == pytest.approx(torch.full_like(dark, GAIN[0] - 1))
    assert bright == pytest.approx(torch.full_like(bright, GAIN[1] - 1))
    assert augment(torch.ones(1, 1, 1, 4, 4), torch.ones(1, NUM_DRAWS)).max() == 1


def test_all_frames_and_channels_of_a_clip_are_seen_alike_and_clips_apart() -> None:
    clips = torch.rand(1, 1, 1, 16, 16).mul(2).sub(1).expand(2, 3, 3, -1, -1)
    seen = augment(clips, torch.rand(2, NUM_DRAWS, generator=torch.Generator().manual_seed(0)))
    assert (seen - seen[:, :1, :1]).abs().max() < 1e-6
    assert (seen[0] - seen[1]).abs().max() > 0.1
