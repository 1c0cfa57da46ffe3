"""Labels and splits in the layouts that people have, on small sets written here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.video.given import LabelSources, read_given, splits_of
from pipelines.video.index import load_index
from pipelines.video.indexer import build_index
from pipelines.video.labels import FactorsError
from pipelines.video.layouts import SplitListError
from pipelines.video.splits import find_videos
from tests.videos import write_video

SHARES = {"val_share": 0.0, "test_share": 0.0}


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def labelled(
    root: Path, *, val_share: float = 0.0, test_share: float = 0.0, **sources: Any
) -> dict[str, tuple[str | None, str | None]]:
    """Split and class of each file below a root, by its path from there."""
    files, _ = find_videos([root])
    given = read_given(files, LabelSources(**sources))
    digests = {path: f"{number:016x}" for number, path in enumerate(given)}
    splits = splits_of(given, digests, val_share=val_share, test_share=test_share)
    return {
        str(Path(path).relative_to(root)): (splits[path], each.label)
        for path, each in given.items()
    }


def test_ucf101_lists_beside_class_folders(tmp_path: Path) -> None:
    names = [f"UCF-101/{c}/v_{c}_g0{g}_c01.avi" for c in ("Archery", "Biking") for g in (1, 2, 3)]
    touch(tmp_path, *names)
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Archery\n2 Biking\n")
    (lists / "trainlist01.txt").write_text(
        "Archery/v_Archery_g02_c01.avi 1\nArchery/v_Archery_g03_c01.avi 1\n"
        "Biking/v_Biking_g02_c01.avi 2\nBiking/v_Biking_g03_c01.avi 2\n"
    )
    (lists / "testlist01.txt").write_text(
        "Archery/v_Archery_g01_c01.avi\nBiking/v_Biking_g01_c01.avi\n"
    )
    (lists / "trainlist02.txt").write_text("Archery/v_Archery_g01_c01.avi 1\n")
    (lists / "testlist02.txt").write_text("Biking/v_Biking_g02_c01.avi\n")
    found = labelled(tmp_path)
    assert found["UCF-101/Archery/v_Archery_g01_c01.avi"] == ("test", "Archery")
    assert found["UCF-101/Biking/v_Biking_g03_c01.avi"] == ("train", "Biking")
    assert [split for split, _ in found.values()].count("train") == 4
    second = labelled(tmp_path, fold=2)
    assert second["UCF-101/Archery/v_Archery_g01_c01.avi"] == ("train", "Archery")
    assert second["UCF-101/Biking/v_Biking_g03_c01.avi"] == (None, "Biking")  # in no list of it
    alone = labelled(tmp_path / "UCF-101", lists=(str(lists),))
    assert {Path(k).name: v for k, v in alone.items()} == {
        Path(k).name: v for k, v in found.items()
    }


def test_hmdb51_lists_leave_some_out(tmp_path: Path) -> None:
    touch(tmp_path, "wave/a_b #1.avi", "wave/b.avi", "wave/c.avi", "clap/d.avi", "clap/e.avi")
    (tmp_path / "wave_test_split1.txt").write_text("a_b #1.avi 1 \nb.avi 2 \nc.avi 0 \n")
    (tmp_path / "clap_test_split1.txt").write_text("d.avi 1 \ne.avi 2 \n")
    (tmp_path / "clap_test_split2.txt").write_text("d.avi 2 \ne.avi 1 \n")
    assert labelled(tmp_path) == {
        "wave/a_b #1.avi": ("train", "wave"),
        "wave/b.avi": ("test", "wave"),
        "wave/c.avi": (None, "wave"),
        "clap/d.avi": ("train", "clap"),
        "clap/e.avi": ("test", "clap"),
    }


def test_kinetics_by_folders_and_by_its_tables(tmp_path: Path) -> None:
    names = ("air drumming/abc_000010_000020.mp4", "yoga/d-e_f_000001_000011.mp4")
    touch(
        tmp_path / "by_folder", *(f"train/{name}" for name in names), *(f"val/{n}" for n in names)
    )
    found = labelled(tmp_path / "by_folder")
    assert found["train/air drumming/abc_000010_000020.mp4"] == ("train", "air drumming")
    assert found["val/yoga/d-e_f_000001_000011.mp4"] == ("val", "yoga")
    flat = tmp_path / "flat"
    touch(flat, *(Path(name).name for name in names))
    header = "label,youtube_id,time_start,time_end,split\n"
    (flat / "kinetics-400_train.csv").write_text(f"{header}air drumming,abc,10,20,train\n")
    (flat / "kinetics-400_test.csv").write_text(f"{header}yoga,d-e_f,1,11,test\n")
    assert labelled(flat) == {
        "abc_000010_000020.mp4": ("train", "air drumming"),
        "d-e_f_000001_000011.mp4": ("test", "yoga"),
    }


def test_folders_of_another_layout_say_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "2019/summer/a.mp4", "2020/b.mp4", "c.mp4")
    assert set(labelled(tmp_path).values()) == {("train", None)}
    touch(tmp_path / "two", "train/a.mp4", "test/b.mp4")
    assert labelled(tmp_path / "two") == {
        "train/a.mp4": ("train", None),
        "test/b.mp4": ("test", None),
    }


def test_a_table_takes_the_place_of_folders_unless_told(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.mp4", "b/2.mp4")
    (tmp_path / "clips.csv").write_text("clip,split\n1.mp4,test\n2,train\n")
    assert labelled(tmp_path) == {"a/1.mp4": ("test", None), "b/2.mp4": ("train", None)}
    both = labelled(tmp_path, class_folders=True)
    assert both == {"a/1.mp4": ("test", "a"), "b/2.mp4": ("train", "b")}


def test_a_split_that_no_list_has_is_drawn_from_training(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{n:03d}.mp4" for n in range(400)))
    lines = "".join(f"{n:03d}.mp4,{'test' if n < 100 else 'train'}\n" for n in range(400))
    (tmp_path / "factors.csv").write_text(f"path,split\n{lines}")
    files, _ = find_videos([tmp_path])
    given = read_given(files, LabelSources())
    digests = {path: f"{n * 0x9E3779B97F4A7C15 % 2**64:016x}" for n, path in enumerate(given)}
    splits = list(splits_of(given, digests, val_share=0.2, test_share=0.1).values())
    assert splits.count("test") == 100
    assert splits.count("val") == pytest.approx(60, abs=15)


def test_groups_are_never_in_two_splits(tmp_path: Path) -> None:
    touch(tmp_path, *(f"clips/{n:03d}.mp4" for n in range(300)))
    lines = "".join(f"{n:03d}.mp4,person {n % 60}\n" for n in range(300))
    (tmp_path / "clips.csv").write_text(f"clip,person\n{lines}")
    found = labelled(tmp_path, val_share=0.2, test_share=0.2, group="person")
    by_person: dict[int, set[str | None]] = {}
    for name, (split, _) in found.items():
        by_person.setdefault(int(Path(name).stem) % 60, set()).add(split)
    assert all(len(splits) == 1 for splits in by_person.values())
    assert {split for splits in by_person.values() for split in splits} == {"train", "val", "test"}
    with pytest.raises(FactorsError, match="has a column session"):
        labelled(tmp_path, group="session")
    lines = "".join(f"{n:03d}.mp4,{n % 2},{('train', 'test')[n % 3 > 0]}\n" for n in range(6))
    (tmp_path / "clips.csv").write_text(f"clip,person,split\n{lines}")
    with pytest.raises(FactorsError, match="must not be in two splits"):
        labelled(tmp_path, group="person")


@pytest.mark.parametrize(
    ("files", "sources", "message"),
    [
        ({"train.txt": "a.mp4\n", "test.txt": "a.mp4\n"}, {}, "a.mp4 is in two splits"),
        ({"lists/train.txt": "z.mp4\n"}, {"lists": ("lists",)}, "no split list of fold 1"),
        ({"factors.csv": "name,split\na.mp4,train\n"}, {}, "no column path"),
        ({"factors.csv": "path,person\na.mp4,1\na.mp4,2\n"}, {"group": "person"}, "several values"),
        ({"factors.csv": "path\na.mp4\n\x00"}, {"tables": ("none.csv",)}, "no such table"),
    ],
)
def test_what_contradicts_itself_is_refused(
    files: Mapping[str, str], sources: dict[str, Any], message: str, tmp_path: Path
) -> None:
    touch(tmp_path / "videos", "a.mp4")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    where: dict[str, Any] = {
        key: tuple(str(tmp_path / v) for v in value) if isinstance(value, tuple) else value
        for key, value in sources.items()
    }
    if not sources:
        where = {"lists": (str(tmp_path),)} if "train.txt" in files else {}
    with pytest.raises((FactorsError, SplitListError), match=message):
        labelled(tmp_path / "videos", **where)


def test_the_index_keeps_labels_and_says_where_they_are_from(tmp_path: Path) -> None:
    for name in ("a/1", "a/2", "b/3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_video(tmp_path / f"{name}.mp4", num_frames=5)
    summary = build_index([tmp_path], tmp_path / "videos.parquet", **SHARES)  # type: ignore[arg-type]
    assert summary.lines()[0] == "labels of 3 videos: 2 classes of folders or lists"
    assert load_index(tmp_path / "videos.parquet").labels() == {"a": 2, "b": 1}
    table = pd.DataFrame({"path": ["a/1.mp4", "b/3"], "speed": [1.5, 2.5]})
    table.to_csv(tmp_path / "factors.csv", index=False)
    again = build_index([tmp_path], tmp_path / "videos.parquet", **SHARES)  # type: ignore[arg-type]
    assert again.num_probed == 0
    assert again.lines()[0] == f"labels of 2 videos: {tmp_path / 'factors.csv'}"
    assert again.index.factors == [[str(tmp_path / "factors.csv")], [], again.index.factors[0]]


def test_an_index_of_version_2_serves_as_it_is(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", num_frames=5)
    place = tmp_path / "videos.parquet"
    table = build_index([tmp_path], place).index.table
    at = table.schema.get_field_index("factors")
    old = table.set_column(at, "factors", pa.array(["/x/factors.parquet"]))
    old = old.drop_columns(["label", "group"])
    pq.write_table(old.replace_schema_metadata({b"adassl.index_version": b"2"}), place)
    assert load_index(place).factors == [["/x/factors.parquet"]]
    assert load_index(place).is_current
    assert build_index([tmp_path], place).num_probed == 0
