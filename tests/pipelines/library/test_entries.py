"""The entries of tables of pairs, embedded on Ray: each once, as the learner embeds it."""

import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from scipy.io import wavfile  # type: ignore[import-untyped]

from pipelines.config.pairing import PairingRule
from pipelines.config.run import ConfigError, with_overrides
from pipelines.library.embed import EmbedSummary, embed
from pipelines.library.embeddings import Embeddings, load_embeddings
from pipelines.library.entries import entries_of
from pipelines.library.search import Library
from pipelines.library.search_page import search_page
from pipelines.pairs.decode import EntryReader
from pipelines.pairs.make import make_table
from pipelines.pairs.table import PairTable, PairTableError, load_table
from pipelines.recipes import RECIPES
from pipelines.sources.listing import Listing
from pipelines.training.learner import Learner
from tests.pipelines.library.made import saved_run
from tests.pipelines.pairs.made import pairs_table, picture, png, texts_table
from tests.processes import here

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

SMALL = {"method.latent": "none", "method.editor": "identity", "data.frame_size": 16}
SMALL |= {"data.max_tokens": 16}
IMAGES = {"backbone.hidden_dims": (4, 8, 16)}
TEXTS = {"backbone.hidden_dims": (16, 16), "backbone.vocabulary": 512}


def made_run(folder: Path, recipe: str, index: Path, settings: dict[str, Any]) -> Learner:
    """A run with an untrained encoder."""
    torch.manual_seed(0)
    changes = {"data.index": str(index), **SMALL, **settings}
    learner = Learner(with_overrides(RECIPES[recipe](), changes), torch.device("cpu"))
    saved_run(folder, learner)
    learner.method.eval()
    return learner


class Made(NamedTuple):
    """A table that a run's encoder embedded."""

    folder: Path
    table: Path
    learner: Learner
    summary: EmbedSummary


def embedded(run: Path, index: Path, out: Path, **settings: Any) -> EmbedSummary:
    return embed(run, index, out, **{"precision": "float32", **settings})


def vectors(found: Embeddings, what: str) -> dict[str, NDArray[np.float32]]:
    """By name."""
    return dict(zip(found.path, getattr(found, what), strict=True))


@torch.no_grad()
def told(learner: Learner, table: PairTable, view: str, row: int) -> NDArray[np.float32]:
    """H of an entry by the method itself."""
    entry = EntryReader(table, learner.config.data).read(view, row, np.full(2, 0.5))
    return learner.method.embed(learner.to_input(entry[None].copy()))[0].numpy()


def sound(hertz: float) -> bytes:
    buffer = io.BytesIO()
    samples = np.sin(2 * np.pi * hertz * np.arange(4000) / 4000)
    wavfile.write(buffer, 4000, np.rint(samples * 30_000).astype("int16"))
    return buffer.getvalue()


def of_images(folder: Path) -> Path:
    """Six pairs of files, of which one occurs in two rows, and a copy of another."""
    pairs_table(folder, 6)
    (folder / "copy.png").write_bytes((folder / "3.png").read_bytes())
    found = load_table(folder / "pairs.parquet").table.to_pandas()
    rows = found[["context", "target", "split"]].assign(split=["train"] * 4 + ["val", "test"])
    rows[["context", "target"]] = rows[["context", "target"]].map(lambda name: str(folder / name))
    rows.loc[1, "target"] = rows.loc[0, "context"]
    rows.loc[2, "target"] = str(folder / "copy.png")
    kinds: Any = {"context": "image", "target": "image"}
    make_table(Listing(rows=rows, kinds=kinds), str(folder / "pairs.parquet"), val_share=0)
    return folder / "pairs.parquet"


def of_texts(folder: Path) -> Path:
    texts_table(folder, 6, target=[f"the number {(n + 1) % 6} is here" for n in range(6)])
    return folder / "texts.parquet"


def of_sounds(folder: Path) -> Path:
    folder.mkdir()
    rows = pd.DataFrame({"item": [sound(100.0 * (1 + n % 5)) for n in range(8)]})
    rows = rows.assign(take=[n % 2 for n in range(8)], split="train")
    rule = PairingRule(kind="same", columns=("take",))
    make_table(
        Listing(rows=rows, kinds={"item": "sound"}, rule=rule), str(folder / "items.parquet")
    )
    return folder / "items.parquet"


CASES: dict[str, tuple[Callable[[Path], Path], dict[str, Any], int]] = {
    "images": (of_images, IMAGES, 10),
    "texts": (of_texts, TEXTS, 6),
    "sounds": (of_sounds, IMAGES, 5),
}


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """Embeds a table once for all tests."""

    @cache
    def made(recipe: str) -> Made:
        folder = tmp_path_factory.mktemp(recipe)
        make, settings, _ = CASES[recipe]
        index = make(folder / "set")
        learner = made_run(folder / "run", recipe, index, settings)
        return Made(folder, index, learner, embedded(folder / "run", index, folder / "out"))

    return made


@pytest.mark.parametrize(
    "recipe", ["images", "texts", pytest.param("sounds", marks=pytest.mark.slow)]
)
def test_each_entry_is_there_once_as_the_method_embeds_it(
    recipe: str, libraries: Callable[[str], Made]
) -> None:
    num_entries = CASES[recipe][2]
    folder, index, learner, summary = libraries(recipe)
    assert (summary.num_new, summary.num_clips, summary.skipped) == (num_entries, num_entries, {})
    assert f"{num_entries} entries, {num_entries} of them new" in summary.lines()[0]
    found = load_embeddings(str(folder / "out"))
    assert len(set(found.path)) == len(found) == num_entries
    table = load_table(index)
    h, z = vectors(found, "h"), vectors(found, "z")
    digests = dict(zip(found.videos.column("digest"), found.videos.path, strict=True))
    for row in range(len(table)):
        for at, view in enumerate(table.about.kinds):
            name = digests[table.table["digest"][row].as_py()[32 * at : 32 * at + 32]]
            np.testing.assert_allclose(h[name], told(learner, table, view, row), atol=1e-5)
            assert np.linalg.norm(z[name]) == pytest.approx(1, abs=1e-5)
    assert embedded(folder / "run", index, folder / "out").num_new == 0


@pytest.mark.slow
def test_it_goes_on_with_what_is_missing_or_new_and_names_what_is_bad(tmp_path: Path) -> None:
    folder, out = tmp_path / "set", tmp_path / "out"
    index = of_images(folder)
    made_run(tmp_path / "run", "images", index, IMAGES)
    (folder / "5.png").rename(tmp_path / "5.png")
    (folder / "1004.png").write_bytes(b"damaged")
    summary = embedded(tmp_path / "run", index, out)
    bad = {str(folder / "5.png"): "no such file", str(folder / "1004.png"): "not an image"}
    assert summary.skipped == bad == json.loads((out / "skipped.json").read_text())
    assert (summary.num_new, summary.num_skipped) == (8, 2)
    assert "skipped: 2 entries" in summary.lines()[-2]
    parts = {file.name: file.read_bytes() for file in (out / "parts").iterdir()}

    (tmp_path / "5.png").rename(folder / "5.png")
    picture(1004).save(folder / "1004.png")
    assert embedded(tmp_path / "run", index, out).num_new == 2
    assert {name: (out / "parts" / name).read_bytes() for name in parts} == parts
    pairs_table(folder, 7)  # all of the copies are gone, and there is a seventh pair
    summary = embedded(tmp_path / "run", index, out)
    assert (summary.num_new, summary.num_clips, summary.num_others) == (4, 14, 0)


def test_a_query_is_an_entry_or_any_other_text(libraries: Callable[[str], Made]) -> None:
    folder = libraries("texts").folder
    library = Library(str(folder / "out"), "h")
    known, new = library.search(["the number 3 is here", "the number 17 @ 5 is here"], k=3)
    assert known.looked_up
    assert not new.looked_up
    assert str(known.query) not in {hit.path for hit in known.hits}
    assert len(known.hits) == len(new.hits) == 3
    page = search_page(library, [known])
    assert known.hits[0].path in page
    status, printed = here(
        folder, ["search", "out", "the number 3 is here", "--by", "h", "--k", "1"]
    )
    assert status == 0, printed
    assert known.hits[0].path in printed


def test_texts_of_another_table_are_read_by_the_tokenizer_of_the_run(tmp_path: Path) -> None:
    index = of_texts(tmp_path / "set")
    config = made_run(tmp_path / "run", "texts", index, TEXTS).config
    other = texts_table(tmp_path / "other", 4, context=[f"{n} twelve 3 is here" for n in "abcd"])
    assert other.tokenizer != load_table(index).tokenizer
    entries = entries_of(config, other)
    assert entries.table.tokenizer == load_table(index).tokenizer
    assert entries.num_clips == 8
    index.unlink()
    with pytest.raises(PairTableError, match="no such file"):
        entries_of(config, other)


@pytest.mark.slow
def test_images_and_captions_meet_in_one_space(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {
            "context": [png(n) for n in range(5)],
            "target": [f"a picture of {n}" for n in range(5)],
            "split": "train",
        }
    )
    index = tmp_path / "both.parquet"
    kinds: Any = {"context": "image", "target": "text"}
    make_table(Listing(rows=rows, kinds=kinds), str(index), val_share=0, vocabulary=300)
    second = {f"second_{name}": value for name, value in TEXTS.items()}
    learner = made_run(tmp_path / "run", "image-text", index, {**IMAGES, **second})
    with pytest.raises(ConfigError, match="--what z"):
        embedded(tmp_path / "run", index, tmp_path / "out")
    assert embedded(tmp_path / "run", index, tmp_path / "out", what="z").num_new == 10
    found = vectors(load_embeddings(str(tmp_path / "out")), "z")
    assert learner.method.second_encoder is not None
    table = load_table(index)
    tokens = EntryReader(table, learner.config.data).read("target", 2, np.full(2, 0.5))
    with torch.no_grad():
        z = learner.method.second_encoder(learner.to_input(tokens[None])).embedding
    unit = torch.nn.functional.normalize(z, dim=-1)[0].numpy()
    np.testing.assert_allclose(found["a picture of 2"], unit, atol=1e-5)

    picture(900).save(tmp_path / "new.png")
    by_text, by_image = Library(str(tmp_path / "out")).search(
        ["another picture", str(tmp_path / "new.png")], k=10
    )
    assert len(by_text.hits) == len(by_image.hits) == 10


def test_what_the_encoder_does_not_read_is_refused(tmp_path: Path) -> None:
    images, texts = of_images(tmp_path / "images"), of_texts(tmp_path / "texts")
    made_run(tmp_path / "run", "images", images, IMAGES)
    with pytest.raises(ConfigError, match="context of the table is text, and the run's encoder"):
        embedded(tmp_path / "run", texts, tmp_path / "out")
    made_run(tmp_path / "long", "videos", images, {**IMAGES, "data.frames_per_clip": 3})
    with pytest.raises(ConfigError, match="clips of 3 frames"):
        embedded(tmp_path / "long", images, tmp_path / "out")
