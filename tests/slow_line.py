"""A line to an HTTP server on which tests put latency and faults."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["503", "reset", "slow", "cut"]
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "server", "date"}


@dataclass
class Line:
    """What happens on the way; `fault` is asked for each request by method and path."""

    address: str = ""
    latency_seconds: float = 0.0
    fault: Callable[[str, str], Fault | None] = lambda method, path: None
    requests: list[tuple[str, str]] = field(default_factory=list)
    num_bytes: int = 0
    """Of the bodies that were passed on."""


@contextmanager
def slow_line(server: str) -> Iterator[Line]:
    """A server that passes requests on to another."""
    line = Line()
    upstream = urlsplit(server).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *args: object) -> None:
            pass

        def handle_one(self) -> None:
            line.requests.append((self.command, self.path))
            time.sleep(line.latency_seconds)
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else None
            fault = line.fault(self.command, self.path)
            if fault == "reset":
                linger = struct.pack("ii", 1, 0)  # a close sends RST
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            if fault == "503":
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            connection = HTTPConnection(upstream, timeout=30)
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP_BY_HOP | {"content-length"}:
                    self.send_header(name, value)
            size = answer.getheader("Content-Length") if self.command == "HEAD" else len(data)
            self.send_header("Content-Length", str(size or 0))
            self.end_headers()
            if self.command == "HEAD":
                return
            line.num_bytes += len(data)
            if fault == "cut":
                data, self.close_connection = data[: len(data) // 2], True
            parts = 8 if fault == "slow" else 1
            for at in range(parts):
                self.wfile.write(data[len(data) * at // parts : len(data) * (at + 1) // parts])
                time.sleep(0.05 * (parts > 1))

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one  # noqa: N815

    relay = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    relay.daemon_threads = True
    line.address = f"http://127.0.0.1:{relay.server_address[1]}"
    thread = threading.Thread(target=relay.serve_forever, daemon=True)
    thread.start()
    try:
        yield line
    finally:
        relay.shutdown()
        relay.server_close()
