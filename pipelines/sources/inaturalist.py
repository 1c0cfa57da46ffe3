"""iNaturalist 2021: photographs of species, in the layout of its competition.

FOLDER/train.json (or train_mini.json), val.json    images, annotations, categories (COCO)
FOLDER/train/00000_…/xxx.jpg                        as `file_name` says, below FOLDER

The public test set has no labels; val.json becomes the test split, and validation is drawn from
the training images.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.config.pairing import PairingRule
from pipelines.sources.listing import Listing, SourceError

_FILES = {"train.json": "train", "train_mini.json": "train", "val.json": "test"}
RANKS = ("supercategory", "kingdom", "phylum", "class", "order", "family", "genus")
"""Of the taxonomy, from the widest on; species are the categories themselves."""


def read_inaturalist(
    folder: str | Path, *, corrupted: float = 0.0, within: str = "supercategory"
) -> Listing:
    """Photographs; pairs are of one species, a share of them of another one of the same superclass.

    Args:
        folder: of the set.
        corrupted: that share.
        within: the rank that is the superclass.

    Raises:
        SourceError: if the lists are missing or lack what is needed.
    """
    root = Path(folder).absolute()
    lists = [name for name in _FILES if (root / name).is_file()]
    if "train.json" in lists and "train_mini.json" in lists:
        lists.remove("train_mini.json")  # a part of the other
    if not lists:
        raise SourceError(f"{root}: no train.json, train_mini.json or val.json")
    rows: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    for name in lists:
        for row in _rows(root / name):
            file = root / row["item"]
            if file.is_file():
                rows.append({**row, "item": str(file), "split": _FILES[name]})
            else:
                skipped[str(file)] = "no such file"
    if not rows:
        raise SourceError(f"{root}: none of {len(skipped)} images is there")
    table = pd.DataFrame(rows)
    if corrupted and within not in table:
        raise SourceError(f"{root}: the categories have no {within}")
    rule = PairingRule(
        kind="same",
        columns=("species",),
        corrupted=corrupted,
        corrupted_within=within if corrupted else None,
    )
    return Listing(rows=table, kinds={"item": "image"}, rule=rule, skipped=skipped)


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(file.read_text())
        images = {image["id"]: image["file_name"] for image in content["images"]}
        categories = {category["id"]: category for category in content["categories"]}
        return [
            {
                "item": images[each["image_id"]],
                "species": categories[each["category_id"]]["name"],
                **{
                    rank: categories[each["category_id"]][rank]
                    for rank in RANKS
                    if rank in categories[each["category_id"]]
                },
            }
            for each in content["annotations"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{file}: not a list of iNaturalist: {error!r}") from error
