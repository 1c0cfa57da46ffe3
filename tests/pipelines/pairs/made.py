"""Small tables of pairs, of pictures that say which they are."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from pipelines.config.pairing import PairingRule
from pipelines.pairs.make import make_table
from pipelines.pairs.table import PairTable, load_table
from pipelines.sources.listing import Listing

SIDE = 16


def picture(number: int, side: int = SIDE) -> Image.Image:
    """A picture whose grey level in each quarter spells a number up to 255²."""
    pixels = np.full((side, side, 3), number // 256, np.uint8)
    pixels[: side // 2] = number % 256
    return Image.fromarray(pixels)


def png(number: int) -> bytes:
    """The same as the bytes of a file."""
    buffer = io.BytesIO()
    picture(number).save(buffer, "PNG")
    return buffer.getvalue()


def number_of(image: np.ndarray) -> int:
    """What a picture spells: uint8 [1, side, side, channels]."""
    return int(image[0, 0, 0, 0]) + 256 * int(image[0, -1, -1, 0])


def pairs_table(folder: Path, num_pairs: int = 60, **listed: Any) -> PairTable:
    """Pairs (n, n + 1000) as files in a folder, all for training."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for n in range(num_pairs):
        for number in (n, n + 1000):
            picture(number).save(folder / f"{number}.png")
        rows.append(
            {
                "context": str(folder / f"{n}.png"),
                "target": str(folder / f"{n + 1000}.png"),
                "group": f"g{n // 2}",
                "split": "train",
            }
        )
    table = pd.DataFrame(rows).assign(**listed)
    listing = Listing(rows=table, kinds={"context": "image", "target": "image"})
    make_table(listing, str(folder / "pairs.parquet"), val_share=0, test_share=0)
    return load_table(folder / "pairs.parquet").select()


def items_table(folder: Path, rule: PairingRule, rows: pd.DataFrame) -> PairTable:
    """Items as bytes, the n-th spelling n, paired by a rule."""
    folder.mkdir(parents=True, exist_ok=True)
    table = rows.assign(item=[png(n) for n in range(len(rows))])
    if "split" not in table:
        table["split"] = "train"
    listing = Listing(rows=table, kinds={"item": "image"}, rule=rule)
    make_table(listing, str(folder / "items.parquet"), val_share=0, test_share=0)
    return load_table(folder / "items.parquet").select()


def texts_table(folder: Path, num_pairs: int = 60, **listed: Any) -> PairTable:
    """Pairs of texts about the same number, in a vocabulary of a few hundred tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = pd.DataFrame(
        {
            "context": [f"the number {n} is here" for n in range(num_pairs)],
            "target": [f"here one sees {n}, twice {n}" for n in range(num_pairs)],
            "group": [str(n) for n in range(num_pairs)],
            "split": "train",
        }
    ).assign(**listed)
    listing = Listing(rows=rows, kinds={"context": "text", "target": "text"})
    make_table(listing, str(folder / "texts.parquet"), val_share=0, test_share=0, vocabulary=320)
    return load_table(folder / "texts.parquet").select()
