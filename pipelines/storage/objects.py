"""Objects that are read by ranges where they lie: s3://, gs://, http(s):// and hf://.

s3:// and gs:// through pyarrow, the others through fsspec. Keys come from where the tools of each
service look for them. Every request has a time limit and is tried again where that may help.
"""

import importlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import lru_cache
from threading import Lock
from typing import Any, Protocol, TypeVar

import pyarrow as pa
import pyarrow.fs

from pipelines.storage.folder import scheme_of
from pipelines.storage.remote import StorageError, explained, file_system, is_final

TRIES = 3
BACKOFF_SECONDS = 0.5
"""Before the second try; twice as long before the third."""
OPEN_OBJECTS = 512
"""Objects of one store whose size is kept, so that reading them again asks for nothing else."""
_CONNECT_SECONDS, _SILENCE_SECONDS = 5, 15
_PACKAGES = {"hf": "huggingface_hub", "http": "aiohttp", "https": "aiohttp"}
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """Size, and time of change: ns, of whole seconds in a bucket; 0 where nobody tells it."""

    size_bytes: int
    mtime_ns: int


class _Store(Protocol):
    """What a service offers for reading; its paths are those of URIs."""

    def stamp(self, uri: str) -> Stamp: ...
    def open(self, uri: str) -> int: ...
    def read(self, uri: str, start: int, end: int) -> bytes: ...
    def walk(self, uri: str, deep: bool) -> Iterator[tuple[str, Stamp]]: ...


def is_remote(where: str) -> bool:
    """Whether this is a URI of an object, and no path or file:// URI."""
    return scheme_of(where) is not None


def stamp_of(uri: str) -> Stamp:
    """Ask for the size and time of change of an object, or of a file at a path.

    Raises:
        FileNotFoundError: if there is none.
        OSError: if the file cannot be asked for.
        StorageError: if the service cannot be asked.
    """
    if not is_remote(uri):
        status = os.stat(uri)
        return Stamp(size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
    return _tried(uri, lambda: _store_of(uri).stamp(uri))


def opened(uri: str) -> int:
    """Make an object ready to be read; returns the requests that it took.

    Raises:
        FileNotFoundError: if there is none.
        StorageError: if the service cannot be asked.
    """
    return _tried(uri, lambda: _store_of(uri).open(uri))


def read_range(uri: str, start: int, end: int) -> bytes:
    """Bytes start .. end - 1 of an object.

    Raises:
        FileNotFoundError: if there is none.
        StorageError: if they cannot be had.
    """

    def read() -> bytes:
        data = _store_of(uri).read(uri, start, end)
        if len(data) != end - start:
            raise OSError(f"{len(data)} bytes came where {end - start} were asked for")
        return data

    return _tried(uri, read)


def read_object(uri: str) -> bytes:
    """The whole of a small object, such as a table of labels.

    Raises:
        FileNotFoundError: if there is none.
        StorageError: if it cannot be had.
    """
    size = stamp_of(uri).size_bytes
    return read_range(uri, 0, size) if size else b""


def objects_below(uri: str, *, deep: bool = True) -> dict[str, Stamp]:
    """All objects below a URI, or the one that it names, by URI; empty where there are none.

    A web server lists what its pages link to.

    Args:
        uri: of a folder or an object.
        deep: also what is in folders of the folder.

    Raises:
        StorageError: if they cannot be listed.
    """
    try:
        return _tried(uri, lambda: dict(_store_of(uri).walk(uri.rstrip("/"), deep)))
    except FileNotFoundError:
        return {}


def _tried(uri: str, doing: Callable[[], Result]) -> Result:
    for left in reversed(range(TRIES)):
        try:
            return doing()
        except (StorageError, FileNotFoundError):
            raise
        except (OSError, pa.ArrowException, ValueError) as error:
            if not left or is_final(error):
                raise StorageError(f"cannot read {uri}: {explained(error)}") from error
        time.sleep(BACKOFF_SECONDS * (TRIES - left))
    raise AssertionError


def _store_of(uri: str) -> _Store:
    scheme, rest = scheme_of(uri) or "", uri.partition("://")[2]
    if "@" in rest.partition("/")[0]:
        raise StorageError(f"a URI of {scheme}://: a key or password does not belong in it")
    if "?" in rest or "#" in rest:
        raise StorageError(
            f"{uri.partition('?')[0]}: the URI of a video has no ? or #; name another server of S3 "
            "by AWS_ENDPOINT_URL"
        )
    if scheme in _PACKAGES:
        return _fsspec_store(scheme)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return _arrow_store(scheme, rest.partition("/")[0], endpoint)


@lru_cache(maxsize=64)
def _arrow_store(scheme: str, bucket: str, endpoint: str | None) -> _Store:
    return _ArrowStore(scheme, bucket)


@lru_cache
def _fsspec_store(scheme: str) -> _Store:
    return _FsspecStore(scheme)


class _ArrowStore:
    """A bucket, through pyarrow."""

    def __init__(self, scheme: str, bucket: str) -> None:
        self._scheme = scheme
        self._files: Any = file_system(scheme, f"{scheme}://{bucket}")[0]
        self._open: OrderedDict[str, Any] = OrderedDict()
        self._lock = Lock()

    def stamp(self, uri: str) -> Stamp:
        info = self._files.get_file_info(_path(uri))
        if info.type != pa.fs.FileType.File:
            raise FileNotFoundError(uri)
        found = _stamp(info)
        with self._lock:
            opened = self._open.get(uri)
            if opened is not None and opened.size() != found.size_bytes:
                del self._open[uri]
        return found

    def open(self, uri: str) -> int:
        with self._lock:
            if uri in self._open:
                self._open.move_to_end(uri)
                return 0
        file = self._files.open_input_file(_path(uri))  # asks for the size
        with self._lock:
            self._open[uri] = file
            while len(self._open) > OPEN_OBJECTS:
                self._open.popitem(last=False)
        return 1

    def read(self, uri: str, start: int, end: int) -> bytes:
        self.open(uri)
        with self._lock:
            file = self._open[uri]
        data: bytes = file.read_at(end - start, start)  # in many threads at once
        return data

    def walk(self, uri: str, deep: bool) -> Iterator[tuple[str, Stamp]]:
        path = _path(uri)
        infos = self._files.get_file_info(
            pa.fs.FileSelector(path, recursive=deep, allow_not_found=True)
        )
        if not infos:
            infos = [self._files.get_file_info(path)]
        for info in infos:
            if info.type == pa.fs.FileType.File:
                yield f"{self._scheme}://{info.path}", _stamp(info)


class _FsspecStore:
    """The web or the Hugging Face Hub, through fsspec."""

    def __init__(self, scheme: str) -> None:
        package = _PACKAGES[scheme]
        try:
            fsspec: Any = importlib.import_module("fsspec")
            module: Any = importlib.import_module(package)
        except ImportError as error:
            raise StorageError(
                f"{scheme}:// needs fsspec and {package}: pip install fsspec {package}"
            ) from error
        options: dict[str, Any] = {"use_listings_cache": False}
        if scheme != "hf":
            limits = module.ClientTimeout(
                total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS
            )
            options["client_kwargs"] = {"timeout": limits}
        self._files: Any = fsspec.filesystem(scheme, **options)
        self._scheme = scheme

    def stamp(self, uri: str) -> Stamp:
        self._files.invalidate_cache()
        info = _in_os_errors(lambda: self._files.info(uri))
        if info.get("size") is None:
            raise StorageError(f"{uri}: the server does not tell the size")
        return Stamp(size_bytes=int(info["size"]), mtime_ns=self._changed(uri, info))

    def open(self, uri: str) -> int:
        return 0

    def read(self, uri: str, start: int, end: int) -> bytes:
        data: bytes = _in_os_errors(lambda: self._files.cat_file(uri, start=start, end=end))
        if len(data) > end - start:
            raise StorageError(f"{uri}: the server sends whole files only; ranges are needed")
        return data

    def walk(self, uri: str, deep: bool) -> Iterator[tuple[str, Stamp]]:
        info = _in_os_errors(lambda: self._files.info(uri))
        if info["type"] == "file" and info.get("mimetype", "") != "text/html":
            yield uri, self.stamp(uri)
            return
        for path in _in_os_errors(lambda: self._files.find(uri, maxdepth=None if deep else 1)):
            found = self._files.unstrip_protocol(path)
            yield found, self.stamp(found)

    def _changed(self, uri: str, info: dict[str, Any]) -> int:
        if self._scheme == "hf":
            return int(self._files.modified(uri).timestamp()) * 10**9
        said = info.get("Last-Modified")
        return int(parsedate_to_datetime(said).timestamp()) * 10**9 if said else 0


def _in_os_errors(doing: Callable[[], Any]) -> Any:
    """Errors of HTTP clients, which are no OSError, as one."""
    try:
        return doing()
    except OSError:
        raise
    except Exception as error:  # each client has a family of its own
        raise OSError(f"{type(error).__name__}: {error}") from error


def _path(uri: str) -> str:
    return uri.partition("://")[2].rstrip("/")


def _stamp(info: Any) -> Stamp:
    seconds = int(info.mtime_ns or 0) // 10**9  # a listing of S3 may be finer than other answers
    return Stamp(size_bytes=int(info.size), mtime_ns=seconds * 10**9)
