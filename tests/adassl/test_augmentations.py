"""Two augmentations of a clip: crops and gains within their limits, alike for all of a clip."""

import pytest
import torch

from adassl.augmentations import DEFAULT, LOCAL_AREA, NUM_DRAWS, Augmentation, augment

WHOLE = torch.tensor([1.0, 0.5, 0.5, 0.5])
"""The whole frame, at the gain in the middle."""


def ramp(side: int) -> torch.Tensor:
    """[1, 1, 2, side, side], brighter from left to right in the first frame, downwards then."""
    line = (torch.arange(side) + 0.5) / side - 1
    return torch.stack([line.expand(side, side), line.expand(side, side).T])[None, None]


def test_the_whole_frame_at_gain_one_is_left_as_it_is() -> None:
    clips = torch.rand(3, 2, 4, 8, 8) * 2 - 1
    torch.testing.assert_close(augment(clips, WHOLE.expand(3, -1)), clips, atol=1e-5, rtol=0)


@pytest.mark.parametrize("area", [DEFAULT.area, LOCAL_AREA])
@pytest.mark.parametrize("across", [0.0, 0.25, 1.0])
def test_a_crop_keeps_the_share_asked_for_at_the_place_asked_for(
    across: float, area: tuple[float, float]
) -> None:
    side, share = 64, area[0] ** 0.5
    draws = torch.tensor([[0.0, across, 1 - across, 0.5]])
    horizontal, vertical = augment(ramp(side), draws, Augmentation(area=area))[0, 0]
    for line, place in ((horizontal[5], across), (vertical[:, 9], 1 - across)):
        first = (1 - share) * place + share * 0.5 / side - 1
        last = first + share * (side - 1) / side
        assert line[1:-1] == pytest.approx(torch.linspace(first, last, side)[1:-1], abs=1e-5)


def test_the_gain_scales_what_is_above_black_and_stops_at_white() -> None:
    clips = torch.full((2, 1, 1, 4, 4), 0.0)
    dark, bright = augment(clips, torch.tensor([[1, 0, 0, 0.0], [1, 0, 0, 1.0]]))
    assert dark == pytest.approx(torch.full_like(dark, -0.4))
    assert bright == pytest.approx(torch.full_like(bright, 0.4))
    assert augment(torch.ones(1, 1, 1, 4, 4), torch.ones(1, 4)).max() == 1


def test_all_frames_and_channels_of_a_clip_are_seen_alike_and_clips_apart() -> None:
    clips = torch.rand(1, 1, 1, 16, 16).mul(2).sub(1).expand(2, 3, 3, -1, -1)
    seen = augment(clips, torch.rand(2, 4, generator=torch.Generator().manual_seed(0)))
    assert (seen - seen[:, :1, :1]).abs().max() < 1e-6
    assert (seen[0] - seen[1]).abs().max() > 0.1


def draws(**chosen: float) -> torch.Tensor:
    """The noise of one clip under which the whole frame stays, but for what is chosen."""
    names = ["size", "across", "down", "brightness", "flip", "contrast", "saturation", "hue"]
    names += ["greyscale", "blur", "width"]
    neutral = dict.fromkeys(names, 0.5) | {"size": 1.0, "flip": 1.0, "greyscale": 1.0, "blur": 1.0}
    assert len(neutral) == NUM_DRAWS
    return torch.tensor([[{**neutral, **chosen}[name] for name in names]])


ALL = Augmentation(
    area=(1.0, 1.0),
    brightness=0.4,
    flip=0.5,
    contrast=0.5,
    saturation=0.5,
    hue=0.25,
    greyscale=0.2,
    blur=0.5,
)
PICTURE = torch.rand(1, 3, 2, 24, 24, generator=torch.Generator().manual_seed(0))
"""A clip between grey and white, so that nothing is cut off."""


def test_in_the_middle_of_their_ranges_all_changes_leave_a_clip_as_it_is() -> None:
    torch.testing.assert_close(augment(PICTURE, draws(), ALL), PICTURE, atol=1e-5, rtol=0)


def test_a_flip_swaps_left_and_right_in_all_frames() -> None:
    flipped = augment(PICTURE, draws(flip=0.49), ALL)
    torch.testing.assert_close(flipped, PICTURE.flip(-1), atol=1e-5, rtol=0)


def test_contrast_stretches_around_the_mean_luma() -> None:
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1, 1)
    mean = (PICTURE * weights).sum(dim=1).mean()
    flat = augment(PICTURE, draws(contrast=0.0), ALL)
    torch.testing.assert_close(flat, mean + 0.5 * (PICTURE - mean), atol=1e-4, rtol=0)


def test_saturation_and_greyscale_move_colours_to_their_luma_and_hue_keeps_it() -> None:
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1, 1)
    luma = (PICTURE * weights).sum(dim=1, keepdim=True)
    half = augment(PICTURE, draws(saturation=0.0), ALL)
    torch.testing.assert_close(half, luma + 0.5 * (PICTURE - luma), atol=1e-4, rtol=0)
    grey = augment(PICTURE, draws(greyscale=0.19), ALL)
    torch.testing.assert_close(grey, luma.expand_as(PICTURE), atol=1e-4, rtol=0)
    mild = 0.3 * PICTURE  # which no turn takes out of range
    turned = augment(mild, draws(hue=0.0), ALL)
    assert (turned - mild).abs().max() > 0.05
    torch.testing.assert_close((turned * weights).sum(1), 0.3 * luma[:, 0], atol=1e-4, rtol=0)


def test_a_blur_spreads_a_point_and_keeps_its_light() -> None:
    point = torch.full((1, 1, 1, 65, 65), -1.0)
    point[..., 32, 32] = 1.0
    seen = augment(point, draws(blur=0.49, width=1.0), ALL)[0, 0, 0] + 1
    assert float(seen.sum()) == pytest.approx(2.0, abs=1e-3)
    assert float(seen.max()) < 0.3
    torch.testing.assert_close(seen, seen.T, atol=1e-5, rtol=0)
    spread = (seen.sum(dim=0) / 2 * (torch.arange(65.0) - 32) ** 2).sum().sqrt()
    assert float(spread) == pytest.approx(0.02 * 65, rel=0.15), "cut at two deviations"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"area": (0.6, 0.5)}, "least <= greatest"),
        ({"hue": 0.6}, "half a circle"),
        ({"blur": 1.5}, "from 0 to 1"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Augmentation(**wrong)  # type: ignore[arg-type]
