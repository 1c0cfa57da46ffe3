"""Moving digits with an injected event: pairs of clips whose true distribution is known.

x is frames 1-3 of a scene as `digit_motion` has it, x+ frames 4-6. What happens in between is of
the true distribution, or a change that it excludes, or one that it makes likely.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.sources.digit_motion import (
    CHANGE_SHARE,
    MAX_SPEED,
    START,
    glyph_splits,
    load_glyphs,
    render,
)

CANVAS, CLIP = 64, 3

UNLIKELY = {
    "jump": "law",
    "reversal": "law, fast",
    "cut": "law",
    "swapped digit": "law",
    "velocity": "law, fast",
    "slow axis": "fast axis",
}
"""Event that the law excludes → the moments that it is to be told from. jump: by 8 to 16 pixels.
reversal: of both axes. cut: x+ is of another video. swapped digit: of another class, on the same
way. velocity: both axes change by three standard deviations. slow axis: the axis of 0.2 to 0.5
px/frame speeds up by 1.5 px/frame, five to eleven standard deviations; fast axis: the same change
of the other axis, of 2.2 to 2.8 px/frame, less than one. Fast: 1 px/frame and more along both."""
LIKELY = {"large change": "no change", "fast motion": "slow motion"}
"""What the law makes likely → what it is to be as little surprising as. large change: of one
standard deviation and more, as a third of all changes are. fast motion: 2.25 to 3 px/frame along
both axes against 0 to 0.75, and no change in either."""
KINDS = tuple(dict.fromkeys([*UNLIKELY, *UNLIKELY.values(), *LIKELY, *LIKELY.values()]))


@dataclass(frozen=True, kw_only=True)
class EventPairs:
    """uint8 [pairs, 3, 64, 64, 1] of x and of x+."""

    context: NDArray[np.uint8]
    target: NDArray[np.uint8]


def event_pairs(kind: str, num_pairs: int, rng: np.random.Generator, *, split: str) -> EventPairs:
    """Pairs of one of KINDS, each of another glyph of the split and another motion."""
    glyphs, digits = load_glyphs()
    pool = np.flatnonzero(glyph_splits(len(digits), 0) == split)
    before = rng.choice(pool, num_pairs)
    after, jump, rows = before, np.zeros((num_pairs, 2)), np.arange(num_pairs)
    start = rng.uniform(*START, size=(num_pairs, 2))
    low, high = {
        "law, fast": (1.0, MAX_SPEED),
        "reversal": (1.0, MAX_SPEED),
        "velocity": (1.0, MAX_SPEED),
        "fast motion": (2.25, MAX_SPEED),
        "slow motion": (0.0, 0.75),
    }.get(kind, (0.0, MAX_SPEED))
    velocity = rng.uniform(low, high, size=(num_pairs, 2))
    axis = rng.integers(0, 2, num_pairs)
    if kind in ("slow axis", "fast axis"):
        velocity[rows, axis] = rng.uniform(0.2, 0.5, num_pairs)
        velocity[rows, 1 - axis] = rng.uniform(2.2, 2.8, num_pairs)
    deviations = rng.normal(size=num_pairs)
    if kind == "large change":
        drawn = rng.normal(size=40 * num_pairs)
        deviations = drawn[np.abs(drawn) > 1][:num_pairs]
    change = np.zeros((num_pairs, 2))
    change[rows, axis] = deviations * CHANGE_SHARE * velocity[rows, axis]
    if kind in ("no change", "fast motion", "slow motion"):
        change[:] = 0
    elif kind == "jump":
        angle, length = rng.uniform(0, np.pi / 2, num_pairs), rng.uniform(8, 16, num_pairs)
        jump = np.stack([np.cos(angle), np.sin(angle)], axis=1) * length[:, None]
    elif kind == "reversal":
        change = -2 * velocity
    elif kind == "velocity":
        change = rng.choice([-3.0, 3.0], size=(num_pairs, 2)) * CHANGE_SHARE * velocity
    elif kind == "swapped digit":
        after = np.array([rng.choice(pool[digits[pool] != digits[g]]) for g in before])
    elif kind in ("slow axis", "fast axis"):
        change = np.zeros((num_pairs, 2))
        change[rows, axis if kind == "slow axis" else 1 - axis] = 1.5
    context, target = [], []
    steps = np.arange(CLIP)[:, None]
    for i in range(num_pairs):
        here = start[i] + steps * velocity[i]
        there = here[-1] + jump[i] + (steps + 1) * (velocity[i] + change[i])
        context.append(render(glyphs[before[i]], here, CANVAS))
        target.append(render(glyphs[after[i]], there, CANVAS))
    if kind == "cut":
        target = list(event_pairs("law", num_pairs, rng, split=split).target[..., 0])
    return EventPairs(context=np.stack(context)[..., None], target=np.stack(target)[..., None])
