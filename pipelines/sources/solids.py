"""Rendered solids with their latents, in the layout of 3DIdent: made here, nothing is downloaded.

OUT/train/latents.npy          float64 [images, 10], each uniform in [-1, 1], named by LATENTS
OUT/train/images/000000.png    by the row's number
OUT/test/…                     the same; every tenth image is of the test split
OUT/solids.json                what it was made with

What a latent does to the picture stands in `solid_scene`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from pipelines.sources.listing import SourceError
from pipelines.sources.many_files import write_files
from pipelines.sources.solid_scene import SolidScene
from pipelines.sources.three_d_ident import LATENTS

IMAGES_PER_TASK = 64
TEST_EVERY = 10
ABOUT = "solids.json"
_SWEPT = 7


@dataclass(frozen=True, kw_only=True)
class SolidsSettings:
    """What the images depend on, but for their number."""

    image_size: int
    seed: int
    latents: tuple[str, ...] = LATENTS


@dataclass(frozen=True, kw_only=True)
class SolidsSummary:
    """What a call wrote."""

    out: Path
    num_images: int
    num_written: int

    @property
    def num_kept(self) -> int:
        """Images that were there."""
        return self.num_images - self.num_written


def write_solids(
    folder: str | Path,
    *,
    num_images: int,
    image_size: int = 64,
    seed: int = 0,
    num_workers: int | None = None,
    console: Console | None = None,
) -> SolidsSummary:
    """Draw latents and render them; `three_d_ident.read_3dident` reads the folder.

    Image i, of both splits counted together, depends on the seed, the size and i alone; processors
    of another kind may round a few pixels otherwise. A call continues one that was interrupted or
    asked for fewer images: finished files stay.

    Args:
        folder: where to write.
        num_images: of both splits.
        image_size: side in pixels.
        seed: of the latents.
        num_workers: processes; None: one for each core; 1: this one.
        console: where to show progress; None: nowhere.

    Raises:
        SourceError: if the settings make no sense or the folder holds something else.
        RendererMissingError: if the ray tracer is not installed.
    """
    if num_images < 2 * TEST_EVERY:
        raise SourceError(
            f"num_images={num_images}: at least {2 * TEST_EVERY}, of which a tenth is for tests"
        )
    if image_size < 16:
        raise SourceError(f"image_size={image_size}: at least 16 pixels, or nothing is seen")
    if seed < 0:
        raise SourceError(f"seed={seed}: at least 0")
    out, settings = Path(folder), SolidsSettings(image_size=image_size, seed=seed)
    _check_folder(out, settings, num_images)
    SolidScene(image_size)  # before anything is written: it may be missing
    out.mkdir(parents=True, exist_ok=True)
    about = json.dumps(asdict(settings) | {"num_images": num_images}, indent=2)
    _replace(out / ABOUT, about.encode())  # first: it says what the folder is
    tasks: list[_Task] = []
    for split, latents in latents_of(num_images, seed).items():
        images = out / split / "images"
        images.mkdir(parents=True, exist_ok=True)
        unfinished = images.parent / ".latents.npy.tmp"
        with unfinished.open("wb") as file:
            np.save(file, latents)
        unfinished.replace(images.parent / "latents.npy")
        tasks += [
            _Task(path=path, latents=row, image_size=image_size)
            for number, row in enumerate(latents)
            if not (path := images / f"{number:06d}.png").exists()
        ]
    write_files(
        tasks,
        _write_chunk,
        tasks_at_once=IMAGES_PER_TASK,
        what="solids",
        unit="images",
        num_workers=num_workers,
        console=console,
    )
    return SolidsSummary(out=out, num_images=num_images, num_written=len(tasks))


def latents_of(num_images: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """The latents of each split, [images, 10]; more images have the same first ones."""
    every = np.random.default_rng([seed, 1]).uniform(-1, 1, (num_images, len(LATENTS)))
    is_test = np.arange(num_images) % TEST_EVERY == TEST_EVERY - 1
    return {"train": every[~is_test], "test": every[is_test]}


def draw_sweep(image_size: int, path: Path) -> Path:
    """Draw each latent, a row, from -1 to 1, the others at 0."""
    from pipelines import figures  # which the processes that render need not load

    scene = SolidScene(image_size)
    values = np.linspace(-1, 1, _SWEPT)
    swept = np.zeros((len(LATENTS), _SWEPT, len(LATENTS)))
    for number in range(len(LATENTS)):
        swept[number, :, number] = values
    pictures = np.stack([[scene.render(latents) for latents in row] for row in swept])
    return figures.latent_sweep(pictures, LATENTS, values.tolist(), path)


@dataclass(frozen=True, kw_only=True)
class _Task:
    path: Path
    latents: NDArray[np.float64]
    image_size: int


def _write_chunk(tasks: Sequence[_Task]) -> int:
    scene = SolidScene(tasks[0].image_size)
    for task in tasks:
        unfinished = task.path.with_name(f".{task.path.name}.tmp")
        Image.fromarray(scene.render(task.latents)).save(unfinished, "PNG")
        unfinished.replace(task.path)
    return len(tasks)


def _check_folder(out: Path, settings: SolidsSettings, num_images: int) -> None:
    if not (out / ABOUT).exists():
        if any((out / name).exists() for name in ("train", "test")):
            raise SourceError(f"{out} holds a data set of another kind; choose another folder")
        return
    try:
        written = dict(json.loads((out / ABOUT).read_text()))
    except ValueError:
        written = {}
    asked = json.loads(json.dumps(asdict(settings)))
    other = {k: v for k, v in written.items() if v != asked.get(k) and k != "num_images"}
    if not written or other or written["num_images"] > num_images:
        told = ", ".join(f"{k}={written[k]}" for k in (*other, "num_images") if k in written)
        raise SourceError(
            f"{out} was written with {told or 'something else'}; asked for now are "
            f"num_images={num_images}, image_size={settings.image_size}, seed={settings.seed}: "
            "choose another folder or remove this one (num_images alone may grow)"
        )


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_bytes(content)
    unfinished.replace(path)
