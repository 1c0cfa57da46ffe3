"""Opening videos by PyAV, wherever they lie, and what opening reads of them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av

from pipelines.storage.objects import is_remote
from pipelines.video.remote_file import RemoteFile, joined

Source = str | Path | RemoteFile
"""A path, the URI of an object, or an object of which some bytes are in memory already."""
MOST_HEADER_BYTES = 2**24
SEEKS_BY_BYTE = ("mpegts", "mpeg")
"""Formats without a table of their packets: FFmpeg looks for a time by trying here and there."""


def source_of(source: Source) -> Source:
    """The file, or the object at a URI."""
    if isinstance(source, RemoteFile) or not is_remote(str(source)):
        return source
    return RemoteFile(str(source))


@contextmanager
def open_container(source: Source) -> Iterator[Any]:
    """A video opened by PyAV.

    Raises:
        FFmpegError: if it is no video.
        FileNotFoundError: if there is no such file or object.
        StorageError: if an object cannot be read.
    """
    source = source_of(source)
    if isinstance(source, RemoteFile):
        source.seek(0)
    with av.open(source if isinstance(source, RemoteFile) else str(source)) as container:
        yield container


@contextmanager
def opened_bytes(source: Source) -> Iterator[Any]:
    """The bytes of a file or an object, to be read from the start."""
    source = source_of(source)
    if isinstance(source, RemoteFile):
        source.seek(0)
        yield source
        return
    with open(source, "rb") as file:
        yield file


def seek_to(container: Any, stream: Any, time: int, byte: int | None) -> None:
    """Go to a key frame by its time, or by its place in the file, where that is sooner found."""
    if byte is not None and container.format.name in SEEKS_BY_BYTE:
        container.seek(byte, unsupported_byte_offset=True)
    else:
        container.seek(time, stream=stream)


def header_ranges(source: Source, stream: int, time: int | None, byte: int | None) -> list[int]:
    """What is read of a file before its first packet: by opening it, and by a first seek.

    Args:
        source: the file.
        stream: number of the video stream.
        time: of a later key frame, in units of the stream; None: nothing is sought.
        byte: where its packet begins, likewise.

    Returns:
        Ranges in order, close ones joined: start, end, start, end, …; none where they are so many
        bytes that each window had better read what it needs.
    """
    with opened_bytes(source) as file:
        traced = _Traced(file, str(source))
        with av.open(traced) as container:
            if time is not None:
                seek_to(container, container.streams[stream], time, byte)
    ranges = joined(traced.ranges)
    if sum(end - start for start, end in ranges) > MOST_HEADER_BYTES:
        return []
    return [edge for found in ranges for edge in found]


class _Traced:
    """A file that notes which of its bytes are read."""

    def __init__(self, file: Any, name: str) -> None:
        self._file, self.name = file, name
        self.ranges: list[tuple[int, int]] = []

    def read(self, num_bytes: int) -> bytes:
        start = self._file.tell()
        data: bytes = self._file.read(num_bytes)
        if data:
            self.ranges.append((start, start + len(data)))
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())
