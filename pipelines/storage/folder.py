"""Files of runs and indices, at a path or a URI: s3://, gs:// or file://.

`s3://bucket/runs?endpoint_override=host:9000&scheme=http` names another server; so does
AWS_ENDPOINT_URL. Keys come from where AWS and Google look for them, never from a URI or a file of
ours. What cannot work is an error in words, within a minute.
"""

import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs

from pipelines.errors import UserError
from pipelines.storage.remote import StorageError, explained, file_system

__all__ = ["Folder", "StorageError", "absolute", "parent_and_name", "scheme_of"]

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


class Folder:
    """A folder at a path or a URI, through pyarrow's file systems; names may hold slashes."""

    def __init__(self, where: "str | Path | Folder") -> None:
        """Name the folder; nothing is made yet, but S3 may be asked for the bucket's region.

        Raises:
            StorageError: for a URI that cannot work.
        """
        self.local: Path | None = None
        self._files: Any = None
        self.uri, self._path = str(where), ""
        if isinstance(where, Folder):
            self.local, self._files, self._path = where.local, where._files, where._path
        elif scheme := scheme_of(self.uri):
            self._files, self._path = file_system(scheme, self.uri)
        else:
            self.local = _local_path(self.uri)
            self.uri = str(self.local)

    def __str__(self) -> str:
        return self.uri

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.local.name if self.local else PurePosixPath(self._path).name

    @property
    def parent(self) -> "Folder":
        """The folder that this one is in."""
        if self.local:
            return Folder(self.local.parent)
        if "/" not in self._path:
            return self
        base, mark, query = self.uri.partition("?")
        return self._at(_above(base.rstrip("/")) + mark + query, _above(self._path))

    def child(self, *names: str) -> "Folder":
        """A folder in this one.

        Raises:
            StorageError: for a name that cannot be part of a URI.
        """
        if self.local:
            return Folder(self.local.joinpath(*names))
        if bad := next((name for name in names if "?" in name), None):
            raise StorageError(f"{bad!r}: a name at {self.uri} cannot have a question mark")
        base, mark, query = self.uri.partition("?")
        tail = "/".join(names)
        return self._at(f"{base.rstrip('/')}/{tail}{mark}{query}", f"{self._path}/{tail}")

    def exists(self, name: str = "") -> bool:
        """Whether there is a file or folder of that name; without a name, this folder."""
        if self.local:
            return (self.local / name).exists()
        with self._in_words("read", name):
            info = self._files.get_file_info(self._key(name))
        return bool(info.type != pa.fs.FileType.NotFound)

    def read_bytes(self, name: str) -> bytes | None:
        """What is in a file, None where there is none."""
        try:
            with self._in_words("read", name):
                if self.local:
                    return (self.local / name).read_bytes()
                with self._files.open_input_stream(self._key(name)) as stream:
                    return bytes(stream.read())
        except FileNotFoundError:
            return None

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a file at once or not at all, making the folders that it needs."""
        if self.local:
            with self.writing(name) as path:
                path.write_bytes(data)
            return
        with self._in_words("write", name), self._files.open_output_stream(self._key(name)) as file:
            file.write(data)

    def read_text(self, name: str) -> str | None:
        """A file's text, None where there is none."""
        data = self.read_bytes(name)
        return None if data is None else data.decode()

    def write_text(self, name: str, text: str) -> None:
        """Write text at once or not at all."""
        self.write_bytes(name, text.encode())

    def read_json(self, name: str) -> Any:
        """What a JSON file holds, None where there is none.

        Raises:
            StorageError: if it is not JSON.
        """
        text = self.read_text(name)
        try:
            return None if text is None else json.loads(text)
        except ValueError as error:
            raise StorageError(f"{self._named(name)} is not JSON ({error}): correct it") from None

    def write_json(self, name: str, content: Any) -> None:
        """Write JSON at once or not at all."""
        self.write_text(name, json.dumps(content, indent=2))

    def folders(self) -> list[str]:
        """Names of the folders in this one, sorted; none where this one is missing."""
        if self.local:
            return sorted(p.name for p in self.local.glob("*") if p.is_dir())
        with self._in_words("list", ""):
            inside = pa.fs.FileSelector(self._path, allow_not_found=True)
            found = self._files.get_file_info(inside)
        return sorted(i.base_name for i in found if i.type == pa.fs.FileType.Directory)

    def files(self) -> list[str]:
        """Names of the files in this folder, sorted; none where it is missing."""
        if self.local:
            return sorted(p.name for p in self.local.glob("*") if p.is_file())
        with self._in_words("list", ""):
            inside = pa.fs.FileSelector(self._path, allow_not_found=True)
            found = self._files.get_file_info(inside)
        return sorted(i.base_name for i in found if i.type == pa.fs.FileType.File)

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A local path to write; when the block ends well, and only then, the file is here."""
        with self._in_words("write", name):
            if self.local is None:
                with TemporaryDirectory(prefix="adassl-") as staging:
                    path = Path(staging) / PurePosixPath(name).name
                    yield path
                    self.put(path, name)
                return
            target = self.local / name
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
            try:
                yield unfinished
                with unfinished.open("rb") as file:
                    os.fsync(file.fileno())  # a rename may outlive a power cut that its data do not
                unfinished.replace(target)
            finally:
                unfinished.unlink(missing_ok=True)

    @contextmanager
    def reading(self, name: str) -> Iterator[Path | None]:
        """A local path to read a file from while the block lasts, None where there is none."""
        if self.local:
            yield path if (path := self.local / name).is_file() else None
            return
        with TemporaryDirectory(prefix="adassl-") as staging:
            path = Path(staging) / PurePosixPath(name).name
            try:
                with self._in_words("read", name):
                    pa.fs.copy_files(self._key(name), str(path), source_filesystem=self._files)
            except FileNotFoundError:
                yield None
            else:
                yield path if path.is_file() else None

    @contextmanager
    def opened(self, name: str) -> Iterator[Any]:
        """A file to read parts of, such as some columns of a Parquet file.

        Raises:
            FileNotFoundError: if there is none.
            StorageError: if it cannot be read.
        """
        with self._in_words("read", name):
            file = (
                (self.local / name).open("rb")
                if self.local
                else self._files.open_input_file(self._key(name))
            )
            with file:
                yield file

    def put(self, path: Path, name: str) -> None:
        """Copy a local file here, whole or not at all."""
        if self.local:
            with self.writing(name) as target:
                shutil.copyfile(path, target)
            return
        with self._in_words("write", name):
            pa.fs.copy_files(str(path), self._key(name), destination_filesystem=self._files)

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that is in it; fine where there is none."""
        try:
            with self._in_words("remove", name):
                if self.local:
                    path = self.local / name
                    (shutil.rmtree if path.is_dir() else os.unlink)(path)
                elif self._files.get_file_info(self._key(name)).type == pa.fs.FileType.Directory:
                    self._files.delete_dir(self._key(name))
                else:
                    self._files.delete_file(self._key(name))
        except FileNotFoundError:
            return

    def _at(self, uri: str, path: str) -> "Folder":
        """Another folder of the same bucket, which is known to be there."""
        other = Folder(self)
        other.uri, other._path = uri, path
        return other

    def _key(self, name: str) -> str:
        return f"{self._path}/{name}" if name else self._path

    def _named(self, name: str) -> str:
        return f"{self.child(name)}" if name else self.uri

    @contextmanager
    def _in_words(self, doing: str, name: str) -> Iterator[None]:
        """Say what went wrong; that there is nothing to read is left to the caller."""
        try:
            yield
        except UserError:
            raise
        except (OSError, pa.ArrowException) as error:
            if isinstance(error, FileNotFoundError) and doing in ("read", "remove"):
                raise
            reason = error.strerror if self.local and isinstance(error, OSError) else None
            why = reason or explained(error)
            raise StorageError(f"cannot {doing} {self._named(name)}: {why}") from error


def parent_and_name(where: str | Path) -> tuple[Folder, str]:
    """The folder of a file at a path or a URI, and the file's name in it.

    Raises:
        StorageError: for a URI that cannot work.
    """
    file = Folder(where)
    return file.parent, file.name


def absolute(where: str) -> str:
    """The same place as other working directories can name it: URIs stay as they are."""
    return where if scheme_of(where) else str(_local_path(where))


def _above(path: str) -> str:
    return path.rpartition("/")[0]


def scheme_of(where: str) -> str | None:
    """The scheme of a URI; None for a path or a file:// URI."""
    found = _URI.match(where)
    scheme = found[1].lower() if found else "file"
    return None if scheme == "file" else scheme


def _local_path(where: str) -> Path:
    if not _URI.match(where):
        return Path(where).absolute()
    path = Path(unquote(re.sub("^file:(//(localhost)?)?", "", where, flags=re.IGNORECASE)))
    if not path.is_absolute():
        raise StorageError(f"{where}: write file:// and an absolute path: file:///…")
    return path
