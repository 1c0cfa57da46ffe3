"""A video in a bucket or on the web, read by ranges: what a window needs, at once, into memory.

The index knows where opening the container reads and where the groups of pictures lie. A window
fetches both, nearby ranges joined, several at once; what opening reads is kept for the next window
of the same video. What turns out to be missing is fetched when it is read, so that frames never
depend on what the index knows.
"""

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from threading import Lock
from typing import Any

from pipelines.storage.objects import Stamp, opened, read_range, stamp_of
from pipelines.storage.remote import StorageError
from pipelines.video.frames import Access, DecodeError

Range = tuple[int, int]
"""First byte, and the one after the last."""

JOINED_BYTES = 2**16
"""Ranges closer to each other are fetched together: a request costs more."""
BEFORE_BYTES, AFTER_BYTES = 2**10, 2**14
"""What a demuxer reads around the packets that are asked for."""
STREAMS, AFTER_KEY_FRAME_BYTES = (".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".vob"), 2**18
"""Formats in which a packet ends where the next has been read, which is a key frame."""
MISSING_BYTES, MOST_MISSING_BYTES = 2**18, 2**23
"""What is fetched when a byte is missing; it doubles while a file is read on in order."""
KEPT_BYTES = 2**25
"""What a file that is read in order keeps in memory of that."""
HEADER_CACHE_BYTES = 2**26
"""What opening containers has read, kept for a process."""
CONNECTIONS = 16


class RemoteFile:
    """A video to be opened by PyAV, as a file that can be read and sought in.

    Attributes:
        name: the URI; FFmpeg takes the suffix as a hint.
        requests: made so far.
        bytes_fetched: so far.
    """

    def __init__(self, uri: str, access: Access | None = None) -> None:
        """Name the object and, if it is known, how it was when it was indexed; asks for nothing."""
        self.name = uri
        self.requests = self.bytes_fetched = 0
        self._indexed = access.stamp if access else None
        self._header = access.header_bytes if access else ()
        self._size = self._indexed.size_bytes if self._indexed else -1
        self._blocks = _Blocks()
        self._at = self._unverified = 0
        self._more = MISSING_BYTES
        self._next: tuple[Range, Future[bytes]] | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def size(self) -> int:
        """Bytes; asked for if the index does not say.

        Raises:
            FileNotFoundError: if there is no such object.
            StorageError: if it cannot be reached.
        """
        if self._size < 0:
            self.requests += 1
            self._size = stamp_of(self.name).size_bytes
        return self._size

    def fetch(self, wanted: Sequence[Range]) -> None:
        """Fetch the header and further ranges, and see that the object is still the one indexed.

        Raises:
            FileNotFoundError: if the object is gone.
            StorageError: if it cannot be read.
            DecodeError: if it changed since it was indexed.
        """
        header = _ranges(self._header)
        known = _headers.of(self.name, self._indexed)
        for start, data in known:
            self._blocks.add(start, data)
        missing = self._blocks.missing([*header, *wanted])
        try:
            self.requests += opened(self.name)
            futures = [(start, self._submit(start, end)) for start, end in missing]
            for start, future in futures:
                self._blocks.add(start, future.result())
            self.verify()
        except (StorageError, FileNotFoundError):
            self.verify(anew=True)  # a range behind the end of another object fails, too
            raise
        if header and not known:
            parts = [(start, self._blocks.copy(start, end)) for start, end in header]
            _headers.keep(self.name, self._indexed, parts)

    def verify(self, *, anew: bool = False) -> None:
        """After the bytes came: see that they are those of the object that was indexed.

        Args:
            anew: also where nothing came since it was last seen.

        Raises:
            FileNotFoundError: if the object is gone.
            StorageError: if the service cannot be asked.
            DecodeError: if size or time of change are others.
        """
        if self._indexed is None or not (self._unverified or anew):
            return
        self.requests += 1
        now = stamp_of(self.name)
        if now != self._indexed:
            _headers.forget(self.name)
            raise DecodeError(self.name, "changed since it was indexed: index it again")
        self._unverified = 0

    def read(self, num_bytes: int = -1) -> bytes:
        """Some of the next bytes, b"" at the end; fewer than asked for where another block begins.

        Raises:
            FileNotFoundError: if there is no such object.
            StorageError: if it cannot be read.
        """
        left = self.size - self._at
        num_bytes = left if num_bytes < 0 else min(num_bytes, left)
        if num_bytes <= 0:
            return b""
        data = self._blocks.read(self._at, num_bytes)
        if data is None:
            self._fetch_more(num_bytes)
            data = self._blocks.read(self._at, num_bytes)
            assert data is not None
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte, as files do."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """Number of the next byte."""
        return self._at

    def _fetch_more(self, num_bytes: int) -> None:
        """Fetch from here on; ahead of the reader while it reads on in order."""
        start = self._at
        if self._next and self._next[0][0] == start:
            (start, end), future = self._next
            self._next = None
        else:
            in_order = self._blocks.ends_at(start)
            self._more = min(2 * self._more, MOST_MISSING_BYTES) if in_order else MISSING_BYTES
            end = self._blocks.free_until(start, min(self.size, start + max(num_bytes, self._more)))
            future = self._submit(start, end)
        if self._more == MOST_MISSING_BYTES and end < self.size:
            ahead = (end, self._blocks.free_until(end, min(self.size, end + self._more)))
            if ahead[0] < ahead[1]:
                self._next = ahead, self._submit(*ahead)
        self._blocks.add(start, future.result(), may_go=True)

    def _submit(self, start: int, end: int) -> "Future[bytes]":
        self.requests += 1
        self.bytes_fetched += end - start
        self._unverified += 1
        return _connections().submit(read_range, self.name, start, end)


def window_ranges(path: str, access: Access, first: int, num_frames: int) -> list[Range]:
    """Where the groups of pictures of a window lie; empty where the index does not know."""
    if not len(access.key_bytes) or access.stamp is None:
        return []
    size = access.stamp.size_bytes
    entry, end = access.entry(first), access.group_end(first + num_frames - 1)
    key_frames = list(access.key_frames)
    start_byte = int(access.key_bytes[key_frames.index(entry)])
    end_byte = size if end is None else int(access.key_bytes[key_frames.index(end)])
    if end_byte <= start_byte:
        return []
    after = AFTER_KEY_FRAME_BYTES if path.lower().endswith(STREAMS) else AFTER_BYTES
    return [(max(0, start_byte - BEFORE_BYTES), min(size, end_byte + after))]


def joined(ranges: Iterable[Range], *, within: int = JOINED_BYTES) -> list[Range]:
    """The same bytes in fewer ranges, in order: those that lie so close together are one."""
    found: list[Range] = []
    for start, end in sorted(ranges):
        if found and start - found[-1][1] <= within:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found


def _ranges(flat: Any) -> list[Range]:
    return [(int(a), int(b)) for a, b in zip(flat[::2], flat[1::2], strict=True)]


class _Blocks:
    """Parts of a file in memory, which do not overlap, by their first byte."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._data: dict[int, bytes] = {}
        self._may_go: OrderedDict[int, None] = OrderedDict()
        self._bytes_that_may_go = 0

    def add(self, start: int, data: bytes, *, may_go: bool = False) -> None:
        """Take a part; of those that may go, the oldest go when they are too many."""
        at = bisect_right(self._starts, start)
        self._starts.insert(at, start)
        self._data[start] = data
        if may_go:
            self._may_go[start] = None
            self._bytes_that_may_go += len(data)
        while self._bytes_that_may_go > KEPT_BYTES and len(self._may_go) > 1:
            oldest, _ = self._may_go.popitem(last=False)
            self._bytes_that_may_go -= len(self._data.pop(oldest))
            self._starts.remove(oldest)

    def read(self, start: int, num_bytes: int) -> bytes | None:
        """Up to so many bytes from one on; None where it is missing."""
        found = self._holding(start)
        if found is None:
            return None
        return self._data[found][start - found : start - found + num_bytes]

    def missing(self, ranges: Iterable[Range]) -> list[Range]:
        """What is not here of some ranges, those joined that lie close together."""
        gaps: list[Range] = []
        for start, end in joined(ranges, within=0):
            while start < end:
                found = self._holding(start)
                if found is not None:
                    start = found + len(self._data[found])
                    continue
                until = self.free_until(start, end)
                last = gaps[-1][1] if gaps else -JOINED_BYTES - 1
                if start - last <= JOINED_BYTES and self.free_until(last - 1, start) == start:
                    gaps[-1] = gaps[-1][0], until
                else:
                    gaps.append((start, until))
                start = until
        return gaps

    def free_until(self, start: int, end: int) -> int:
        """The first byte from one on that is here, or the end."""
        at = bisect_right(self._starts, start)
        return min(end, self._starts[at]) if at < len(self._starts) else end

    def ends_at(self, end: int) -> bool:
        """Whether a part ends there."""
        return end > 0 and self._holding(end - 1) is not None

    def copy(self, start: int, end: int) -> bytes:
        """The bytes of a range that is here."""
        parts = []
        while start < end:
            part = self.read(start, end - start)
            assert part is not None
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    def _holding(self, byte: int) -> int | None:
        at = bisect_right(self._starts, byte) - 1
        if at < 0:
            return None
        start = self._starts[at]
        return start if byte < start + len(self._data[start]) else None


class _Headers:
    """What opening videos has read, the latest used of a process."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Stamp | None, list[tuple[int, bytes]]]] = OrderedDict()
        self._num_bytes = 0
        self._lock = Lock()

    def of(self, uri: str, stamp: Stamp | None) -> list[tuple[int, bytes]]:
        """Parts of the object as it was indexed, by their first byte."""
        with self._lock:
            found = self._kept.get(uri)
            if found is None or found[0] != stamp:
                return []
            self._kept.move_to_end(uri)
            return found[1]

    def keep(self, uri: str, stamp: Stamp | None, parts: list[tuple[int, bytes]]) -> None:
        """Keep an object's parts for later; the oldest go."""
        self.forget(uri)
        with self._lock:
            self._kept[uri] = stamp, parts
            self._num_bytes += _num_bytes(parts)
            while self._num_bytes > HEADER_CACHE_BYTES:
                _, (_, oldest) = self._kept.popitem(last=False)
                self._num_bytes -= _num_bytes(oldest)

    def forget(self, uri: str) -> None:
        """An object that changed."""
        with self._lock:
            found = self._kept.pop(uri, None)
            self._num_bytes -= _num_bytes(found[1]) if found else 0


def _num_bytes(parts: list[tuple[int, bytes]]) -> int:
    return sum(len(data) for _, data in parts)


_headers = _Headers()


@cache
def _connections() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="video-bytes")
