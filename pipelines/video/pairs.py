"""From decoded windows to batches of pairs: cutting by index, beside the trainer."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.video.batch import DecodedWindow, Frames, PairBatch, StreamCounts

if TYPE_CHECKING:  # the records here also serve where no index can be read
    from pipelines.video.lanes import Turns
    from pipelines.video.schedule import Schedule, Window


class TooManyFailuresError(RuntimeError):
    """More windows failed to decode than the config allows."""


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A window while a lane has it, from tick `first` to before tick `end`."""

    window: "Window"
    frames: Frames | None
    first: int
    end: int


class PairCutter:
    """Holds the windows of one worker's lanes and cuts its pairs of each global batch from them."""

    def __init__(self, schedule: "Schedule", *, rank: int = 0, num_workers: int = 1) -> None:
        """Take the rows of one of `num_workers`."""
        self.schedule, self.rank, self.num_workers = schedule, rank, num_workers
        self.counts = StreamCounts()
        self._held: dict[int, list[_Held]] = {}
        """The windows of each lane that have pairs of the next batch, in order."""

    def batches(
        self, windows: Generator[DecodedWindow, None, None], batches: range
    ) -> Generator[PairBatch, None, None]:
        """Cut batch after batch from windows that arrive in the schedule's order."""
        every = self.schedule.turns(batches, rank=self.rank, num_workers=self.num_workers)
        with closing(windows):
            turns = next(every, None)
            for batch in batches:
                ticks = self.schedule.ticks(range(batch, batch + 1))
                while turns is not None and turns.first < ticks.stop:
                    self._take(turns, windows, ticks.start)
                    turns = next(every, None)
                pairs = self._cut(ticks)
                self._held = {
                    lane: [held for held in several if held.end > ticks.stop]
                    for lane, several in self._held.items()
                }
                yield pairs

    def _take(self, turns: "Turns", windows: Iterator[DecodedWindow], tick: int) -> None:
        for number, lane, end in zip(
            turns.number.tolist(), turns.lane.tolist(), turns.end.tolist(), strict=True
        ):
            window, frames = self._accept(next(windows), number)
            self.counts.pairs_due += 0 if frames is None else end - max(turns.first, tick)
            held = _Held(window=window, frames=frames, first=turns.first, end=end)
            self._held.setdefault(lane, []).append(held)

    def _accept(self, decoded: DecodedWindow, expected: int) -> tuple["Window", Frames | None]:
        if decoded.number != expected:
            raise RuntimeError(f"window {decoded.number} came where {expected} was due")
        window, counts = self.schedule.window(expected), self.counts
        counts.windows += 1
        counts.frames_decoded += decoded.decoded_frames
        counts.requests += decoded.requests
        counts.bytes_fetched += decoded.bytes_fetched
        if decoded.frames is None:
            self._skip(window, decoded.error or "no frames")
        else:
            counts.frames_shipped += len(decoded.frames)
        return window, decoded.frames

    def _skip(self, window: "Window", reason: str) -> None:
        self.counts.windows_failed += 1
        note_failure(
            self.counts,
            str(self.schedule.index.path[window.video]),
            reason,
            allowed=self.schedule.config.max_failed_share,
            units="windows",
            remedy="Index the videos again, or allow more.",
        )

    def _cut(self, ticks: range) -> PairBatch:
        schedule, config = self.schedule, self.schedule.config
        lanes = sorted(self._held.items())
        good = [held for _, several in lanes for held in several if held.frames is not None]
        if not good:
            raise TooManyFailuresError(
                f"no window of rows {schedule.row(0, ticks.start)} and on could be decoded"
            )
        views: dict[str, list[Frames]] = {name: [] for name in config.clips}
        rows, videos, begins = [], [], []
        # In the order of the rows, as a batch over all workers has them.
        due = [
            (lane, tick, next(held for held in several if held.first <= tick < held.end))
            for tick in ticks
            for lane, several in lanes
        ]
        for turn, (lane, tick, own) in enumerate(due):
            failed = own.frames is None
            held = good[turn % len(good)] if failed else own
            window, frames = held.window, held.frames
            pair = min(max(tick, held.first), held.end - 1) - held.first
            assert frames is not None
            rows.append(-1 if failed else schedule.row(lane, tick))
            videos.append(window.video)
            start, gap = int(window.starts[pair]), int(window.gaps[pair])
            begins.append(window.first + start + config.clips.index("context") * gap)
            square = cropped(frames, config.frame_size, window.crops[pair])
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
            further=np.stack([cut[name] for name in config.further]) if config.further else None,
        )


def note_failure(
    counts: StreamCounts, name: str, reason: str, *, allowed: float, units: str, remedy: str
) -> None:
    """Name what failed, once; it is counted already.

    Raises:
        TooManyFailuresError: if more failed than the share that is allowed.
    """
    if name not in counts.failures:
        counts.failures[name] = reason
        print(f"skipped, others take its place: {name}: {reason}", flush=True)
    if counts.windows_failed > max(1, allowed * max(100, counts.windows)):
        raise TooManyFailuresError(
            f"{counts.windows_failed} of {counts.windows} {units} failed to decode, more than "
            f"data.max_failed_share={allowed:g}: "
            + "; ".join(f"{p}: {r}" for p, r in counts.failures.items())
            + f". {remedy}"
        )


def central(frames: Frames, side: int) -> Frames:
    """The square of `side` in the middle (no copy)."""
    return cropped(frames, side, np.full(2, 0.5))


def cropped(frames: Frames, side: int, place: NDArray[np.float64]) -> Frames:
    """The square of `side` at `place` in [0, 1] along height and width (no copy)."""
    height, width = frames.shape[1:3]
    top, left = (round((n - side) * p) for n, p in zip((height, width), place, strict=True))
    return frames[:, top : top + side, left : left + side]
