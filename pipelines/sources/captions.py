"""Captions: several texts of each picture.

Flickr30k, Flickr8k    a file of lines `1000092795.jpg#0<TAB>text`, or `image,caption` (csv), or
                       `image| comment_number| comment`
Multi30k               files train.1.en, train.2.en, … (or .gz): line n of each is of picture n
"""

import gzip
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipelines.config.pairing import PairingRule
from pipelines.sources.listing import SPLIT_NAMES, Listing, SourceError

_NUMBERED = re.compile(r"(?P<stem>.+?)\.\d+(?P<rest>\.[a-z]{2,3})?(\.gz)?$")
_TAB = re.compile(r"(?P<image>.+?)#\d+\t(?P<text>.*)$")


def read_captions(files: Sequence[str | Path], *, images: str | Path | None = None) -> Listing:
    """Captions; pairs are two captions of one picture, or a picture and one of its captions.

    Args:
        files: of one of the layouts above; a file whose name begins with a split is that split's.
        images: the folder of the pictures: context is then the picture, target the caption.

    Raises:
        SourceError: if a file is of none of the layouts, or captions name no picture.
    """
    rows: list[dict[str, object]] = []
    skipped: dict[str, str] = {}
    for file in map(Path, files):
        if not file.is_file():
            raise SourceError(f"{file}: no such file")
        split = next(
            (s for w, s in SPLIT_NAMES.items() if re.match(rf"{w}[._\d-]", file.name)), None
        )
        for number, (image, text) in enumerate(_captions(file)):
            if text.strip():
                rows.append({"image": image, "text": text.strip(), "split": split})
            else:
                skipped[f"{file}, line {number + 1}"] = "empty text"
    table = pd.DataFrame(rows, columns=["image", "text", "split"])
    if not len(table):
        raise SourceError(f"{', '.join(map(str, files))}: no caption")
    table["group"] = table["image"]
    if images is None:
        found = table.rename(columns={"text": "item", "image": "picture"})
        rule = PairingRule(kind="same", columns=("picture",))
        return Listing(rows=found, kinds={"item": "text"}, rule=rule, skipped=skipped)
    folder = Path(images).absolute()
    there = {name: (folder / name).is_file() for name in table["image"].unique()}
    skipped |= {str(folder / name): "no such file" for name, is_in in there.items() if not is_in}
    table = table[table["image"].map(there)]
    if not len(table):
        raise SourceError(f"{folder}: none of the pictures that the captions name is there")
    context = [str(folder / name) for name in table["image"]]
    found = table.assign(context=context, target=table["text"]).drop(columns=["image", "text"])
    return Listing(
        rows=found.reset_index(drop=True),
        kinds={"context": "image", "target": "text"},
        skipped=skipped,
    )


def _captions(file: Path) -> list[tuple[str, str]]:
    """Picture and text of each line."""
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rt", encoding="utf-8") as content:
            lines = [line.rstrip("\r\n") for line in content]
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{file}: cannot be read: {error}") from error
    if lines and all(_TAB.match(line) for line in lines if line):
        found = [match for line in lines if (match := _TAB.match(line))]
        return [(match["image"], match["text"]) for match in found]
    first = lines[0].replace(" ", "").lower() if lines else ""
    if first in ("image,caption", "image_name|comment_number|comment"):
        mark, most = (",", 1) if "," in first else ("|", 2)
        parts = [line.split(mark, most) for line in lines[1:] if line]
        return [(part[0].strip(), part[-1].strip().strip('"')) for part in parts]
    if match := _NUMBERED.match(file.name):
        return [(f"{match['stem']}, picture {n + 1}", line) for n, line in enumerate(lines)]
    raise SourceError(
        f"{file}: neither `name.jpg#0<TAB>text`, nor `image,caption`, nor a numbered file such as "
        "train.1.en, of which line n is of picture n"
    )
