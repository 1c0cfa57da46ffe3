"""Rendered solids: a function of the seed, every latent to be seen, and what the source reads."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.kernel_ridge import KernelRidge

from pipelines.sources.listing import SourceError
from pipelines.sources.solid_scene import RendererMissingError, SolidScene, rotation
from pipelines.sources.solids import draw_sweep, write_solids
from pipelines.sources.three_d_ident import LATENTS, read_3dident


@pytest.fixture(scope="module")
def scene() -> SolidScene:
    return SolidScene(32)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.suffix in (".png", ".npy")
    }


def test_an_image_is_a_function_of_the_seed_and_its_number(tmp_path: Path) -> None:
    alone, several, fewer, other = (tmp_path / n for n in ("alone", "several", "fewer", "other"))
    write_solids(alone, num_images=80, image_size=16, num_workers=1)
    write_solids(several, num_images=80, image_size=16, num_workers=2)
    assert files_of(several) == files_of(alone)
    write_solids(fewer, num_images=40, image_size=16, num_workers=1)
    images = {k: v for k, v in files_of(fewer).items() if k.endswith("png")}
    assert images.items() < files_of(alone).items()
    write_solids(other, num_images=40, image_size=16, seed=1, num_workers=1)
    assert not set(images.values()) & set(files_of(other).values())


def test_the_source_reads_images_beside_their_own_latents(
    tmp_path: Path, scene: SolidScene
) -> None:
    write_solids(tmp_path, num_images=20, image_size=32, seed=3, num_workers=1)
    found = read_3dident(tmp_path)
    assert found.rows["split"].value_counts().to_dict() == {"train": 18, "test": 2}
    assert not found.skipped
    latents = found.rows[list(LATENTS)].to_numpy(np.float64)
    for item, row in zip(found.rows["item"], latents, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(item)), scene.render(row))
    assert json.loads((tmp_path / "solids.json").read_text())["latents"] == list(LATENTS)


@pytest.mark.parametrize("number", range(len(LATENTS)), ids=LATENTS)
def test_each_latent_changes_the_picture_wherever_it_stands(number: int, scene: SolidScene) -> None:
    rng = np.random.default_rng(number)
    for latents in rng.uniform(-1, 1, (6, len(LATENTS))):
        pictures = []
        for value in np.linspace(-1, 1, 5):
            latents[number] = value
            pictures.append(scene.render(latents).astype(np.float64))
        steps = np.abs(np.diff(pictures, axis=0)).max(axis=-1)  # [steps, height, width]
        changed = (steps > 8).mean(axis=(1, 2))
        assert changed.min() > 0.02  # of the pixels, each by 8 of 255 levels
        assert np.abs(pictures[0] - pictures[-1]).mean() > 0.5  # nor does it come round


def test_a_sweep_shows_every_latent(tmp_path: Path) -> None:
    picture = np.asarray(Image.open(draw_sweep(16, tmp_path / "preview.png")))
    assert picture.shape[0] > picture.shape[1]  # ten rows of seven


def test_every_rotation_of_the_solid_is_another_picture(scene: SolidScene) -> None:
    rng = np.random.default_rng(0)
    latents = np.zeros((40, len(LATENTS)))
    latents[:, 3:6] = rng.uniform(-1, 1, (40, 3))
    turns = np.stack([rotation(*(np.pi / 2 * row[3:6])) for row in latents])
    angles = np.arccos(np.clip((np.einsum("aij,bij->ab", turns, turns) - 1) / 2, -1, 1))
    pictures = np.stack([scene.render(row) for row in latents]).astype(np.float64)
    apart = np.abs(pictures[:, None] - pictures[None]).mean(axis=(2, 3, 4))
    far = angles > np.deg2rad(40)
    assert far.sum() > 1000
    assert apart[far].min() > 0.7


def test_the_object_is_never_out_of_the_picture(scene: SolidScene) -> None:
    corners = np.stack(np.meshgrid(*[[-1.0, 1.0]] * 3, indexing="ij"), -1).reshape(-1, 3)
    for corner in corners:
        latents = np.zeros(len(LATENTS))
        latents[:3], latents[7], latents[9] = corner, 1.0, -1.0  # a green object, a blue floor
        pixels = scene.render(latents).astype(np.int64)
        is_object = pixels[..., 1] > pixels[..., 2]
        assert is_object.mean() > 0.02
        edge = np.concatenate([is_object[0], is_object[:, 0], is_object[:, -1], is_object[-1]])
        assert edge.sum() < 0.1 * is_object.sum()  # the tip of the spout or handle, at most


def test_it_goes_on_and_leaves_no_half_image(tmp_path: Path) -> None:
    made, again = tmp_path / "made", tmp_path / "again"
    write_solids(made, num_images=20, image_size=16, num_workers=1)
    whole = files_of(made)
    kept = made / "train/images/000003.png"
    before = kept.stat().st_mtime_ns
    (made / "train/images/000004.png").unlink()
    (made / "test/images/.000001.png.tmp").write_bytes(b"half")
    (made / "test/images/000001.png").unlink()
    summary = write_solids(made, num_images=20, image_size=16, num_workers=1)
    assert (summary.num_written, summary.num_kept) == (2, 18)
    assert files_of(made) == whole
    assert kept.stat().st_mtime_ns == before
    assert not list(made.rglob("*.tmp"))
    assert write_solids(made, num_images=30, image_size=16, num_workers=1).num_kept == 20
    for words, asked in (
        ("image_size=16", {"num_images": 30, "image_size": 32}),
        ("seed=0", {"num_images": 30, "image_size": 16, "seed": 1}),
        ("num_images=30", {"num_images": 20, "image_size": 16}),
    ):
        with pytest.raises(SourceError, match=words):
            write_solids(made, **asked)  # type: ignore[arg-type]
    (again / "train").mkdir(parents=True)
    with pytest.raises(SourceError, match="another kind"):
        write_solids(again, num_images=20)
    with pytest.raises(SourceError, match="at least 20"):
        write_solids(tmp_path / "few", num_images=3)


def test_without_the_ray_tracer_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "embreex.mesh_construction", None)
    with pytest.raises(RendererMissingError, match=r"pip install 'adassl\[solids\]'"):
        write_solids(tmp_path / "out", num_images=20)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("varied", "least"), [((3, 4, 5), 0.8), ((0, 1, 2, 6, 7, 8, 9), 0.8)], ids=["turn", "others"]
)
def test_latents_are_read_from_pixels(
    varied: tuple[int, ...], least: float, scene: SolidScene
) -> None:
    """Some vary while the others are 0: so many images are few for all ten at once."""
    r2 = read_from_pixels(scene, list(varied))
    assert min(r2.values()) > least, r2


def read_from_pixels(scene: SolidScene, varied: list[int]) -> dict[str, float]:
    """Held-out R2 of each latent that varies, by kernel ridge on pixels."""
    latents = np.zeros((2000, len(LATENTS)))
    latents[:, varied] = np.random.default_rng(0).uniform(-1, 1, (len(latents), len(varied)))
    pixels = np.stack([scene.render(row) for row in latents]).reshape(len(latents), -1) / 255.0
    train, test = slice(None, 1800), slice(1800, None)
    inputs = PCA(100, random_state=0).fit(pixels[train]).transform(pixels)
    gamma = 0.5 / inputs[train].var(axis=0).sum()
    fit = KernelRidge(kernel="rbf", gamma=gamma, alpha=0.01)
    told = fit.fit(inputs[train], latents[train]).predict(inputs[test])
    error, spread = ((told - latents[test]) ** 2).mean(0), latents[test].var(0)
    return {LATENTS[n]: round(float(1 - error[n] / spread[n]), 3) for n in varied}
