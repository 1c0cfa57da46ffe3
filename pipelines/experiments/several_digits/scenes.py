"""What is known of the digits of a scene, and the clips that it would have shown otherwise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray

from pipelines.experiments.digits import VELOCITY, Split
from pipelines.experiments.moving_digits.trial import CHANGE
from pipelines.sources.digit_motion import FIRST_CHANGE, draw_changes, load_glyphs, render_together
from pipelines.sources.moving_digits import column_of

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Factors of the digits of some pairs, at the first frame of x, as `sources.moving_digits` has.

    Attributes:
        digit: class of each digit.
        glyph: its number among all glyphs.
        position: of its centre, pixels.
        velocity: in x, px/frame.
        change: of its velocity, from x to x+.
    """

    digit: Int[Array, "pairs digits"]
    glyph: Int[Array, "pairs digits"]
    position: Float[Array, "pairs digits 2"]
    velocity: Float[Array, "pairs digits 2"]
    change: Float[Array, "pairs digits 2"]

    @classmethod
    def of(cls, split: Split, num_digits: int, num_pairs: int | None = None) -> "Scenes":
        """Of the first pairs of a split; None: of all."""

        def factors(*names: str) -> Array:
            every = [_of_digit(split, names, number) for number in range(1, num_digits + 1)]
            return np.stack(every, axis=1)[:num_pairs]

        return cls(
            digit=factors("digit")[..., 0].astype(int),
            glyph=factors("glyph")[..., 0].astype(int),
            position=factors("position_x", "position_y"),
            velocity=factors(*VELOCITY),
            change=factors(*CHANGE),
        )

    @property
    def next_velocity(self) -> Float[Array, "pairs digits 2"]:
        """In x+."""
        return self.velocity + self.change

    def redrawn(
        self, which: int, num_samples: int, rng: np.random.Generator
    ) -> Float[Array, "pairs samples digits 2"]:
        """The changes as they came, but for one digit's, drawn from the true distribution."""
        changes = np.repeat(self.change[:, None], num_samples, axis=1)
        changes[:, :, which] = draw_changes(
            rng,
            setting="A",
            digits=self.digit[:, which],
            velocities=self.velocity[:, which],
            num_samples=num_samples,
        )
        return changes

    def clips_after(
        self, changes: Float[Array, "pairs samples digits 2"], num_frames: int, canvas: int
    ) -> UInt8[Array, "pairs samples frames canvas canvas 1"]:
        """x+ as it would look after these changes."""
        glyphs, _ = load_glyphs()
        before = self.position + (FIRST_CHANGE - 1) * self.velocity
        velocity = self.velocity[:, None] + changes
        times = np.arange(1, num_frames + 1)[:, None]
        clips = np.empty((*changes.shape[:2], num_frames, canvas, canvas, 1), np.uint8)
        for i, j in np.ndindex(*changes.shape[:2]):
            places = [
                start + times * speed
                for start, speed in zip(before[i], velocity[i, j], strict=True)
            ]
            clips[i, j, ..., 0] = render_together(list(glyphs[self.glyph[i]]), places, canvas)
        return clips


def _of_digit(split: Split, names: Sequence[str], number: int) -> Array:
    columns = [column_of(name, number) for name in names]
    values: Array = split.factors[columns].to_numpy(float)
    return values
