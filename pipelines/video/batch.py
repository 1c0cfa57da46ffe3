"""What flows from the decoders to the trainer: windows of frames, batches of pairs, counts."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class DecodedWindow:
    """The frames of one window, uint8 [frames, height, width, channels], or why there are none."""

    number: int
    frames: Frames | None
    decoded_frames: int
    error: str | None = None
    requests: int = 0
    """Made for it, of a video that is an object."""
    bytes_fetched: int = 0


@dataclass(frozen=True, kw_only=True)
class PairBatch:
    """One worker's share of a global batch, as uint8 [batch, frames, height, width, channels].

    `row` is each pair's place in the run, -1 for a pair that stands in for one whose window
    failed; `video` numbers the videos of the schedule. Where pairs are augmentations of one clip
    (`data.views="augmentation"`), the target is that clip and there is no surrogate. `further` are
    the moments of chains after the target, [moments, batch, ...], and `negative` is x- of triplets.
    """

    row: NDArray[np.int64]
    video: NDArray[np.int64]
    start: NDArray[np.int64]
    context: Frames
    target: Frames
    surrogate: Frames | None
    context_surrogate: Frames | None = None
    further: Frames | None = None
    negative: Frames | None = None


@dataclass(kw_only=True)
class StreamCounts:
    """What went through a stream so far."""

    windows: int = 0
    pairs_due: int = 0
    """Pairs of those windows, given already or still to come."""
    frames_decoded: int = 0
    frames_shipped: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    """Path to reason, for each video of which a window failed."""
    windows_failed: int = 0
    requests: int = 0
    bytes_fetched: int = 0

    @property
    def unused_share(self) -> float:
        """Share of decoded frames that no window holds: those between key frame and window."""
        return 1 - self.frames_shipped / max(1, self.frames_decoded)

    @property
    def pairs_per_decoded_frame(self) -> float:
        """Pairs of the windows so far for each frame that was decoded for them."""
        return self.pairs_due / max(1, self.frames_decoded)

    def metrics(self) -> dict[str, float]:
        """The counts as metrics to log."""
        return {
            "data/decoded_unused_share": self.unused_share,
            "data/pairs_per_decoded_frame": self.pairs_per_decoded_frame,
            "data/windows_failed": float(self.windows_failed),
            "data/requests_per_window": self.requests / max(1, self.windows),
            "data/bytes_fetched_per_pair": self.bytes_fetched / max(1, self.pairs_due),
        }
