"""Which files there are, and which of them are for training, validation and test."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UserError

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
    """A file to index and the folder under which it was found."""

    path: str
    root: str


def find_videos(paths: Sequence[str | Path]) -> tuple[list[VideoFile], dict[str, str]]:
    """Every video file under some folders, and files named themselves; each once, by path.

    Hidden files and folders are passed over. Symbolic links are followed; a file or folder that
    two of them reach counts once.

    Returns:
        The files in the order of their paths, and what is skipped: the path of each folder that
        cannot be read and of each file whose name is not UTF-8, with the reason.

    Raises:
        NoVideosError: if a path does not exist or cannot be read, or none holds a video file.
    """
    found: dict[str, VideoFile] = {}
    skipped: dict[str, str] = {}
    seen_folders: set[str] = set()
    for path in (os.path.abspath(path) for path in paths):
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
