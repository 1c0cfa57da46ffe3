"""Making and reading tables of pairs."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipelines.cli.app import app
from pipelines.config.data import DataConfig
from pipelines.config.pairing import PairingRule
from pipelines.config.run import ConfigError, with_overrides
from pipelines.errors import UserError
from pipelines.pairs.decode import EntryReader
from pipelines.pairs.files import read_image
from pipelines.pairs.make import make_table
from pipelines.pairs.plan import Plan, find, plan
from pipelines.pairs.rows import PairRows
from pipelines.pairs.stream import rows_here
from pipelines.pairs.table import PairTable, default_recipe, load_table
from pipelines.pairs.text import Texts, num_ids, train_tokenizer
from pipelines.recipes import recipe
from pipelines.sources.listing import Listing
from pipelines.video.stream import Share
from tests.pipelines.pairs.made import (
    items_table,
    number_of,
    pairs_table,
    picture,
    png,
    texts_table,
)


def test_bad_entries_are_named_counted_and_skipped(tmp_path: Path) -> None:
    good, cut, text = (tmp_path / name for name in ("good.png", "cut.png", "text.png"))
    picture(3).save(good)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(cut)
    cut.write_bytes(cut.read_bytes()[:2000])
    text.write_text("no picture")
    names = [good, cut, text, tmp_path / "gone.png", good]
    rows = pd.DataFrame({"context": [str(n) for n in names], "target": [str(good)] * 4 + [None]})
    listing = Listing(rows=rows, kinds={"context": "image", "target": "image"})
    made = make_table(listing, str(tmp_path / "t.parquet"))
    assert list(made.skipped)[:3] == [str(cut), str(text), str(tmp_path / "gone.png")]
    reasons = made.table.table["reason"].to_pylist()
    assert reasons[0] is None
    assert reasons[1].startswith("damaged image")
    assert [r.partition(" (")[0] for r in reasons[2:]] == [
        "not an image",
        "no such file",
        "missing",
    ]
    assert "1 usable" in made.table.describe()
    assert "not an image (context) (1)" in made.table.describe()
    with pytest.raises(UserError, match="no row can be used"):
        make_table(Listing(rows=rows[1:4], kinds=listing.kinds), str(tmp_path / "u.parquet"))


def test_splits_follow_the_group_and_those_that_are_given(tmp_path: Path) -> None:
    rows = pd.DataFrame({"item": [png(n) for n in range(400)], "identity": np.arange(400) // 4})
    rule = PairingRule(kind="same", columns=("identity",))
    listing = Listing(rows=rows.assign(group=rows["identity"]), kinds={"item": "image"}, rule=rule)
    table = make_table(listing, str(tmp_path / "t.parquet"), val_share=0.2, test_share=0.2).table
    split = np.asarray(table.table["split"].to_pylist()).reshape(100, 4)
    assert (split == split[:, :1]).all()
    shares = {name: np.mean(split == name) for name in ("train", "val", "test")}
    assert shares["train"] == pytest.approx(0.6, abs=0.15)
    assert shares["test"] == pytest.approx(0.2, abs=0.12)
    half = np.where(np.arange(400) < 40, "test", "train")
    given = Listing(rows=rows.assign(split=half), kinds={"item": "image"}, rule=rule)
    table = make_table(given, str(tmp_path / "g.parquet"), val_share=0.2, test_share=0.2).table
    split = np.asarray(table.table["split"].to_pylist())
    assert (split[:40] == "test").all()
    assert set(split[40:]) == {"train", "val"}, "test is given, val is drawn"
    wrong = rows.assign(group="all", split=half)
    with pytest.raises(UserError, match="the group all has rows in several splits"):
        make_table(Listing(rows=wrong, kinds={"item": "image"}, rule=rule), str(tmp_path / "w"))


def test_a_table_moves_with_its_files_and_keeps_its_digest(tmp_path: Path) -> None:
    pairs_table(tmp_path / "old", 6)
    shutil.move(tmp_path / "old", tmp_path / "new")
    config = DataConfig(index=str(tmp_path / "new" / "pairs.parquet"), frames_per_clip=1)
    table = find(config)
    assert isinstance(table, PairTable)
    (tmp_path / "files").mkdir()
    for file in (tmp_path / "new").glob("*.png"):
        file.rename(tmp_path / "files" / file.name)
    with pytest.raises(ConfigError, match=r"12 of 12 files .* are not there: 0.png|--videos-root"):
        find(config)
    moved = find(config.model_copy(update={"videos_root": str(tmp_path / "files")}))
    assert moved.digest() == table.digest()
    rows = PairRows(
        moved.select(split="train"),  # type: ignore[arg-type]
        DataConfig(frames_per_clip=1, frame_size=8),
        seed=0,
        global_batch_size=6,
    )
    batch = rows_here(rows, range(1), Share())[0]
    assert sorted(map(number_of, batch.context)) == list(range(6))


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"context": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match="no table of pairs; make one of it"):
        load_table(tmp_path / "other.parquet")
    with pytest.raises(UserError, match="no such file"):
        load_table(tmp_path / "none.parquet")
    metadata = {b"adassl.pairs_version": b"9", b"adassl.pairs": b"{}"}
    table = pa.table({"context": ["a"]}).replace_schema_metadata(metadata)
    pq.write_table(table, tmp_path / "later.parquet")
    with pytest.raises(UserError, match="no table of pairs of version 1"):
        load_table(tmp_path / "later.parquet")


@pytest.mark.parametrize(
    ("mode", "expected"), [("L", 130), ("RGBA", 130), ("P", 122), ("I;16", 130), ("CMYK", None)]
)
def test_pictures_of_every_mode_come_as_bytes(
    mode: str, expected: int | None, tmp_path: Path
) -> None:
    image = Image.new("RGB", (20, 10), (130, 130, 130))
    if mode == "I;16":
        image = Image.fromarray(np.full((10, 20), 130 << 8, np.uint16))
    file = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    (image if mode == "I;16" else image.convert(mode)).save(file)
    config = DataConfig(frames_per_clip=1, frame_size=8)
    pixels = read_image(file.read_bytes(), config, np.full(2, 0.5))
    assert pixels.shape == (1, 8, 8, 3)
    assert pixels.dtype == np.uint8
    if expected is not None:
        assert abs(int(pixels[0, 4, 4, 0]) - expected) <= 1


def test_pictures_are_upright_and_cut_as_videos_are(tmp_path: Path) -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 20:] = 200
    image = Image.fromarray(wide)
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by a quarter
    image.save(tmp_path / "turned.png", exif=exif)
    image.save(tmp_path / "wide.png")
    config = DataConfig(frames_per_clip=1, frame_size=10, grayscale=True)

    def read(name: str, place: float, crop: str = "center") -> np.ndarray:
        content = (tmp_path / name).read_bytes()
        chosen = config.model_copy(update={"crop": crop})
        return read_image(content, chosen, np.full(2, place))[0, :, :, 0]

    assert read("wide.png", 0.5).max() == 0
    assert read("wide.png", 1.0).min() == 200
    assert read("turned.png", 1.0).min() == 200
    squeezed = read("wide.png", 0.5, "none")
    assert (squeezed[0, 0], squeezed[0, -1]) == (0, 200)


def test_a_tokenizer_knows_every_text_and_is_kept_beside_the_table(tmp_path: Path) -> None:
    table = texts_table(tmp_path)
    assert table.tokenizer is not None
    texts = Texts(table.tokenizer, 12)
    assert num_ids(table.tokenizer) <= 320
    for text in ("the number 7 is here", "Größe 東京 🙂"):
        ids = Texts(table.tokenizer, 64)(text)
        assert ids[0] == 1
        assert Texts(table.tokenizer, 64).words(ids) == text
    long = texts("the number 7 is here " * 9)
    assert len(long) == 12
    assert (long > 0).all()
    assert train_tokenizer(["a b"] * 3, 300) == train_tokenizer(["a b"] * 3, 300)
    reader = EntryReader(table, DataConfig(max_tokens=12))
    assert (reader.shape("target"), reader.dtype("target")) == ((12,), np.int32)
    (tmp_path / "texts.tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="is not the one that it was made with"):
        load_table(tmp_path / "texts.parquet")
    (tmp_path / "texts.tokenizer.json").unlink()
    with pytest.raises(UserError, match="is missing"):
        load_table(tmp_path / "texts.parquet")


def test_the_recipe_and_the_checks_follow_from_what_the_table_holds(tmp_path: Path) -> None:
    texts_table(tmp_path)
    pairs_table(tmp_path)
    for name, kind in (("texts", "texts"), ("pairs", "images"), ("none", "videos")):
        assert default_recipe(str(tmp_path / f"{name}.parquet")) == kind

    def planned(recipe_name: str, table: str, **changes: object) -> Plan:
        settings = {"data.index": str(tmp_path / f"{table}.parquet"), "train.global_batch_size": 16}
        return plan(with_overrides(recipe(recipe_name), {**settings, **changes}))

    assert "60 pairs to train on" in planned("texts", "texts").lines()[0]
    for changes, words in (
        ({"recipe_name": "images", "table": "texts"}, "context is text: set backbone.name=text_tr"),
        ({"recipe_name": "texts", "table": "pairs"}, "context is image: set backbone.name=conv3d"),
        ({"recipe_name": "image-text", "table": "texts"}, "backbone.name=conv3d, and context"),
        ({"recipe_name": "videos", "table": "pairs"}, "data.frames_per_clip=3"),
        ({"recipe_name": "texts", "table": "texts", "train.global_batch_size": 64}, "60 pairs to"),
        ({"recipe_name": "texts", "table": "texts", "backbone.vocabulary": 99}, "vocabulary=99"),
        ({"recipe_name": "texts", "table": "texts", "data.views": "both"}, "not augmented"),
    ):
        with pytest.raises(ConfigError, match=words):
            planned(**changes)


def test_the_command_makes_checks_and_draws(tmp_path: Path) -> None:
    for n in range(24):
        (tmp_path / "set" / f"p{n // 4}").mkdir(parents=True, exist_ok=True)
        picture(n).save(tmp_path / "set" / f"p{n // 4}" / f"{n}.png")
    (tmp_path / "set" / "p0" / "bad.jpg").write_text("x")
    command = ["data", "pairs", "identity-folders", str(tmp_path / "set")]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "pairs.parquet")])
    assert done.exit_code == 0, done.output
    assert "bad.jpg: not an image" in done.output
    assert "25 items (image), 24 usable" in done.output
    assert "same identity" in done.output
    assert Image.open(tmp_path / "pairs.preview.png").size[0] > 100
    table = load_table(tmp_path / "pairs.parquet")
    assert table.table["item"][0].as_py().startswith("set/p0/"), "relative to the table"


def test_a_rule_of_the_command_line(tmp_path: Path) -> None:
    rows = pd.DataFrame({"item": [png(n) for n in range(20)], "angle": np.arange(20) * 18.0})
    rows.to_parquet(tmp_path / "own.parquet")
    base = ["data", "pairs", "table", str(tmp_path / "own.parquet"), "--out"]
    rule = ["--near", "angle", "--step", "10", "40", "--period", "360"]
    done = CliRunner().invoke(app, [*base, str(tmp_path / "t.parquet"), *rule])
    assert done.exit_code == 0, done.output
    assert load_table(tmp_path / "t.parquet").rule == PairingRule(
        kind="near", columns=("angle",), step=(10, 40), period=360
    )
    for more, words in (
        (["--near", "angle"], "near needs it"),
        (["--near", "angle", "--same", "angle"], "by one of them"),
    ):
        done = CliRunner().invoke(app, [*base, str(tmp_path / "u.parquet"), *more])
        assert isinstance(done.exception, UserError)
        assert words in str(done.exception)


def test_labels_are_columns_and_changes_of_values(tmp_path: Path) -> None:
    from pipelines.evaluation.embed import Moments
    from pipelines.evaluation.factors import factors_of

    rule = PairingRule(kind="near", columns=("angle",), step=(10, 10), period=360)
    rows = pd.DataFrame({"angle": np.arange(0, 360, 10.0), "kind": ["a", "b"] * 18})
    table = items_table(tmp_path, rule, rows)
    moments = Moments(
        path=np.array(["x", "x"], object), start=np.array([0, 35]), gap=np.array([1, -35])
    )
    found = factors_of(moments, table)
    assert found["angle"].tolist() == [0, 350]
    assert found["angle_change"].tolist() == [10, 10], "round after 360"
    assert found["kind"].tolist() == ["a", "b"]
