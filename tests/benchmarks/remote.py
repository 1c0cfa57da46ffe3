"""Videos behind a line of 20 ms against the same videos on disk, both decoded by PyAV, in turn.

`python -m tests.benchmarks.remote`. The server speaks as much of S3 as reading takes, in a process
of its own. One decoder decodes in this process, called as Ray Data calls it.
"""

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Annotated
from unittest.mock import patch
from urllib.parse import unquote

import pyarrow as pa
import typer
from rich.console import Console
from rich.table import Table

from pipelines.storage.objects import stamp_of
from pipelines.video.index import SCHEMA, VideoIndex
from pipelines.video.schedule import Schedule
from pipelines.video.stream import WindowDecoder
from tests.benchmarks.footage import footage
from tests.benchmarks.streams import STEADY, schedule_of
from tests.buckets import KEYS

LATENCY_SECONDS = 0.02
WINDOWS, BLOCK = 12, 2
"""Windows of a measurement, and of a decoding task."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a window took: for the first window of a video more than again for another."""

    requests: float
    num_bytes: float
    group_bytes: float


def bench_remote(folder: Path, *, rounds: int, console: Console) -> dict[str, float]:
    """The metrics of reading from a bucket: shares of the local speed, bytes, requests."""
    index = footage(folder, console)
    with (
        server(folder / "videos", LATENCY_SECONDS) as address,
        patch.dict(os.environ, {**KEYS, "AWS_ENDPOINT_URL": address}),
    ):
        near, far = (schedule_of(each) for each in (by_pyav(index), in_bucket(by_pyav(index))))
        first_time = cost_of(far)
        shares, shares_of_one = [], []
        for number in range(rounds):
            first = STEADY + number * WINDOWS
            local = seconds_of(near, first, calls=1)
            shares.append(local / seconds_of(far, first, calls=2))
            shares_of_one.append(local / seconds_of(far, first, calls=1, block=1))
        again = cost_of(far)
    return {
        "remote_share_of_local_speed": float(median(shares)),
        "remote_share_without_reading_ahead": float(median(shares_of_one)),
        "remote_bytes_over_group": first_time.num_bytes / first_time.group_bytes,
        "remote_bytes_over_group_again": again.num_bytes / again.group_bytes,
        "remote_requests_per_window": first_time.requests,
        "remote_requests_per_window_again": again.requests,
        "remote_group_kib": first_time.group_bytes / 2**10,
    }


def seconds_of(schedule: Schedule, first: int, *, calls: int, block: int = BLOCK) -> float:
    """Time to decode some windows, as an actor of the stream does with its calls at once."""
    decoder, end = WindowDecoder(schedule), first + WINDOWS
    blocks = [
        pa.table({"number": list(range(at, min(at + block, end)))})
        for at in range(first, end, block)
    ]
    began = time.perf_counter()
    with ThreadPoolExecutor(calls) as threads:
        for decoded in threads.map(decoder, blocks):
            assert not any(decoded["error"].to_pylist()), decoded["error"]
    return time.perf_counter() - began


def by_pyav(index: VideoIndex) -> VideoIndex:
    """The same rows, decoded by PyAV."""
    return with_columns(index, decoder=["pyav"] * len(index), seek=["key_frame"] * len(index))


def in_bucket(index: VideoIndex) -> VideoIndex:
    """The same rows, of the bucket."""
    uris = [f"s3://bucket/{Path(path).name}" for path in index.path]
    stamps = [stamp_of(uri) for uri in uris]
    return with_columns(index, path=uris, mtime_ns=[stamp.mtime_ns for stamp in stamps])


def with_columns(index: VideoIndex, **columns: Sequence[object]) -> VideoIndex:
    """An index with other values in some columns."""
    table = index.table
    for name, values in columns.items():
        field = SCHEMA.field(name)
        table = table.set_column(SCHEMA.get_field_index(name), field, pa.array(values, field.type))
    return VideoIndex(table=table)


def cost_of(schedule: Schedule) -> Cost:
    """Requests and bytes of windows, one after another, and the bytes of their groups."""
    decoder, index = WindowDecoder(schedule), schedule.index
    requests = num_bytes = group_bytes = 0
    for number in range(STEADY, STEADY + WINDOWS):
        decoded, window = decoder.decode(number), schedule.window(number)
        assert decoded.frames is not None, decoded.error
        access = index.access(window.video)
        end = access.group_end(window.first + window.num_frames - 1)
        edges = dict(zip(access.key_frames, access.key_bytes, strict=True))
        stop = access.stamp.size_bytes if end is None and access.stamp else edges[end]
        group_bytes += int(stop - edges[access.entry(window.first)])
        requests, num_bytes = requests + decoded.requests, num_bytes + decoded.bytes_fetched
    return Cost(
        requests=requests / WINDOWS,
        num_bytes=num_bytes / WINDOWS,
        group_bytes=group_bytes / WINDOWS,
    )


@contextmanager
def server(folder: Path, latency_seconds: float) -> Iterator[str]:
    """A bucket with the files of a folder, for reading."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(folder, latency_seconds, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()


def _serve(folder: Path, latency_seconds: float, port: Connection) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            time.sleep(latency_seconds)
            file = folder / unquote(self.path).rpartition("/")[2]
            size, changed = file.stat().st_size, file.stat().st_mtime
            start, end = 0, size
            asked = self.headers.get("Range")
            if asked:
                first, last = asked.removeprefix("bytes=").split("-")
                start, end = int(first), min(size, int(last) + 1)
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(end - start))
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
            self.send_header("Last-Modified", formatdate(changed, usegmt=True))
            self.send_header("ETag", f'"{size}"')
            self.end_headers()
            if body:
                with file.open("rb") as content:
                    content.seek(start)
                    self.wfile.write(content.read(end - start))

    relay = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.send(relay.server_address[1])
    relay.serve_forever()


def main(
    folder: Annotated[Path, typer.Option(help="Where the benchmark's videos are kept.")] = Path(
        "bench"
    ),
    rounds: Annotated[int, typer.Option(help="Times each speed is measured, in turn.")] = 3,
) -> None:
    """Print a table."""
    console = Console()
    table = Table("metric", "value", title=f"a line of {LATENCY_SECONDS * 1000:.0f} ms")
    for name, value in bench_remote(folder, rounds=rounds, console=console).items():
        table.add_row(name, f"{value:.4g}")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
