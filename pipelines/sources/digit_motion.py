"""Stochastic Moving-MNIST (AdaSSL, arXiv 2602.02381): its true distribution and frames, no files.

A 16×16 handwritten digit moves over a black canvas. Its centre starts at U(8, 16)², its velocity
is U(0, 3)² px/frame. Before the fourth frame one axis is picked, y with probability

    setting A: 0.5        setting B: 0.1 + 0.8 · digit / 9

and that axis's velocity gets N(0, (2/3 · velocity)²) added. Frames 1-3 are the source, 4-6 the
target, 7-9 another view of the target. The digit does not bounce; what leaves the canvas is cut.

Longer videos continue alike, with a change before frames 4, 10, 16, ...: nine frames from
any multiple of six are a source, its change and its outcome, as in the first nine, but from
the place and velocity that the digit has by then. It drifts off in the end (at 64 pixels after
some 25 frames on average), so give long videos a large canvas.

A scene may have two or three digits, each with its own glyph, start, velocity and changes at the
same frames, all drawn as above. Digit 2 and 3 are mirrored, so that each comes from a corner of its
own towards the middle: digit 1 from the upper left, 2 from the lower right, 3 from the upper right.
Where they overlap, the brighter pixel shows.

Positions are of the glyph's centre, in pixels from the upper left corner of the canvas: a glyph at
(8, 8) covers its first 16 pixels. Glyphs are scikit-learn's handwritten digits, twice their size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from pipelines.errors import UserError

Setting = Literal["A", "B"]

GLYPH_SIDE = 16
START = (8.0, 16.0)
MAX_SPEED = 3.0
CHANGE_SHARE = 2 / 3
FIRST_CHANGE, CHANGE_EVERY, SEGMENT_FRAMES = 3, 6, 9
MIRRORED = ((False, False), (True, True), (True, False))
"""Of digit 1, 2 and 3: whether x and y count from the other side of the canvas."""
SPLIT_SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}


class MovingDigitsError(UserError, ValueError):
    """Settings that cannot be written, or a folder that holds something else."""


@dataclass(frozen=True, kw_only=True)
class MovingDigitsSettings:
    """What a video of the set depends on, besides its number."""

    setting: Setting = "A"
    num_frames: int = 9
    scenes: int = 1
    digits: int = 1
    canvas: int = 64
    fps: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.setting not in get_args(Setting):
            raise MovingDigitsError(f"setting={self.setting!r}: it must be A or B")
        if self.num_frames < SEGMENT_FRAMES:
            raise MovingDigitsError(
                f"num_frames={self.num_frames}: source, target and surrogate take {SEGMENT_FRAMES}"
            )
        if self.scenes < 1:
            raise MovingDigitsError(f"scenes={self.scenes}: a video shows at least 1")
        if not 1 <= self.digits <= len(MIRRORED):
            raise MovingDigitsError(
                f"digits={self.digits}: a scene has from 1 to {len(MIRRORED)}, each from a corner "
                "of its own"
            )
        apart = round(2 * START[1] + GLYPH_SIDE)
        if self.digits > 1 and self.canvas < apart:
            raise MovingDigitsError(
                f"canvas={self.canvas} with digits={self.digits}: they would overlap from the "
                f"start; use {apart} or more"
            )
        if self.canvas < START[1] + GLYPH_SIDE / 2:
            raise MovingDigitsError(
                f"canvas={self.canvas}: a digit may start at {START[1]:g} pixels and is "
                f"{GLYPH_SIDE} wide; use 24 or more"
            )
        if self.canvas % 2:
            raise MovingDigitsError(
                f"canvas={self.canvas}: H.264 halves the colour planes and needs an even side; "
                f"use {self.canvas + 1}"
            )
        if self.fps < 1 or self.seed < 0:
            raise MovingDigitsError(f"fps={self.fps}, seed={self.seed}: at least 1 and 0")


@dataclass(frozen=True, kw_only=True)
class Track:
    """Where one digit goes."""

    positions: NDArray[np.float64]
    """[num_frames, 2], x and y of the glyph's centre."""
    velocities: NDArray[np.float64]
    """[num_frames, 2], the step that led to each frame; the first row repeats as the second."""
    changes: NDArray[np.float64]
    """[changes, 2], added before frames 3, 9, 15, ... (counted from 0), zero on the other axis."""
    axes: NDArray[np.int64]
    """[changes], 0 for x and 1 for y."""


def probability_of_y(setting: Setting, digit: int) -> float:
    """Chance that the velocity along y is the one that changes."""
    return 0.5 if setting == "A" else 0.1 + 0.8 * digit / 9


def draw_track(rng: np.random.Generator, *, setting: Setting, digit: int, num_frames: int) -> Track:
    """Draw start, velocity and changes from the true distribution above."""
    start, velocity = rng.uniform(*START, size=2), rng.uniform(0, MAX_SPEED, size=2)
    velocities = np.tile(velocity, (num_frames, 1))
    changes, axes = [], []
    for frame in range(FIRST_CHANGE, num_frames, CHANGE_EVERY):
        axis = int(rng.random() < probability_of_y(setting, digit))
        change = np.zeros(2)
        change[axis] = rng.normal(0, CHANGE_SHARE * abs(velocity[axis]))
        velocity = velocity + change
        velocities[frame:] = velocity
        changes.append(change)
        axes.append(axis)
    steps = np.vstack([np.zeros(2), velocities[1:]])
    return Track(
        positions=start + steps.cumsum(axis=0),
        velocities=velocities,
        changes=np.array(changes),
        axes=np.array(axes),
    )


def mirrored(track: Track, number: int, canvas: int) -> Track:
    """The track of digit 1, 2 or 3 of a scene: as drawn, but from its own corner of the canvas."""
    sides = np.array(MIRRORED[number - 1])
    sign = np.where(sides, -1.0, 1.0)
    return Track(
        positions=np.where(sides, canvas - track.positions, track.positions),
        velocities=track.velocities * sign,
        changes=track.changes * sign,
        axes=track.axes,
    )


def draw_changes(
    rng: np.random.Generator,
    *,
    setting: Setting,
    digits: Int[NDArray[np.int64], " tracks"],
    velocities: Float[NDArray[np.float64], "tracks 2"],
    num_samples: int,
) -> Float[NDArray[np.float64], "tracks num_samples 2"]:
    """Changes of velocity in px/frame, drawn from their true distribution: the best forecast.

    Given digit and velocity, nothing more can be known about the next velocity than that it is the
    velocity plus such a change. One axis of each sample is zero.

    Raises:
        ValueError: where digits and velocities do not belong together.
    """
    if velocities.shape != (len(digits), 2):
        raise ValueError(
            f"{len(digits)} digits and velocities of shape {velocities.shape}: "
            f"each digit has one velocity along x and y, so give ({len(digits)}, 2)"
        )
    chances = np.array([probability_of_y(setting, int(digit)) for digit in digits])
    axes = (rng.random((len(digits), num_samples)) < chances[:, None]).astype(np.int64)
    deviations = CHANGE_SHARE * np.abs(np.take_along_axis(velocities, axes, axis=1))
    changes = np.zeros((*axes.shape, 2))
    np.put_along_axis(changes, axes[..., None], rng.normal(0, deviations)[..., None], axis=2)
    return changes


def load_glyphs() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Glyphs [1797, 16, 16] in 0..255 and their digits, enlarged by linear interpolation."""
    from sklearn.datasets import load_digits  # a second to import, which encoders need not wait

    source = load_digits()
    enlarge = _hat((np.arange(GLYPH_SIDE) + 0.5) / 2 - 0.5, GLYPH_SIDE // 2)
    return enlarge @ (source.images * (255 / 16)) @ enlarge.T, source.target.astype(np.int64)


def glyph_splits(num_glyphs: int, seed: int) -> NDArray[np.str_]:
    """The split of each glyph: no glyph is in two."""
    order = np.random.default_rng([seed, 0]).permutation(num_glyphs)
    bounds = np.cumsum([round(share * num_glyphs) for share in SPLIT_SHARES.values()])[:-1]
    splits = np.empty(num_glyphs, dtype="<U5")
    for name, glyphs in zip(SPLIT_SHARES, np.split(order, bounds), strict=True):
        splits[glyphs] = name
    return splits


def render(
    glyph: NDArray[np.float64], positions: NDArray[np.float64], canvas: int
) -> NDArray[np.uint8]:
    """Frames [num_frames, canvas, canvas] of a glyph at real-valued positions, cut at the border.

    Linear interpolation between pixels, so that a speed of a tenth of a pixel shows.
    """
    corners = positions - GLYPH_SIDE / 2
    columns, rows = (
        _hat(np.arange(canvas) - corners[:, axis, None], GLYPH_SIDE) for axis in (0, 1)
    )
    return np.rint(rows @ glyph @ columns.swapaxes(1, 2)).astype(np.uint8)


def render_together(
    glyphs: Sequence[NDArray[np.float64]], positions: Sequence[NDArray[np.float64]], canvas: int
) -> NDArray[np.uint8]:
    """Frames [num_frames, canvas, canvas] of several glyphs: the brightest at each pixel."""
    drawn = [render(glyph, place, canvas) for glyph, place in zip(glyphs, positions, strict=True)]
    frames: NDArray[np.uint8] = np.max(drawn, axis=0)
    return frames


def _hat(positions: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Weights [.., count] of linear interpolation at positions among `count` samples."""
    distances: NDArray[np.float64] = np.abs(positions[..., None] - np.arange(count))
    return np.maximum(0.0, 1 - distances)
