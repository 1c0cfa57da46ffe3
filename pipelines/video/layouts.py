"""What the layout of a data set says: class folders, folders of splits, and split lists.

UCF101      CLASS/NAME.avi, trainlist01.txt and testlist01.txt with lines `CLASS/NAME.avi 1`
HMDB51      CLASS/NAME.avi, CLASS_test_split1.txt with `NAME.avi 1` (1 train, 2 test, 0 unused)
Kinetics    train/CLASS/ID_000010_000020.mp4, train.csv with label, youtube_id, time_start, time_end
others      train.txt, val.txt, test.txt with lines `CLASS/NAME.mp4` or `NAME.mp4 LABEL`
"""

import csv
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UserError
from pipelines.storage.objects import is_remote, read_object
from pipelines.video.labels import VideoNames
from pipelines.video.splits import VideoFile

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_LIST = re.compile(
    rf"(?:.*[_\-.])?(?P<split>{'|'.join(SPLIT_WORDS)})"
    r"(?:[_\-]?(?:list|split|videos|set))*[_\-]?0*(?P<fold>\d*)\.(?:txt|csv)"
)
_HMDB_LIST = re.compile(r"(?P<label>.+)_test_split(?P<fold>\d+)\.txt")
_HMDB_SPLITS = {"1": "train", "2": "test", "0": None}
_IDS = ("youtube_id", "video_id", "path", "video", "file", "filename", "name")
_LABELS = ("label", "class", "class_name", "action")


class SplitListError(UserError, ValueError):
    """Split lists that contradict each other or name nothing."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What is said of a video: its split, or None where it is left out, and its class."""

    split: str | None
    label: str | None


def read_lists(
    files: Sequence[VideoFile],
    names: VideoNames,
    lists: Sequence[str | Path],
    *,
    fold: int,
    objects: Collection[str] = (),
) -> dict[str, Listed]:
    """What split lists say of videos; those in the folders of the videos, and others given.

    Lists that name none of the videos are passed over.

    Args:
        files: the videos.
        names: the same videos, to be found by name.
        lists: further lists, or folders of lists.
        fold: which of several divisions counts, by the number in the names of the lists.
        objects: that lie beside videos that are objects.

    Raises:
        SplitListError: if a video is in two splits, or `lists` name no video.
    """
    found: dict[str, Listed] = {}
    given = [os.path.abspath(path) for path in lists]
    roots = dict.fromkeys(file.root for file in files if not is_remote(file.root))
    roots |= dict.fromkeys(sorted(path for path in objects if _LIST.fullmatch(_name(path))))
    for place in [*roots, *given]:
        before = len(found)
        for path in [place] if is_remote(place) else _walk(place):
            for name, listed in _read(path, fold):
                for video in names.meant_by(name, None):
                    if video in found and found[video].split != listed.split:
                        raise SplitListError(
                            f"{path}: {name} is in two splits, {found[video].split} and "
                            f"{listed.split}; choose one division by --fold, or keep its lists only"
                        )
                    found[video] = listed
        if place in given and len(found) == before:
            raise SplitListError(f"{place}: no split list of fold {fold} that names a video")
    return found


def _name(path: str) -> str:
    return os.path.basename(path).lower()


def _walk(place: str) -> list[str]:
    if os.path.isfile(place):
        return [place]
    found = []
    for folder, subfolders, names in os.walk(place):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        found += [os.path.join(folder, name) for name in sorted(names)]
    return [path for path in found if _LIST.fullmatch(_name(path))]


def _read(path: str, fold: int) -> Iterator[tuple[str, Listed]]:
    """Names and what is said of them; nothing of another fold."""
    kind = _LIST.fullmatch(_name(path))
    if kind is None or int(kind["fold"] or fold) != fold:
        return
    data = read_object(path) if is_remote(path) else Path(path).read_bytes()
    text = data.decode(errors="replace")
    split = SPLIT_WORDS[kind["split"]]
    if _name(path).endswith(".csv"):
        yield from _read_csv(text, split)
        return
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    parts = [re.fullmatch(r"(.+?)(?:\s+(\d+))?", line) for line in lines]
    hmdb = _HMDB_LIST.fullmatch(os.path.basename(path))
    if hmdb and all(part and part[2] in _HMDB_SPLITS for part in parts):
        for part in parts:
            if part:
                yield part[1], Listed(split=_HMDB_SPLITS[part[2]], label=hmdb["label"])
        return
    for part in parts:
        if part:
            folder = os.path.basename(os.path.dirname(part[1]))
            yield part[1], Listed(split=split, label=folder or part[2])


def _read_csv(text: str, split: str) -> Iterator[tuple[str, Listed]]:
    rows = csv.DictReader(text.splitlines())
    columns = rows.fieldnames or []
    name = next((column for column in _IDS if column in columns), None)
    label = next((column for column in _LABELS if column in columns), None)
    for row in rows if name else ():
        listed = Listed(split=split, label=(row[label] or None) if label else None)
        yield row[name or ""], listed
        if "time_start" in columns and "time_end" in columns:
            try:
                times = [int(float(row[column])) for column in ("time_start", "time_end")]
            except ValueError:
                continue
            yield f"{row[name or '']}_{times[0]:06d}_{times[1]:06d}", listed


def read_folders(files: Iterable[VideoFile]) -> dict[str, Listed]:
    """Splits and classes by folders: CLASS/video, SPLIT/CLASS/video or SPLIT/video.

    All videos below a root must lie alike, else they say nothing. A split that no folder names is
    None: it is open.
    """
    by_root: dict[str, list[str]] = {}
    for file in files:
        by_root.setdefault(file.root, []).append(file.path)
    found: dict[str, Listed] = {}
    for paths in by_root.values():
        base = os.path.commonpath([os.path.dirname(path) for path in paths])
        parts = {path: Path(os.path.relpath(path, base)).parts[:-1] for path in paths}
        of_splits = all(p and p[0].lower() in SPLIT_WORDS for p in parts.values())
        at = int(of_splits)
        of_classes = all(len(p) == at + 1 for p in parts.values())
        if not of_splits and not of_classes:
            continue
        for path, folders in parts.items():
            found[path] = Listed(
                split=SPLIT_WORDS[folders[0].lower()] if of_splits else None,
                label=folders[at] if of_classes else None,
            )
    return found
