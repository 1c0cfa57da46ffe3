"""Folders of images, in folders that are classes or identities.

FOLDER/NAME/*.jpg              or with splits FOLDER/train/NAME/*.jpg, …/val/…, …/test/…
"""

from pathlib import Path
from typing import Literal

import pandas as pd

from pipelines.config.pairing import PairingRule
from pipelines.sources.listing import (
    IMAGE_SUFFIXES,
    SPLIT_NAMES,
    Listing,
    SourceError,
    files_below,
)


def read_image_folders(folder: str | Path, *, of: Literal["class", "identity"]) -> Listing:
    """Every image with the name of its folder; pairs are of one folder.

    Args:
        folder: that holds the folders.
        of: class: each split has images of every class, and a class is asked for by probes;
            identity: an identity is in one split only, so that test identities are new.

    Raises:
        SourceError: if no image lies in a folder of a class or an identity.
    """
    root = Path(folder).absolute()
    rows, skipped = [], {}
    found = list(files_below(root, IMAGE_SUFFIXES))
    has_splits = bool(found) and all(
        len(parts) > 2 and parts[0].lower() in SPLIT_NAMES for parts in found
    )
    for parts in found:
        split, rest = (parts[0], parts[1:]) if has_splits else (None, parts)
        if len(rest) < 2:
            skipped[str(root.joinpath(*parts))] = f"in no folder of a {of}"
            continue
        rows.append(
            {
                "item": str(root.joinpath(*parts)),
                of: "/".join(rest[:-1]),
                "split": SPLIT_NAMES[split.lower()] if split else None,
            }
        )
    if not rows:
        raise SourceError(f"{root}: no image lies in a folder of a {of}: {of.upper()}/image.jpg")
    table = pd.DataFrame(rows)
    if of == "identity":
        table["group"] = table["identity"]
    rule = PairingRule(kind="same", columns=(of,))
    return Listing(rows=table, kinds={"item": "image"}, rule=rule, skipped=skipped)
