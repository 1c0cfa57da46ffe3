"""Random streams by position: each is made without drawing those before it."""

import numpy as np

TILE_ORDER, WINDOW = 0, 1
"""What a stream is for, a part of its counter."""


def stream_of(seed: int, purpose: int, position: int) -> np.random.Generator:
    """A counter-based stream: a pure function of its arguments."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, purpose, position, 0]))
