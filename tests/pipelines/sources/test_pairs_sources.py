"""Sources of pairs, each on small files in the layout of its authors."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines.config.pairing import PairingRule
from pipelines.sources.captions import read_captions
from pipelines.sources.celeba import read_celeba
from pipelines.sources.image_folders import read_image_folders
from pipelines.sources.inaturalist import read_inaturalist
from pipelines.sources.listing import SourceError
from pipelines.sources.own_table import read_own_table
from pipelines.sources.sentences import read_sentences
from pipelines.sources.spoken_digits import read_spoken_digits
from pipelines.sources.three_d_ident import LATENTS, read_3dident
from pipelines.sources.turntable import read_turntable


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (9, 9, 9)).save(path)
    return path


def test_class_folders_with_splits_and_identity_folders_without(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        for name in ("cat", "dog"):
            image(tmp_path / "classes" / split / name / "1.jpg")
            image(tmp_path / "classes" / split / name / "2.JPG")
    found = read_image_folders(tmp_path / "classes", of="class")
    assert found.rows.groupby(["split", "class"]).size().tolist() == [2] * 6
    assert found.rule == PairingRule(kind="same", columns=("class",))
    for n in range(4):
        image(tmp_path / "people" / f"s{n // 2}" / f"{n}.pgm")
    stray = image(tmp_path / "people" / "stray.png")
    (tmp_path / "people" / "s0" / "notes.txt").write_text("")
    found = read_image_folders(tmp_path / "people", of="identity")
    assert (
        found.rows["identity"].tolist() == found.rows["group"].tolist() == ["s0"] * 2 + ["s1"] * 2
    )
    assert found.rows["split"].isna().all()
    assert found.skipped == {str(stray): "in no folder of a identity"}
    with pytest.raises(SourceError, match="no such folder"):
        read_image_folders(tmp_path / "none", of="class")


def test_3dident_with_images_by_number(tmp_path: Path) -> None:
    latents = np.random.default_rng(0).random((12, 10))
    np.save(tmp_path / "latents.npy", latents)
    for n in range(11):
        image(tmp_path / "images" / f"{n:02d}.png")
    found = read_3dident(tmp_path, probability=0.3)
    assert len(found.rows) == 11
    np.testing.assert_array_equal(found.rows[list(LATENTS)].to_numpy(), latents[:11])
    assert Path(found.rows["item"][10]).name == "10.png"
    assert found.rule == PairingRule(kind="redraw", columns=LATENTS, probability=0.3)
    assert list(found.skipped.values()) == ["no such file"]


def test_3dident_in_splits_with_raw_latents(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        np.save(tmp_path / split / "raw_latents.npy", np.zeros((3, 11)))
        for n in range(3):
            image(tmp_path / split / "images" / f"{n}.png")
    found = read_3dident(tmp_path)
    assert found.rows["split"].tolist() == ["test"] * 3 + ["train"] * 3
    assert "latent_10" in found.rows
    with pytest.raises(SourceError, match=r"latents.npy: cannot be read"):
        read_3dident(tmp_path / "nothing")


@pytest.mark.parametrize("anno", ["", "Anno"])
def test_celeba(tmp_path: Path, anno: str) -> None:
    for n in range(1, 6):
        image(tmp_path / "img_align_celeba" / f"{n:06d}.jpg")
    (tmp_path / anno).mkdir(exist_ok=True)
    people = [2880, 2880, 7, 7, 9, 9]
    lines = [f"{n:06d}.jpg {person}" for n, person in enumerate(people, start=1)]
    (tmp_path / anno / "identity_CelebA.txt").write_text("\n".join(lines) + "\n")
    attributes = ["6", "Male  Smiling ", *(f"{n:06d}.jpg  1 -1" for n in range(1, 7))]
    (tmp_path / anno / "list_attr_celeba.txt").write_text("\n".join(attributes) + "\n")
    parts = [f"{n:06d}.jpg {part}" for n, part in enumerate([0, 0, 1, 1, 2, 2], start=1)]
    (tmp_path / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")
    found = read_celeba(tmp_path)
    assert found.rows["identity"].tolist() == ["2880", "2880", "7", "7", "9"]
    assert found.rows["group"].tolist() == found.rows["identity"].tolist()
    assert found.rows["split"].tolist() == ["train"] * 2 + ["val"] * 2 + ["test"]
    assert found.rows[["Male", "Smiling"]].to_numpy().tolist() == [[1, 0]] * 5
    assert found.rows["Male"].dtype.kind == "i", "a class"
    assert [Path(name).name for name in found.skipped] == ["000006.jpg"]
    (tmp_path / anno / "identity_CelebA.txt").write_text("a b c\n")
    with pytest.raises(SourceError, match="not a name and a number"):
        read_celeba(tmp_path)


def test_inaturalist(tmp_path: Path) -> None:
    def write(name: str, first: int) -> None:
        files = [f"{name}/{n // 2:05d}_Animalia/{first + n}.jpg" for n in range(4)]
        content = {
            "images": [{"id": first + n, "file_name": f} for n, f in enumerate(files)],
            "annotations": [
                {"id": n, "image_id": first + n, "category_id": n // 2} for n in range(4)
            ],
            "categories": [
                {"id": n, "name": s, "supercategory": "Birds", "order": "Passeriformes"}
                for n, s in enumerate(["Parus major", "Cyanistes caeruleus"])
            ],
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        for f in files[: 4 if name == "train" else 3]:
            image(tmp_path / f)

    write("train", 0)
    write("val", 100)
    found = read_inaturalist(tmp_path, corrupted=0.25)
    assert found.rows["split"].tolist() == ["train"] * 4 + ["test"] * 3
    assert found.rows["species"].tolist()[:4] == ["Parus major"] * 2 + ["Cyanistes caeruleus"] * 2
    assert found.rule is not None
    assert (found.rule.corrupted, found.rule.corrupted_within) == (0.25, "supercategory")
    assert len(found.skipped) == 1
    with pytest.raises(SourceError, match="the categories have no genus"):
        read_inaturalist(tmp_path, corrupted=0.25, within="genus")
    (tmp_path / "train.json").write_text("[]")
    with pytest.raises(SourceError, match="not a list of iNaturalist"):
        read_inaturalist(tmp_path)


def test_captions_of_flickr_and_of_multi30k(tmp_path: Path) -> None:
    lines = [f"{n // 5}.jpg#{n % 5}\tA dog, number {n} ." for n in range(10)]
    (tmp_path / "results.token").write_text("\n".join(lines) + "\n")
    found = read_captions([tmp_path / "results.token"])
    assert found.rows["item"][3] == "A dog, number 3 ."
    assert found.rows["picture"].tolist() == ["0.jpg"] * 5 + ["1.jpg"] * 5
    (tmp_path / "captions.txt").write_text('image,caption\n0.jpg,"A dog, running ."\n0.jpg,Two\n')
    assert read_captions([tmp_path / "captions.txt"]).rows["item"].tolist() == [
        "A dog, running .",
        "Two",
    ]
    for n in (1, 2):
        with gzip.open(tmp_path / f"val.{n}.en.gz", "wt") as file:
            file.write(f"first {n}\nsecond {n}\n")
    found = read_captions([tmp_path / f"val.{n}.en.gz" for n in (1, 2)])
    by_picture = found.rows.groupby("picture")["item"].agg(list).tolist()
    assert by_picture == [["first 1", "first 2"], ["second 1", "second 2"]]
    assert set(found.rows["split"]) == {"val"}
    (tmp_path / "other.txt").write_text("one\ntwo\n")
    with pytest.raises(SourceError, match="neither"):
        read_captions([tmp_path / "other.txt"])


def test_captions_with_their_pictures(tmp_path: Path) -> None:
    lines = [f"{n // 2}.jpg#{n % 2}\tdog {n}" for n in range(6)]
    (tmp_path / "results.token").write_text("\n".join(lines))
    for n in range(2):
        image(tmp_path / "images" / f"{n}.jpg")
    found = read_captions([tmp_path / "results.token"], images=tmp_path / "images")
    assert dict(found.kinds) == {"context": "image", "target": "text"}
    assert found.rows["target"].tolist() == ["dog 0", "dog 1", "dog 2", "dog 3"]
    assert found.rows["group"].tolist() == ["0.jpg"] * 2 + ["1.jpg"] * 2
    assert list(found.skipped.values()) == ["no such file"]


def test_sentences_of_sts_sick_and_others(tmp_path: Path) -> None:
    sts = 'main-captions\tMSRvid\t2012test\t000{n}\t{s}\tA man "with" a hat.\tA man, {n}.\textra'
    for split in ("train", "dev"):
        lines = [sts.format(n=n, s=float(n)) for n in range(5)]
        (tmp_path / f"sts-{split}.csv").write_text("\n".join(lines))
    found = read_sentences([tmp_path / "sts-train.csv", tmp_path / "sts-dev.csv"], least_score=3)
    assert found.rows["context"][0] == 'A man "with" a hat.'
    assert found.rows["score"].tolist() == [3, 4, 0, 1, 2, 3, 4]
    assert found.rows["split"].tolist() == ["train"] * 2 + ["val"] * 5
    assert len(found.skipped) == 3
    head = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment"
    (tmp_path / "SICK_trial.txt").write_text(f"{head}\n4\tone\ttwo\t3.6\tNEUTRAL\n")
    found = read_sentences([tmp_path / "SICK_trial.txt"])
    assert found.rows.to_dict("records") == [
        {"context": "one", "target": "two", "score": 3.6, "split": "val"}
    ]
    (tmp_path / "own.csv").write_text('anchor,positive\n"a, b",c\nd,\n')
    found = read_sentences([tmp_path / "own.csv"])
    assert found.rows["context"].tolist() == ["a, b"]
    assert len(found.skipped) == 1
    lines = [json.dumps({"sentence1": "a", "sentence2": "b", "label": "neutral"})]
    (tmp_path / "snli.jsonl").write_text("\n".join(lines))
    assert list(read_sentences([tmp_path / "snli.jsonl"]).rows) == ["context", "target", "split"]
    (tmp_path / "bad.csv").write_text("a\nb\n")
    with pytest.raises(SourceError, match="no column is named as a sentence"):
        read_sentences([tmp_path / "bad.csv"])


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    rows = pd.DataFrame({"context": ["a.png"], "target": ["s3://b/c.png"], "who": ["x"]})
    rows.to_csv(tmp_path / "own.csv", index=False)
    found = read_own_table(tmp_path / "own.csv", group="who")
    assert found.rows.iloc[0].tolist() == [str(tmp_path / "a.png"), "s3://b/c.png", "x", "x"]
    assert dict(found.kinds) == {"context": "image", "target": "image"}
    with pytest.raises(SourceError, match="no column item"):
        read_own_table(tmp_path / "own.csv", rule=PairingRule(kind="same", columns=("who",)))


def test_a_turntable_as_coil_publishes_it_as_a_table_and_as_arrays(tmp_path: Path) -> None:
    for thing in range(1, 7):
        for number in (0, 1, 71):
            image(tmp_path / "coil" / f"obj{thing}__{number}.png")
    stray = image(tmp_path / "coil" / "readme.png")
    found = read_turntable(tmp_path / "coil")
    assert found.skipped == {str(stray): "not named as obj1__0.png"}
    assert sorted(found.rows["angle"].unique()) == [0.0, 5.0, 355.0]
    splits = found.rows.groupby("object")["split"].unique().map(list).to_dict()
    assert splits == {"1": ["train"], "2": ["train"], "3": ["train"], "4": ["val"]} | {
        "5": ["test"],
        "6": ["train"],
    }, "no object is in two"
    assert found.rule is not None
    assert found.rule.describe() == "angle at a step of 5 to 45, round after 360, same object"

    image(tmp_path / "coil" / "obj1__340.png")
    assert read_turntable(tmp_path / "coil").rows["angle"].max() == 340, "COIL-100 has degrees"

    rows = found.rows[["item", "object", "angle"]].assign(split="train")
    rows.to_csv(tmp_path / "own.csv", index=False)
    own = read_turntable(tmp_path / "own.csv").rows
    assert own["split"].unique().tolist() == ["train"], "its own splits count"
    np.savez(
        tmp_path / "t.npz",
        images=np.zeros((10, 4, 4), np.uint8),
        object=np.arange(10) // 2,
        angle_deg=np.tile([0, 5], 5),
    )
    packed = read_turntable(tmp_path / "t.npz").rows
    assert packed["split"].value_counts().to_dict() == {"train": 6, "val": 2, "test": 2}
    assert packed["item"][0][:4] == b"\x89PNG"


def test_a_turntable_without_angles_or_objects_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"item": ["a.png"], "object": ["a"]}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(SourceError, match="no column angle; a turntable has item, object and"):
        read_turntable(tmp_path / "t.csv")
    image(tmp_path / "few" / "obj1__0.png")
    with pytest.raises(SourceError, match="1 objects; at least 5"):
        read_turntable(tmp_path / "few")
    (tmp_path / "none").mkdir()
    with pytest.raises(SourceError, match=r"no picture named as obj1__0\.png"):
        read_turntable(tmp_path / "none")
    np.savez(tmp_path / "t.npz", images=np.zeros((1, 4, 4), np.uint8))
    with pytest.raises(SourceError, match="an npz has images, object and angle_deg"):
        read_turntable(tmp_path / "t.npz")


def test_spoken_digits_by_the_takes_of_their_authors(tmp_path: Path) -> None:
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    for take in (0, 4, 5, 7, 8, 40):
        (recordings / f"3_theo_{take}.wav").write_bytes(b"")
    (recordings / "noise.wav").write_bytes(b"")
    found = read_spoken_digits(tmp_path)
    assert found.rows["split"].value_counts().to_dict() == {"test": 2, "val": 2, "train": 2}
    assert set(found.rows["digit"]) == {"3"}, "a class"
    assert set(found.rows["speaker"]) == {"theo"}
    assert found.skipped == {str(recordings / "noise.wav"): "not named as 7_jackson_32.wav"}
    with pytest.raises(SourceError, match=r"no recording named as 7_jackson_32\.wav"):
        read_spoken_digits(Path(__file__).parent)
