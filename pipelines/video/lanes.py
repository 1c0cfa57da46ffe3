"""Which window gives which rows: lanes, each with one window at a time.

At every tick each lane takes one pair of its window until all are used, then the next window of the
order. So what is taken within a tick comes from as many windows as there are lanes, and windows of
any length may follow each other.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
_READ_AHEAD = 8192
_MANY = 8
"""Windows that are taken faster by arrays than one by one."""


class Order(Protocol):
    """The endless order of windows."""

    def ahead(self, first: int, count: int) -> tuple[Integers, Integers]:
        """Video and number of pairs of some windows from number `first` on; at least of one."""


@dataclass(frozen=True, kw_only=True)
class Turns:
    """Windows that lanes take at one tick: pair i of each is taken at tick first + i."""

    first: int
    number: Integers
    lane: Integers
    end: Integers
    """The tick after its last pair's."""

    def __getitem__(self, chosen: NDArray[np.bool_]) -> "Turns":
        """Some of them."""
        return Turns(
            first=self.first,
            number=self.number[chosen],
            lane=self.lane[chosen],
            end=self.end[chosen],
        )


def turns(order: Order, *, num_lanes: int, num_videos: int, most_per_video: int) -> Iterator[Turns]:
    """Every turn from tick 0 on.

    Lanes that are free take the next windows, the lowest lane first. A window is passed over for
    as long as `most_per_video` lanes have windows of its video, and comes first after that.
    """
    queue = _Queue(order, num_videos, most_per_video)
    ends = np.zeros(num_lanes, np.int64)
    videos = np.full(num_lanes, num_videos)  # a video that nobody has
    tick = 0
    while True:
        free = np.flatnonzero(ends == tick)
        queue.give_back(videos[free])
        number, video, pairs = queue.take(len(free))
        videos[free], ends[free] = video, tick + pairs
        yield Turns(first=tick, number=number, lane=free, end=ends[free])
        tick = int(ends.min())


class _Queue:
    """The windows still to come, those passed over among them."""

    def __init__(self, order: Order, num_videos: int, most: int) -> None:
        self._order, self._most = order, most
        self._in_lanes = np.zeros(num_videos + 1, np.int64)
        self._next, self._at = 0, 0
        self._ahead: tuple[Integers, Integers] = (np.zeros(0, np.int64), np.zeros(0, np.int64))
        self._passed: dict[int, deque[tuple[int, int]]] = {}
        """Number and pairs of windows passed over, by video."""
        self._may_come: list[tuple[int, int]] = []
        """A heap: the first window passed over, and video, of those that may come again."""

    def give_back(self, videos: Integers) -> None:
        """Lanes have used up windows of these videos."""
        np.subtract.at(self._in_lanes, videos, 1)
        if self._passed:
            for video in videos.tolist():
                self._offer(video)

    def take(self, count: int) -> tuple[Integers, Integers, Integers]:
        """Number, video and pairs of the next windows."""
        if count >= _MANY and not self._passed and (taken := self._take_at_once(count)):
            return taken
        windows = [self._take_one() for _ in range(count)]
        number, video, pairs = np.asarray(windows, np.int64).T
        return number, video, pairs

    def _take_at_once(self, count: int) -> tuple[Integers, Integers, Integers] | None:
        """The next windows of the order, if all of them may come."""
        self._read_ahead()
        video, pairs = (each[self._at : self._at + count] for each in self._ahead)
        if len(video) < count:
            return None
        found, times = np.unique(video, return_counts=True)
        if (self._in_lanes[found] + times > self._most).any():
            return None
        self._in_lanes[found] += times
        first = self._next - len(self._ahead[0]) + self._at
        self._at += count
        return np.arange(first, first + count), video, pairs

    def _take_one(self) -> tuple[int, int, int]:
        while self._may_come:
            number, video = heapq.heappop(self._may_come)
            passed = self._passed.get(video)
            if passed and passed[0][0] == number and self._in_lanes[video] < self._most:
                pairs = passed.popleft()[1]
                if not passed:
                    del self._passed[video]
                self._in_lanes[video] += 1
                self._offer(video)
                return number, video, pairs
        while True:
            self._read_ahead()
            number = self._next - len(self._ahead[0]) + self._at
            video, pairs = (int(each[self._at]) for each in self._ahead)
            self._at += 1
            if self._in_lanes[video] < self._most:
                self._in_lanes[video] += 1
                return number, video, pairs
            self._passed.setdefault(video, deque()).append((number, pairs))

    def _offer(self, video: int) -> None:
        """Let the first window passed over of a video come, if it may."""
        passed = self._passed.get(video)
        if passed and self._in_lanes[video] < self._most:
            heapq.heappush(self._may_come, (passed[0][0], video))

    def _read_ahead(self) -> None:
        if self._at == len(self._ahead[0]):
            self._ahead = self._order.ahead(self._next, _READ_AHEAD)
            self._next, self._at = self._next + len(self._ahead[0]), 0
