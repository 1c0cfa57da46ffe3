"""CelebA: faces with identities and forty attributes, in the layout of its authors.

FOLDER/img_align_celeba/000001.jpg    (or FOLDER/Img/img_align_celeba)
FOLDER/identity_CelebA.txt            000001.jpg 2880              (or in FOLDER/Anno)
FOLDER/list_attr_celeba.txt           a count, the names, then 000001.jpg -1 1 …
FOLDER/list_eval_partition.txt        000001.jpg 0     0 train, 1 val, 2 test   (or FOLDER/Eval)
"""

from pathlib import Path

import pandas as pd

from pipelines.config.pairing import PairingRule
from pipelines.sources.listing import Listing, SourceError

_PARTITIONS = {"0": "train", "1": "val", "2": "test"}


def read_celeba(folder: str | Path) -> Listing:
    """Faces; pairs are of one identity, and every attribute is a class of its own.

    Without the list of partitions, splits go by identity.

    Raises:
        SourceError: if images or identities are missing, or a list makes no sense.
    """
    root = Path(folder).absolute()
    images = _found(root, "img_align_celeba", "Img/img_align_celeba")
    identities = _lines(_found(root, "identity_CelebA.txt", "Anno/identity_CelebA.txt"))
    if images is None or not identities:
        raise SourceError(f"{root}: no CelebA: img_align_celeba and identity_CelebA.txt are needed")
    rows = pd.DataFrame([(line[0], line[1]) for line in identities], columns=["name", "identity"])
    rows = rows.drop_duplicates("name").set_index("name", drop=False)
    attributes = _attributes(_found(root, "list_attr_celeba.txt", "Anno/list_attr_celeba.txt"))
    if attributes is not None:
        rows = rows.join(attributes)
    parts = _found(root, "list_eval_partition.txt", "Eval/list_eval_partition.txt")
    partitions = _lines(parts)
    if partitions:
        if wrong := [line for line in partitions if line[1] not in _PARTITIONS]:
            raise SourceError(f"{parts}: {' '.join(wrong[0])}: a partition is 0, 1 or 2")
        rows["split"] = pd.Series({line[0]: _PARTITIONS[line[1]] for line in partitions})
        rows["split"] = rows["split"].reindex(rows.index)
    rows = rows.assign(group=rows["identity"])
    if partitions and (rows.dropna().groupby("group")["split"].nunique() > 1).any():
        rows["group"] = None  # the partition of the authors counts, even across an identity
    there = [(images / name).is_file() for name in rows["name"]]
    skipped = {
        str(images / name): "no such file"
        for name, is_there in zip(rows["name"], there, strict=True)
        if not is_there
    }
    rows = rows[there]
    rows.insert(0, "item", [str(images / name) for name in rows["name"]])
    rule = PairingRule(kind="same", columns=("identity",))
    return Listing(
        rows=rows.drop(columns="name").reset_index(drop=True),
        kinds={"item": "image"},
        rule=rule,
        skipped=skipped,
    )


def _found(root: Path, *places: str) -> Path | None:
    return next((root / place for place in places if (root / place).exists()), None)


def _lines(file: Path | None) -> list[list[str]]:
    """Lines of a name and one word."""
    if file is None:
        return []
    lines = [line.split() for line in file.read_text().splitlines() if line.strip()]
    if wrong := [line for line in lines if len(line) != 2]:
        raise SourceError(f"{file}: {' '.join(wrong[0])[:60]}: not a name and a number")
    return lines


def _attributes(file: Path | None) -> pd.DataFrame | None:
    """The attributes of each image as words, so that each is a class."""
    if file is None:
        return None
    _, names, *lines = file.read_text().splitlines()
    columns = names.split()
    found = {}
    for line in lines:
        name, *values = line.split()
        if len(values) != len(columns) or set(values) - {"-1", "1"}:
            raise SourceError(f"{file}: {name}: not {len(columns)} numbers of -1 or 1")
        found[name] = [value == "1" for value in values]
    return pd.DataFrame.from_dict(found, orient="index", columns=columns).astype("int64")
