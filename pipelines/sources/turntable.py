"""Pictures of objects on a turntable; x+ shows the object of x, turned by a step.

FOLDER/obj1__0.png …       COIL-20 (number of the picture, every 5 degrees) and COIL-100 (degrees)
FILE.csv, FILE.parquet     columns item, object and angle in degrees, and split if you like
FILE.npz                   arrays images, object and angle_deg
"""

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from pipelines.config.pairing import PairingRule
from pipelines.sources.listing import IMAGE_SUFFIXES, Listing, SourceError, files_below
from pipelines.sources.own_table import read_own_table

STEP, CIRCLE = (5.0, 45.0), 360.0
COIL_20_PICTURES = 72
"""Of an object: their numbers stay below; the degrees of COIL-100 do not."""
EVERY, VAL, TEST = 5, 3, 4
"""Of every five objects the fourth is for validation and the fifth for tests."""
_NAME = re.compile(r"obj(?P<object>\d+)__(?P<number>\d+)$")
_NEEDED = ("item", "object", "angle")


def read_turntable(path: str | Path, *, step: tuple[float, float] = STEP) -> Listing:
    """Pictures with object and angle; no object is in two splits.

    Args:
        path: a folder or a file in one of the layouts above.
        step: least and greatest turn from x to x+, in degrees.

    Raises:
        SourceError: if it is of none of the layouts, or has too few objects for three splits.
    """
    where = Path(path).absolute()
    rows, skipped = _from_folder(where) if where.is_dir() else (_from_file(where), {})
    if missing := [name for name in _NEEDED if name not in rows]:
        raise SourceError(
            f"{path}: no column {missing[0]}; a turntable has item, object and angle (degrees)"
        )
    rows["object"] = rows["object"].astype(str)
    rows["angle"] = rows["angle"].astype(np.float64)
    rows["group"] = rows["object"]
    if "split" not in rows:
        objects = sorted(rows["object"].unique(), key=lambda name: (len(name), name))
        if len(objects) < EVERY:
            raise SourceError(
                f"{path}: {len(objects)} objects; at least {EVERY}, so that validation and tests "
                "have objects of their own, or a column split"
            )
        places = {name: place % EVERY for place, name in enumerate(objects)}
        splits = {VAL: "val", TEST: "test"}
        rows["split"] = [splits.get(places[name], "train") for name in rows["object"]]
    rule = PairingRule(kind="near", columns=("angle",), step=step, period=CIRCLE, within="object")
    return Listing(rows=rows, kinds={"item": "image"}, rule=rule, skipped=skipped)


def _from_folder(root: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    rows, skipped = [], {}
    for parts in files_below(root, IMAGE_SUFFIXES):
        file = root.joinpath(*parts)
        if match := _NAME.match(file.stem):
            number = float(match["number"])
            rows.append({"item": str(file), "object": match["object"], "angle": number})
        else:
            skipped[str(file)] = "not named as obj1__0.png"
    if not rows:
        raise SourceError(f"{root}: no picture named as obj1__0.png: object, then its number")
    table = pd.DataFrame(rows)
    if table["angle"].max() < COIL_20_PICTURES:
        table["angle"] *= CIRCLE / COIL_20_PICTURES
    return table, skipped


def _from_file(file: Path) -> pd.DataFrame:
    if file.suffix != ".npz":
        listing = read_own_table(file, rule=PairingRule(kind="same", columns=("object",)))
        return pd.DataFrame(listing.rows)
    try:
        with np.load(file, allow_pickle=False) as arrays:
            images = arrays["images"]
            names, angles = arrays["object"], arrays["angle_deg"]
    except (OSError, ValueError, KeyError) as error:
        raise SourceError(
            f"{file}: cannot be read: {error}; an npz has images, object and angle_deg"
        ) from error
    items = [_png(image) for image in images]
    return pd.DataFrame({"item": items, "object": names.astype(str), "angle": angles})


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
