"""Images, texts and sounds: arms that train, verdicts from metrics, pages, refusals in words."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pipelines.config.run import ConfigError, with_overrides
from pipelines.experiments import catalogue
from pipelines.experiments.arm import Arm
from pipelines.experiments.grid import Experiment
from pipelines.experiments.page import Origin, Page
from pipelines.experiments.pairs import images, images_page, sounds_page, texts_page
from pipelines.experiments.pairs.images import with_species
from pipelines.experiments.results import Results
from pipelines.pairs.make import make_table
from pipelines.pairs.rows import PairRows
from pipelines.sources.three_d_ident import read_3dident
from pipelines.trials.trial import SPLIT, TASK
from tests.pipelines.experiments.made import Metrics, results_of
from tests.pipelines.experiments.pairs.made import write_captions, write_scenes, write_sentences


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("texts")
    write_sentences(folder / "sts", folder / "sick")
    return {
        "captions": write_captions(folder / "captions"),
        "sts": folder / "sts",
        "sick": folder / "sick",
    }


def loaded(name: str, sentences: dict[str, Path], *, quick: bool = False) -> Experiment:
    folders = {
        "images": {"turntable": Path("coil")},
        "text": sentences,
        "sound": {"digits": Path("digits")},
    }
    return catalogue.load(name, quick=quick, **folders[name])


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", ["images", "text", "sound"])
def test_every_arm_and_every_setting_tried_is_a_config(
    name: str, quick: bool, sentences: dict[str, Path]
) -> None:
    experiment = loaded(name, sentences, quick=quick)
    tuning = experiment.of_tuning()
    tried = pd.Series([arm.name.rpartition("-")[0] for arm in tuning.arms]).value_counts()
    assert set(tried) == {2 if quick else 3}, "as many settings for all"
    assert set(tried.index) == {arm.name for arm in experiment.arms}
    for arm in (*experiment.arms, *tuning.arms):
        own = {k: v for k, v in arm.settings.items() if not k.startswith(TASK)}
        config = with_overrides(experiment.config, own)
        has_r = arm.method[0] in "vs"
        assert (config.method.latent != "none") == has_r
    assert {arm.settings[SPLIT] for arm in tuning.arms} == {"val"}, "never the test split"
    assert not any(SPLIT in arm.settings for arm in experiment.arms), "the test split"
    steps = {(arm.group, arm.settings["train.steps"]) for arm in experiment.arms}
    assert len(steps) == len({arm.group for arm in experiment.arms}), "the same steps for all"
    assert experiment.num_seeds == (1 if quick else 3)
    if not quick:
        for group in {arm.group for arm in experiment.arms}:
            assert {"infonce", "no-r"} <= {a.method for a in experiment.arms if a.group == group}


def image_metrics(arm: Arm) -> Metrics:
    """The paper's order; r that tells the step; a gain that grows with the noise."""
    if arm.group == images_page.SOLIDS:
        order = {"infonce": 0.72, "aninfonce": 0.74, "hinfonce": 0.78, "no-r": 0.7}
        dci = order.get(arm.method, 0.82 if arm.method == "v" else 0.88)
        known = {"test/dci/z": dci, "test/dci_ridge/z": 0.3, "test/values/h": 0.6}
        known |= {f"test/{name}/h": 0.6 for name in ("hue_object", "position_x")}
        return known | ({"test/values/raw": 0.5} if arm.method == "infonce" else {})
    if arm.group == images_page.TURNTABLE:
        known = {"test/map/h": 0.8, "test/changes/z_pair": 0.4, "test/changes/z": 0.0}
        known |= {"test/transfer/recall_at_1": 0.1, "test/transfer/chance_at_1": 0.1}
        if arm.method == "infonce":
            known |= {"test/map/raw": 0.5, "test/map/untrained": 0.4}
        if arm.method[0] in "vs":
            known |= {"test/changes/r": 0.9, "test/leakage/z": 0.9, "test/leakage/r": 0.4}
            known |= {"test/transfer/recall_at_1": 0.5}
        return known
    share = images_page.NOISY[arm.group]
    return {"test/species/h": 0.9 if arm.method == "v" else 0.9 - share}


def text_metrics(arm: Arm) -> Metrics:
    """AdaSSL-V above the others, and samples of r that find more than one of it."""
    known = {f"test/{name}/spearman": 0.6 for name in texts_page.SETS}
    known |= {f"test/recall_at_{k}/one": 0.2 for k in texts_page.FOUND}
    if arm.method == "infonce":
        for name in texts_page.SETS:
            known |= {f"test/{name}/spearman/{f}": 0.5 for f in texts_page.FLOORS}
    if arm.method == "v":
        known |= {f"test/{name}/spearman": 0.7 for name in texts_page.SETS}
        known |= {f"test/recall_at_{k}/samples": 0.4 for k in texts_page.FOUND}
    return known


def sound_metrics(arm: Arm) -> Metrics:
    """An h that keeps digit and speaker, an r that holds the speaker of x+."""
    known = {"test/digit/h": 0.9, "test/speaker/h": 0.5, "test/next_speaker/z": 0.17}
    known |= {"test/next_speaker/z_pair": 0.4}
    if arm.method == "infonce":
        known |= {"test/digit/raw": 0.8, "test/digit/untrained": 0.7}
    if arm.method == "v":
        known |= {"test/speaker/h": 0.8, "test/next_speaker/r": 0.7, "test/digit/r": 0.2}
    return known


MADE: dict[str, tuple[Callable[[Arm], Metrics], Callable[[Results, Path], Page]]] = {
    "images": (image_metrics, images_page.page_of),
    "text": (text_metrics, texts_page.page_of),
    "sound": (sound_metrics, sounds_page.page_of),
}
NOT_HELD = {
    "images": {
        "solids: DCI grows from InfoNCE over AnInfoNCE and H-InfoNCE to AdaSSL, by ridge, our "
        "measure",
        "solids: h of AdaSSL-V (additive) knows more of the latents than h without r",
        "noise: with 0% corrupted pairs h of AdaSSL-V knows more of the species",
    },
    "text": {
        "STS-B: two captions are better views than one caption with dropout",
        "SICK: two captions are better views than one caption with dropout",
    },
    "sound": {"h of AdaSSL-V knows more of the digit than InfoNCE and the editor without r"},
}


@pytest.mark.parametrize("name", ["images", "text", "sound"])
def test_verdicts_follow_from_the_metrics(
    name: str, sentences: dict[str, Path], tmp_path: Path
) -> None:
    metrics, page_of = MADE[name]
    page = page_of(results_of(loaded(name, sentences), metrics), tmp_path)
    found = {h.statement: h.verdict for h in page.hypotheses}
    assert len(found) == len(page.hypotheses), "no statement twice"
    assert {s for s, verdict in found.items() if verdict == "did not hold"} == NOT_HELD[name]
    assert {v for s, v in found.items() if s not in NOT_HELD[name]} == {"held"}


@pytest.mark.parametrize("name", ["images", "text", "sound"])
def test_the_page_names_its_command_and_draws(
    name: str, sentences: dict[str, Path], tmp_path: Path
) -> None:
    metrics, page_of = MADE[name]
    experiment = loaded(name, sentences)
    results = results_of(experiment, metrics)
    out = tmp_path / "images"
    out.mkdir()
    if name == "text":
        folder = tmp_path / "trials" / "captions.v-s0"
        folder.mkdir(parents=True)
        example = {"caption": "a *dog* | runs", "samples": ["a puppy"], "one": ["a man"]}
        (folder / texts_page.EXAMPLES_FILE).write_text(json.dumps([example]))
    page = page_of(results, tmp_path / "trials").write(
        tmp_path,
        images=out,
        origin=Origin(name=name, command=f"adassl experiment {name}"),
        results=results,
    )
    text = page.read_text()
    assert f"adassl experiment {name}" in text
    drawn = {
        "images": {"solids_dci", "turntable_step", "noise"},
        "text": {"spearman", "recall"},
        "sound": {"digits_known"},
    }
    assert {picture.stem for picture in out.glob("*.png")} == drawn[name]
    assert all(picture.stat().st_size > 5000 for picture in out.glob("*.png"))
    if name == "text":
        assert "- *a dog / runs*\n    - several samples: a puppy" in text
        assert text.index("| TF-IDF |") < text.index("| AdaSSL-V, MLP |")
    else:
        assert text.index("| raw pixels |") < text.index("| InfoNCE |", text.index("| raw pix"))


def test_folders_that_are_missing_empty_or_not_taken_are_named(
    sentences: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="give --captions FOLDER and --sick FOLDER too"):
        catalogue.load("text", quick=True, sts=sentences["sts"])
    with pytest.raises(ConfigError, match=r"no file is named as SICK\*\.txt or SICK\*\.tsv"):
        catalogue.load("text", quick=True, **{**sentences, "sick": tmp_path})
    with pytest.raises(ConfigError, match="sound needs spoken digits: give --digits FOLDER"):
        catalogue.load("sound", quick=True)
    with pytest.raises(ConfigError, match="--digits d: images takes --solids and --turntable"):
        catalogue.load("images", quick=True, digits=Path("d"))
    with pytest.raises(ConfigError, match="--solids s: numerical makes its own data"):
        catalogue.load("numerical", quick=True, solids=Path("s"))


def test_without_a_turntable_the_solids_are_the_whole_experiment() -> None:
    groups = [arm.group for arm in images.experiment(quick=False).arms]
    assert set(groups) == {"solids", "noise-0", "noise-25", "noise-50"}


def test_species_are_places_of_a_colour_and_pairs_are_of_one(tmp_path: Path) -> None:
    scenes = read_3dident(write_scenes(tmp_path / "scenes", num_images=300))
    made = make_table(scenes, str(tmp_path / "solids.parquet"), val_share=0, test_share=0).table
    table = with_species(made)
    found = table.factors
    assert list(found.columns) == ["superclass", "species"]
    assert found["superclass"].nunique() == 4
    assert found["species"].nunique() == 36
    hue = scenes.rows["hue_object"].to_numpy()
    lowest = hue[found["superclass"] == "0"]
    assert lowest.max() < hue[found["superclass"] == "3"].min()
    assert found.groupby("species")["superclass"].nunique().max() == 1, "within a superclass"

    few = made.table.drop_columns(["position_x"])
    with pytest.raises(ConfigError, match="the solids have no latent position_x"):
        with_species(type(made)(table=few, about=made.about, folder=made.folder))


def test_x_of_a_row_is_that_of_its_pair(tmp_path: Path) -> None:
    scenes = read_3dident(write_scenes(tmp_path / "scenes", num_images=40))
    table = make_table(scenes, str(tmp_path / "s.parquet"), val_share=0, test_share=0).table
    config = images.base_config().data
    rows = PairRows(table.select(split="train"), config, seed=3, global_batch_size=8)
    assert [rows.context(i) for i in range(90)] == [rows.pair(i).context for i in range(90)]
