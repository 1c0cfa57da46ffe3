"""What is known of each video beside its frames: its tables, class, group, and so its split."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.storage.folder import absolute
from pipelines.storage.objects import is_remote
from pipelines.video.labels import (
    FactorsError,
    VideoNames,
    find_tables,
    read_groups,
    read_splits,
)
from pipelines.video.layouts import read_folders, read_lists
from pipelines.video.splits import SPLITS, VideoFile, hash_split, objects_beside


@dataclass(frozen=True, kw_only=True)
class Given:
    """What is said of one video.

    Attributes:
        split: train, val or test; None where nothing says it.
        left_out: whether split lists leave the video out.
        label: its class, by a list or a folder.
        group: the value of the column that groups are made by.
        tables: that name the video, the nearest last.
    """

    split: str | None = None
    left_out: bool = False
    label: str | None = None
    group: str | None = None
    tables: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LabelSources:
    """Where labels and splits are taken from, beside what is found among the videos.

    Attributes:
        tables: further tables of labels.
        lists: further split lists, or folders of them.
        fold: which of several divisions of split lists counts.
        class_folders: whether folders are classes; None: where their layout says so and nothing
            else does.
        group: a column of the tables; videos of one value are never in two splits.
    """

    tables: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    fold: int = 1
    class_folders: bool | None = None
    group: str | None = None


def read_given(files: Sequence[VideoFile], sources: LabelSources) -> dict[str, Given]:
    """What tables, lists and folders say of the videos, by path.

    Raises:
        FactorsError: if a table makes no sense, or no table has the column of the groups.
        SplitListError: if a video is in two splits, or no list names a video.
    """
    names = VideoNames(file.path for file in files)
    given = {file.path: Given() for file in files}
    further = [absolute(table) for table in sources.tables]
    objects = objects_beside(files)
    found = [table for table in find_tables(files, objects) if table not in further]
    for table in [*found, *further]:
        if not (is_remote(table) or Path(table).is_file()):
            raise FactorsError(f"{table}: no such table of labels")
        _add_table(given, names, table, sources.group, below=table not in further)
    if sources.group is not None and not any(each.group for each in given.values()):
        raise FactorsError(
            f"no table beside the videos has a column {sources.group} to make groups by"
        )
    has_tables = any(each.tables for each in given.values())
    lists = read_lists(files, names, sources.lists, fold=sources.fold, objects=objects)
    for path, listed in lists.items():
        left_out = listed.split is None
        given[path] = replace(
            given[path], split=listed.split, left_out=left_out, label=listed.label
        )
    if lists:
        for path in given.keys() - lists.keys():
            given[path] = replace(given[path], split=None, left_out=True)
    use_folders = sources.class_folders
    if use_folders is None:
        use_folders = not has_tables
    for path, listed in read_folders(files).items() if use_folders else ():
        before = given[path]
        split = before.split if lists else before.split or listed.split
        given[path] = replace(before, split=split, label=before.label or listed.label)
    _check_groups(given)
    return given


def _add_table(
    given: dict[str, Given], names: VideoNames, table: str, group: str | None, *, below: bool
) -> None:
    folder = os.path.dirname(table)
    groups = read_groups(table, group) if group else {}
    for name, split in read_splits(table).items():
        for path in names.meant_by(name, folder, below=below):
            before = given[path]
            given[path] = replace(
                before,
                split=split or before.split,
                group=groups.get(name, before.group),
                tables=tuple(dict.fromkeys((*before.tables, table))),
            )


def _check_groups(given: Mapping[str, Given]) -> None:
    splits: dict[str, str] = {}
    for path, each in given.items():
        if each.group is None or each.split is None:
            continue
        first = splits.setdefault(each.group, each.split)
        if first != each.split:
            raise FactorsError(
                f"the group {each.group} has videos in {first} and in {each.split} ({path}): "
                "a group must not be in two splits"
            )


def splits_of(
    given: Mapping[str, Given], digests: Mapping[str, str], *, val_share: float, test_share: float
) -> dict[str, str | None]:
    """The split of each video: the one that is given, else by the hash of its group or content.

    Where splits are given but none of them is val (or test), it is drawn from the training videos
    in the same way.

    Args:
        given: what is known of each video.
        digests: of the content of the videos that can be used; of these alone.
        val_share: share of the videos for validation.
        test_share: share of the videos for tests.
    """
    named = {each.split for each in given.values()} & set(SPLITS)
    carved = {
        "val_share": 0.0 if "val" in named else val_share,
        "test_share": 0.0 if "test" in named else test_share,
    }
    splits: dict[str, str | None] = {}
    for path, content in digests.items():
        each = given.get(path, Given())
        digest = content if each.group is None else _digest(each.group)
        if each.left_out:
            splits[path] = None
        elif each.split is None:
            splits[path] = hash_split(digest, val_share=val_share, test_share=test_share)
        elif each.split == "train":
            splits[path] = hash_split(digest, **carved)
        else:
            splits[path] = each.split
    return splits


def _digest(group: str) -> str:
    return hashlib.blake2b(group.encode(), digest_size=16).hexdigest()
