"""3DIdent (arXiv 2102.08850): rendered scenes of one object, and the ten latents of each.

FOLDER/latents.npy           [images, latents], or raw_latents.npy, which its authors pair by
FOLDER/images/000000.png     by the row's number; also images.npy [images, height, width, 3]
FOLDER/train/…, FOLDER/test/…    or the same in a folder a split
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from pipelines.config.pairing import PairingRule
from pipelines.sources.listing import IMAGE_SUFFIXES, SPLIT_NAMES, Listing, SourceError

LATENTS = (
    *("position_x", "position_y", "position_z"),
    *("rotation_phi", "rotation_theta", "rotation_psi"),
    *("rotation_spotlight", "hue_object", "hue_spotlight", "hue_background"),
)
"""In the order of the columns of latents.npy, as the generator of the set writes them."""


def read_3dident(folder: str | Path, *, probability: float = 0.2) -> Listing:
    """Images with their latents; x+ is the image nearest to latents of which some are drawn anew.

    Args:
        folder: of the set.
        probability: of drawing a latent of x anew.

    Raises:
        SourceError: if there are no latents, or not as many as images.
    """
    root = Path(folder).absolute()
    splits = {f.name: f for f in sorted(root.iterdir())} if root.is_dir() else {}
    parts = {
        SPLIT_NAMES[name]: path
        for name, path in splits.items()
        if name in SPLIT_NAMES and _latents_file(path).is_file()
    }
    every: list[pd.DataFrame] = []
    skipped: dict[str, str] = {}
    places: list[tuple[str | None, Path]] = [*parts.items()] or [(None, root)]
    for split, part in places:
        found, missing = _read_part(part)
        every.append(found.assign(split=split))
        skipped |= missing
    rows = pd.concat(every, ignore_index=True)
    names = tuple(str(n) for n in rows.columns if n not in ("item", "split"))
    rule = PairingRule(kind="redraw", columns=names, probability=probability)
    return Listing(rows=rows, kinds={"item": "image"}, rule=rule, skipped=skipped)


def _read_part(folder: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    latents = _array(_latents_file(folder))
    if latents.ndim != 2:
        raise SourceError(f"{folder}/latents.npy: shape {latents.shape}, not [images, latents]")
    if latents.shape[1] == len(LATENTS):
        names = list(LATENTS)
    else:
        names = [f"latent_{number}" for number in range(latents.shape[1])]
    rows = pd.DataFrame(latents.astype(np.float64), columns=names)
    skipped: dict[str, str] = {}
    if (folder / "images.npy").is_file():
        images = _array(folder / "images.npy")
        if len(images) != len(latents):
            raise SourceError(f"{folder}: {len(images)} images and {len(latents)} rows of latents")
        rows["item"] = [_png(image) for image in images]
        return rows, skipped
    there = {
        int(file.stem): str(file)
        for file in sorted((folder / "images").glob("*"))
        if file.suffix.lower() in IMAGE_SUFFIXES and file.stem.isdigit()
    }
    if not there:
        raise SourceError(f"{folder}: no images/000000.png and so on, and no images.npy")
    for number in range(len(rows)):
        if number not in there:
            skipped[f"{folder}/images/{number:06d}.png"] = "no such file"
    kept = rows[[number in there for number in range(len(rows))]]
    return kept.assign(item=[there[number] for number in kept.index]), skipped


def _latents_file(folder: Path) -> Path:
    """The latents by which nearest images are found: each column counts by its own range."""
    raw = folder / "raw_latents.npy"
    return (
        folder / "latents.npy" if (folder / "latents.npy").is_file() or not raw.is_file() else raw
    )


def _array(file: Path) -> Any:
    """An array of a file, which holds numbers and no code."""
    try:
        return np.load(file, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise SourceError(f"{file}: cannot be read: {error}") from error


def _png(image: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
