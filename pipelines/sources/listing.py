"""What a source says of its data set: a row a pair or an item, which `pipelines.pairs` takes up."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from pipelines.config.pairing import PairingRule
from pipelines.errors import UserError

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
SPLIT_NAMES = {
    **{"train": "train", "training": "train"},
    **{"val": "val", "valid": "val", "validation": "val", "dev": "val"},
    **{"test": "test", "testing": "test"},
}
"""Folders and words that name a split, and the split."""


class SourceError(UserError, ValueError):
    """A data set that is not in the layout that its source reads."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The rows of a table of pairs, before their entries are read.

    Attributes:
        rows: columns as in a table of pairs: context and target, or item; where they are known,
            surrogate, negative, group and split; and factors. Paths are absolute.
        kinds: image, text or sound: of each view, or of item.
        rule: how items are paired; None: each row is a pair.
        skipped: what the source could not use, with the reason.
    """

    rows: pd.DataFrame
    kinds: Mapping[str, Literal["image", "text", "sound"]]
    rule: PairingRule | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)


def files_below(folder: str | Path, suffixes: frozenset[str]) -> Iterator[tuple[str, ...]]:
    """The parts of the path of every file below a folder, in order; hidden ones are passed over.

    Raises:
        SourceError: if there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise SourceError(f"{folder}: no such folder")
    for above, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if Path(name).suffix.lower() in suffixes and not name.startswith("."):
                yield Path(above, name).relative_to(root).parts
