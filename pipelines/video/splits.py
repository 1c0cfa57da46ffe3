"""Which files there are, and which of them are for training, validation and test."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UserError
from pipelines.storage.folder import absolute
from pipelines.storage.objects import Stamp, is_remote, objects_below

SPLITS = ("train", "val", "test")
VIDEO_SUFFIXES = frozenset(
    {".264", ".265", ".3gp", ".asf", ".avi", ".f4v", ".flv", ".gif", ".h264", ".h265", ".hevc"}
    | {".ivf", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf"}
    | {".ogg", ".ogv", ".ts", ".vob", ".webm", ".wmv"}
)


class NoVideosError(UserError, ValueError):
    """There is nothing to index."""


@dataclass(frozen=True, kw_only=True)
class VideoFile:
    """A file to index and the folder under which it was found; `stamp` of an object only."""

    path: str
    root: str
    stamp: Stamp | None = None


def find_videos(paths: Sequence[str | Path]) -> tuple[list[VideoFile], dict[str, str]]:
    """Every video file under some folders, and files named themselves; each once, by path.

    Folders may be URIs: of a bucket, a web page that links to videos, a data set on the Hub.
    Hidden files and folders are passed over. Symbolic links are followed; a file or folder that
    two of them reach counts once.

    Returns:
        The files in the order of their paths, and what is skipped: the path of each folder that
        cannot be read and of each file whose name is not UTF-8, with the reason.

    Raises:
        NoVideosError: if a path does not exist or cannot be read, or none holds a video file.
        StorageError: if the objects at a URI cannot be listed.
    """
    found: dict[str, VideoFile] = {}
    skipped: dict[str, str] = {}
    seen_folders: set[str] = set()
    for path in (absolute(str(path)) for path in paths):
        if is_remote(path):
            for file in _objects(path.rstrip("/"), skipped):
                found.setdefault(file.path, file)
            continue
        path = os.path.abspath(path)
        if os.path.isdir(path):
            files = _walk(path, seen_folders, skipped)
        elif os.path.exists(path):
            files = [VideoFile(path=path, root=os.path.dirname(path))]
        else:
            raise NoVideosError(f"{_shown(path)}: no such file or folder")
        for file in files:
            if _shown(file.path) == file.path:
                found.setdefault(os.path.realpath(file.path), file)
            else:
                skipped[_shown(file.path)] = "name is not UTF-8: rename the file or its folder"
    if not found:
        suffixes = " ".join(sorted(VIDEO_SUFFIXES))
        also = "".join(f"; skipped {path}: {reason}" for path, reason in skipped.items())
        raise NoVideosError(
            f"no video file in {', '.join(_shown(str(p)) for p in paths)}: looked for names ending "
            f"in {suffixes}{also}"
        )
    return sorted(found.values(), key=lambda file: file.path), skipped


def _shown(path: str) -> str:
    """The path itself where it can be written down, else with its strange bytes as numbers."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _walk(root: str, seen_folders: set[str], skipped: dict[str, str]) -> list[VideoFile]:
    def skip(error: OSError) -> None:
        if error.filename == root:
            raise NoVideosError(f"{_shown(root)}: cannot be read: {error.strerror}") from error
        skipped[_shown(error.filename)] = f"unreadable folder: {error.strerror}"

    files = []
    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=skip):
        if os.path.realpath(folder) in seen_folders:
            subfolders.clear()
            continue
        seen_folders.add(os.path.realpath(folder))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        files += [
            VideoFile(path=os.path.join(folder, name), root=root)
            for name in names
            if Path(name).suffix.lower() in VIDEO_SUFFIXES and not name.startswith(".")
        ]
    return files


def objects_beside(files: Iterable[VideoFile]) -> set[str]:
    """The tables and lists below the URIs under which videos were found, and one above each."""
    found: set[str] = set()
    for root in {file.root for file in files if is_remote(file.path)}:
        found |= objects_below(root).keys()
        above = os.path.dirname(root)
        if above.count("/") >= 2:  # a bucket, or a folder in one
            found |= objects_below(above, deep=False).keys()
    return {uri for uri in found if uri.lower().endswith((".csv", ".parquet", ".txt"))}


def _objects(root: str, skipped: dict[str, str]) -> list[VideoFile]:
    """The videos at a URI, as folders are walked."""
    files = []
    stamps = objects_below(root)
    if not stamps:
        raise NoVideosError(f"{root}: there is nothing")
    root = os.path.dirname(root) if list(stamps) == [root] else root
    for uri, stamp in stamps.items():
        names = uri.removeprefix(root).split("/")
        if any(name.startswith(".") for name in names):
            continue
        if os.path.splitext(uri)[1].lower() not in VIDEO_SUFFIXES:
            continue
        if "?" in uri or "#" in uri:
            skipped[uri] = "name has a ? or #: rename the object"
        else:
            files.append(VideoFile(path=uri, root=root, stamp=stamp))
    return files


def hash_split(digest: str, *, val_share: float, test_share: float) -> str:
    """The split of a video by its content.

    Names and folders do not enter, so a moved or renamed file stays where it was and two copies of
    one file never lie on two sides. Other files do not enter either, so that adding some moves
    none; shares are hence met on average, and a handful of videos may leave a split empty.
    """
    position = int(digest[:16], 16) / 2**64
    if position < test_share:
        return "test"
    return "val" if position < test_share + val_share else "train"
