"""Tiny sets in the layouts that the experiments on pairs read."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import wavfile  # type: ignore[import-untyped]

from pipelines.sources.three_d_ident import LATENTS


def write_scenes(folder: Path, *, num_images: int = 400, side: int = 16) -> Path:
    """A square whose place and colour are three of the ten latents of 3DIdent."""
    (folder / "images").mkdir(parents=True)
    latents = np.random.default_rng(0).uniform(-1, 1, (num_images, len(LATENTS)))
    x, y, hue = (latents[:, LATENTS.index(n)] for n in ("position_x", "position_y", "hue_object"))
    for number in range(num_images):
        pixels = np.zeros((side, side, 3), np.uint8)
        left, top = (int((v[number] + 1) / 2 * (side - 5)) for v in (x, y))
        level = (hue[number] + 1) / 2
        pixels[top : top + 4, left : left + 4] = (int(255 * level), int(255 * (1 - level)), 128)
        Image.fromarray(pixels).save(folder / "images" / f"{number:06d}.png")
    np.save(folder / "latents.npy", latents)
    return folder


def write_turntable(file: Path, *, num_objects: int = 10, num_angles: int = 24) -> Path:
    """Bars that turn, each object with a pattern of its own."""
    images, names, angles = [], [], []
    places = np.stack(np.meshgrid(*[np.linspace(-1, 1, 16)] * 2), axis=-1)
    for number in range(num_objects):
        for angle in np.arange(num_angles) * 360 / num_angles:
            turn = np.deg2rad(angle)
            along = places @ np.array([np.cos(turn), np.sin(turn)])
            across = places @ np.array([-np.sin(turn), np.cos(turn)])
            lit = (along > 0) & (np.abs(across) < 0.15 + 0.08 * number)
            images.append(255 * lit.astype(np.uint8))
            names.append(number)
            angles.append(angle)
    np.savez(file, images=np.stack(images), object=np.asarray(names), angle_deg=np.asarray(angles))
    return file


def write_captions(folder: Path, *, num_pictures: int = 120) -> Path:
    """Three captions of each picture: who does what where, in words of their own."""
    who, what, where = (
        [("man", "guy", "person"), ("girl", "child", "kid"), ("dog", "puppy", "animal")],
        [("runs", "jogs", "hurries"), ("sleeps", "naps", "rests"), ("eats", "dines", "feeds")],
        [("park", "garden", "lawn"), ("street", "road", "town"), ("house", "room", "home")],
    )
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, number in (("train", num_pictures), ("val", 40), ("test_2016", 40)):
        scenes = rng.integers(0, 3, (number, 3))
        for caption in range(3):
            lines = [
                f"a {who[i][caption]} {what[j][caption]} in the {where[k][caption]} {n}"
                for n, (i, j, k) in enumerate(scenes)
            ]
            (folder / f"{split}.{caption + 1}.en").write_text("\n".join(lines) + "\n")
    return folder


def write_sentences(sts: Path, sick: Path, *, num_pairs: int = 40) -> None:
    """Sentences in the layouts of the STS benchmark and SICK."""
    rng = np.random.default_rng(0)
    words = ("man", "girl", "dog", "runs", "sleeps", "eats", "park", "street", "house")
    sts.mkdir(parents=True)
    sick.mkdir(parents=True)

    def pair() -> tuple[float, str, str]:
        one, other = (rng.permutation(words)[:4] for _ in range(2))
        return len(set(one) & set(other)) / 4 * 5, " ".join(one), " ".join(other)

    for split in ("train", "dev", "test"):
        rows = [pair() for _ in range(num_pairs)]
        text = "\n".join(f"g\tf\t2012\t{i}\t{s}\t{a}\t{b}" for i, (s, a, b) in enumerate(rows))
        (sts / f"sts-{split}.csv").write_text(text + "\n")
    head = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment"
    for name in ("train", "trial", "test_annotated"):
        rows = [pair() for _ in range(num_pairs)]
        lines = [f"{i}\t{a}\t{b}\t{s}\tNEUTRAL" for i, (s, a, b) in enumerate(rows)]
        (sick / f"SICK_{name}.txt").write_text("\n".join([head, *lines]) + "\n")


def write_digits(folder: Path, *, takes: tuple[int, ...] = (*range(8), 8, 9, 10, 11)) -> Path:
    """A chord for each of ten digits in the pitch of each of three speakers."""
    (folder / "recordings").mkdir(parents=True)
    rng = np.random.default_rng(0)
    times = np.arange(4000) / 8000
    for digit in range(10):
        for number, speaker in enumerate(("ada", "bob", "eve")):
            for take in takes:
                pitch = 200 * (1 + 0.3 * number)
                sound = np.sin(2 * np.pi * pitch * times)
                sound += np.sin(2 * np.pi * (800 + 250 * digit) * times)
                sound += 0.1 * rng.normal(size=len(times))
                name = f"{digit}_{speaker}_{take}.wav"
                wavfile.write(folder / "recordings" / name, 8000, (8000 * sound).astype(np.int16))
    return folder
