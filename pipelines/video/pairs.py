"""From decoded windows to batches of pairs: cutting by index, beside the trainer."""

from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.video.batch import DecodedWindow, Frames, PairBatch, StreamCounts

if TYPE_CHECKING:  # the records here also serve where no index can be read
    from pipelines.video.schedule import Schedule, Window


class TooManyFailuresError(RuntimeError):
    """More windows failed to decode than the config allows."""


class PairCutter:
    """Holds the shuffle window and cuts each global batch's pairs of one worker from it."""

    def __init__(self, schedule: "Schedule", *, rank: int = 0, num_workers: int = 1) -> None:
        """Take the rows of one of `num_workers`."""
        self.schedule, self.rank, self.num_workers = schedule, rank, num_workers
        self.counts = StreamCounts()
        self._held: dict[int, tuple[Window, Frames | None]] = {}

    def batches(
        self, windows: Generator[DecodedWindow, None, None], batches: range
    ) -> Generator[PairBatch, None, None]:
        """Cut batch after batch from windows that arrive in the schedule's order."""
        with closing(windows):
            for batch in batches:
                shuffle_window = self.schedule.worker_windows(
                    range(batch, batch + 1), rank=self.rank, num_workers=self.num_workers
                )
                for number in shuffle_window:
                    if number not in self._held:
                        self._accept(next(windows), number)
                yield self._cut(shuffle_window, batch)
                for number in [
                    n for n in self._held if n < self.schedule.shuffle_window(batch + 1).start
                ]:
                    del self._held[number]

    def _accept(self, decoded: DecodedWindow, expected: int) -> None:
        if decoded.number != expected:
            raise RuntimeError(f"window {decoded.number} came where {expected} was due")
        window, counts = self.schedule.window(expected), self.counts
        counts.windows += 1
        counts.frames_decoded += decoded.decoded_frames
        if decoded.frames is None:
            self._skip(window, decoded.error or "no frames")
        else:
            counts.frames_shipped += len(decoded.frames)
        self._held[expected] = window, decoded.frames

    def _skip(self, window: "Window", reason: str) -> None:
        counts, allowed = self.counts, self.schedule.config.max_failed_share
        counts.windows_failed += 1
        path = str(self.schedule.index.path[window.video])
        if path not in counts.failures:
            counts.failures[path] = reason
            print(f"skipped, others take its place: {path}: {reason}", flush=True)
        if counts.windows_failed > max(1, allowed * max(100, counts.windows)):
            raise TooManyFailuresError(
                f"{counts.windows_failed} of {counts.windows} windows failed to decode, more than "
                f"data.max_failed_share={allowed:g}: "
                + "; ".join(f"{p}: {r}" for p, r in counts.failures.items())
                + ". Index the videos again, or allow more."
            )

    def _cut(self, shuffle_window: range, batch: int) -> PairBatch:
        schedule, config = self.schedule, self.schedule.config
        good = [n for n in shuffle_window if self._held[n][1] is not None]
        if not good:
            raise TooManyFailuresError(f"no window of batch {batch} could be decoded")
        views: dict[str, list[Frames]] = {name: [] for name in config.clips}
        rows, videos, begins = [], [], []
        # In the order of the rows, as a batch over all workers has them.
        for turn, number in enumerate(sorted(shuffle_window, key=lambda n: schedule.row(n, batch))):
            failed = self._held[number][1] is None
            source = good[turn % len(good)] if failed else number
            window, frames = self._held[source]
            assert frames is not None
            pair = schedule.pair_in_window(source, batch)
            rows.append(-1 if failed else schedule.row(number, batch))
            videos.append(window.video)
            start, gap = int(window.starts[pair]), int(window.gaps[pair])
            begins.append(window.first + start + config.clips.index("context") * gap)
            square = _crop(frames, config.frame_size, window.crops[pair])
            for place, clips in enumerate(views.values()):
                at = start + place * gap
                clips.append(square[at : at + config.frames_per_clip])
        cut = {name: np.stack(clips) for name, clips in views.items()}
        return PairBatch(
            row=np.asarray(rows, np.int64),
            video=np.asarray(videos, np.int64),
            start=np.asarray(begins, np.int64),
            context=cut["context"],
            target=cut.get("target", cut["context"]),
            surrogate=cut.get("surrogate"),
            context_surrogate=cut.get("context_surrogate"),
        )


def _crop(frames: Frames, side: int, place: NDArray[np.float64]) -> Frames:
    """The square of `side` at `place` in [0, 1] along height and width (no copy)."""
    height, width = frames.shape[1:3]
    top, left = (round((n - side) * p) for n, p in zip((height, width), place, strict=True))
    return frames[:, top : top + side, left : left + side]
