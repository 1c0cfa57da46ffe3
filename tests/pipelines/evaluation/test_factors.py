"""Labels of pairs by table, folder and gap; and which of them are asked."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.config.pairing import PairingRule
from pipelines.evaluation.embed import Moments
from pipelines.evaluation.factors import factors_of, is_value, of_targets
from pipelines.evaluation.probes import linear_probe, value_probe
from pipelines.evaluation.questions import questions
from tests.pipelines.pairs.made import items_table, pairs_table


def pairs_of(*rows: tuple[str, int, int]) -> Any:
    """Pairs with nothing but a path, a first frame and a gap."""
    paths, starts, gaps = zip(*rows, strict=True)
    return SimpleNamespace(
        path=np.asarray(paths, object), start=np.asarray(starts), gap=np.asarray(gaps)
    )


class Videos:
    """An index's paths, classes and tables, without an index."""

    def __init__(self, tables: dict[str, list[str]], classes: dict[str, str | None]) -> None:
        self.path, self.factors, self._classes = list(tables), list(tables.values()), classes
        self.named = self.path

    def column(self, name: str) -> list[str | None]:
        assert name == "label"
        return [self._classes.get(path) for path in self.path]


def test_tables_are_joined_and_the_nearest_counts(tmp_path: Path) -> None:
    far, near = tmp_path / "clips.csv", tmp_path / "a" / "factors.parquet"
    near.parent.mkdir()
    far.write_text("clip,kind,weight,split\n1,3,0.5,train\nb/2.mp4,4,1.5,test\n")
    pd.DataFrame({"path": ["1.mp4"], "weight": [9.0]}).to_parquet(near)
    one, two, three = (str(tmp_path / name) for name in ("a/1.mp4", "b/2.mp4", "b/3.mp4"))
    videos: Any = Videos({one: [str(far), str(near)], two: [str(far)], three: []}, {three: "owl"})
    found = factors_of(pairs_of((one, 0, 1), (two, 5, 1), (three, 0, 1), (one, 7, 1)), videos)
    assert found["weight"].tolist()[:2] == [9.0, 1.5]
    assert found["kind"].tolist()[:2] == [3, 4]  # whole, though one video has none
    assert found["kind"].dtype == "Int64"
    assert found["class"].tolist() == [None, None, "owl", None]
    assert set(found) == {"class", "kind", "weight"}


def test_the_change_is_over_the_pairs_own_gap(tmp_path: Path) -> None:
    table, video = tmp_path / "frames.csv", str(tmp_path / "a.mp4")
    frames = np.arange(20)
    rows = pd.DataFrame({"clip": "a.mp4", "frame": frames, "angle": frames**2 / 2, "step": frames})
    rows.to_csv(table, index=False)
    videos: Any = Videos({video: [str(table)]}, {})
    pairs = pairs_of((video, 2, 3), (video, 2, 5), (video, 18, 5), (video, 4, 0))
    found = factors_of(pairs, videos)
    assert found["angle"].tolist() == [2.0, 2.0, 162.0, 8.0]
    np.testing.assert_array_equal(found["angle_change"], [10.5, 22.5, np.nan, np.nan])
    assert "step_change" not in found  # whole numbers are classes


def test_no_labels_no_columns() -> None:
    videos: Any = Videos({"/a.mp4": []}, {})
    assert factors_of(pairs_of(("/a.mp4", 0, 1)), videos).shape == (1, 0)


def test_questions_are_of_what_both_splits_know() -> None:
    train = pd.DataFrame(
        {"x": [0.0, 1, 2, np.nan], "y": [1.0, 2, 3, 4], "c": list("abab"), "id": [1, 2, 3, 4]}
    )
    test = pd.DataFrame({"x": [1.0, 2], "y": [1.0, 2], "c": ["a", "b"], "id": [5, 6], "z": [1, 2]})
    asked = {each.names: each for each in questions(train, test)}
    assert set(asked) == {("c",), ("x",), ("y",)}
    assert asked[("x",)].train_rows.tolist() == [True, True, True, False]
    together = list(questions(train.drop(index=3), test))
    assert [each.names for each in together] == [("c",), ("x", "y")]


@pytest.mark.parametrize("num_rows", [60, 400])  # fewer pairs than dimensions, and more
def test_values_at_once_score_as_each_alone(num_rows: int) -> None:
    random = np.random.default_rng(0)
    x, x_test = (random.normal(size=(n, 80)) for n in (num_rows, 100))
    noise = np.array([0.01, 1.0, 30.0])
    y, y_test = (
        part[:, :3] * 2 + random.normal(size=(len(part), 3)) * noise for part in (x, x_test)
    )
    groups = np.arange(num_rows) // 5
    once = value_probe(x, y, x_test, y_test, groups=groups)
    alone = [
        linear_probe(x, y[:, n], x_test, y_test[:, n], kind="value", groups=groups)
        for n in range(3)
    ]
    assert once.columns == pytest.approx([score.score for score in alone])
    assert once.strength == np.median([score.strength for score in alone])


def test_classes_of_x_plus_are_those_of_its_row_and_missing_for_a_stand_in(tmp_path: Path) -> None:
    rule = PairingRule(kind="same", columns=("who",))
    rows = pd.DataFrame({"who": ["a", "a", "b", "b"], "pose": [1, 2, 3, 4]})
    table = items_table(tmp_path, rule, rows)
    pairs = Moments(
        path=table.path[table.group], start=np.array([0, 1, 3]), gap=np.array([1, -1, -1])
    )
    assert of_targets(pairs, table)["pose"].tolist() == [2, 1, 3]
    stands_in = Moments(path=pairs.path, start=pairs.start, gap=np.array([1, 0, -1]))
    found = of_targets(stands_in, table)
    assert found["pose"].isna().tolist() == [False, True, False]
    assert not is_value(found["pose"]), "still a class"
    assert of_targets(pairs, pairs_table(tmp_path / "pairs", num_pairs=4)).empty
