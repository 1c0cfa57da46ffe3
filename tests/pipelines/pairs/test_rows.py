"""The arithmetic of rows, and the rules that pair items."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.config.data import DataConfig
from pipelines.config.pairing import PairingRule
from pipelines.config.run import ConfigError
from pipelines.pairs.make import make_table
from pipelines.pairs.rows import PairRows
from pipelines.pairs.stream import rows_here
from pipelines.pairs.table import PairTable, load_table
from pipelines.sources.own_table import read_own_table
from pipelines.video.stream import Share
from tests.pipelines.pairs.made import items_table, number_of, pairs_table, png

CONFIG = DataConfig(frames_per_clip=1, frame_size=8)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> PairTable:
    return pairs_table(tmp_path_factory.mktemp("pairs"))


def rows_of(table: PairTable, batch: int = 16, seed: int = 0, **data: object) -> PairRows:
    config = CONFIG.model_copy(update=data)
    return PairRows(table, config, seed=seed, global_batch_size=batch)


@pytest.mark.parametrize("num_workers", [1, 2, 4, 16])
def test_a_global_batch_is_the_same_rows_on_any_number_of_workers(
    table: PairTable, num_workers: int
) -> None:
    rows = rows_of(table)
    for batch in (0, 7, 400):
        shares = [rows.rows(batch, rank=r, num_workers=num_workers) for r in range(num_workers)]
        assert {len(share) for share in shares} == {16 // num_workers}
        assert sorted(n for share in shares for n in share) == list(
            range(batch * 16, batch * 16 + 16)
        )
        for rank, share in enumerate(shares):
            assert {row % num_workers for row in share} == {rank}, "as augmentations are drawn"
    with pytest.raises(ConfigError, match="16 pairs does not divide among 3 workers"):
        rows.rows(0, num_workers=3)


def test_every_row_comes_once_a_round_and_each_round_in_an_order_of_its_own(
    table: PairTable,
) -> None:
    rows = rows_of(table)
    rounds = [[rows.pair(r * 60 + i).context for i in range(60)] for r in range(4)]
    assert all(sorted(order) == list(range(60)) for order in rounds)
    assert len({tuple(order) for order in rounds}) == 4


def test_a_row_is_a_function_of_seed_and_number_and_travels(table: PairTable) -> None:
    first, copy = (
        rows_of(table, crop="random"),
        pickle.loads(pickle.dumps(rows_of(table, crop="random"))),
    )
    other = rows_of(table, seed=1)
    numbers = list(range(200))
    backwards = [copy.pair(n) for n in reversed(numbers)][::-1]
    for n, repeat in zip(numbers, backwards, strict=True):
        pair = first.pair(n)
        assert (pair.context, pair.target) == (repeat.context, repeat.target)
        np.testing.assert_array_equal(pair.crop, repeat.crop)
    assert [first.pair(n).context for n in numbers] != [other.pair(n).context for n in numbers]


def test_triplets_of_a_table_bring_the_negative_of_their_row(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {
            "context": [png(n) for n in range(20)],
            "target": [png(n + 100) for n in range(20)],
            "negative": [png(n + 200) for n in range(20)],
        }
    )
    rows.loc[3, "negative"] = b"none"
    rows.to_parquet(tmp_path / "own.parquet")
    listing = read_own_table(tmp_path / "own.parquet")
    made = make_table(listing, str(tmp_path / "pairs.parquet"), val_share=0, test_share=0)
    assert made.skipped == {"row 3": "not an image (negative)"}
    triplets = rows_of(load_table(tmp_path / "pairs.parquet").select(), negative=True)
    whole = rows_here(triplets, range(2), Share())
    for batch in whole:
        assert batch.negative is not None
        numbers = [number_of(image) for image in batch.context]
        assert [number_of(image) for image in batch.negative] == [n + 200 for n in numbers]
    half = rows_here(triplets, range(2), Share(rank=1, num_workers=2))
    for mine, batch in zip(half, whole, strict=True):
        assert mine.negative is not None
        assert batch.negative is not None
        assert np.array_equal(mine.negative, batch.negative[1::2])
    assert rows_here(rows_of(triplets.index), range(1), Share())[0].negative is None


def test_what_a_table_cannot_do_is_refused(table: PairTable) -> None:
    for changes, words in (
        ({"frames_per_clip": 3}, "frames_per_clip=3"),
        ({"moments_per_video": 2}, "moments_per_video=2"),
        ({"moments_per_chain": 3}, "moments_per_chain=3: a table of pairs has two moments a row"),
        ({"negative": True}, "the table has no negative; leave it out$"),
        ({"surrogate": True}, "the table has no surrogate"),
    ):
        with pytest.raises(ConfigError, match=words):
            rows_of(table, **changes)


def test_same_draws_every_other_item_of_the_identity_and_names_those_alone(
    tmp_path: Path,
) -> None:
    items = pd.DataFrame({"identity": ["a"] * 4 + ["b"] * 2 + ["c"]})
    rule = PairingRule(kind="same", columns=("identity",))
    rows = rows_of(items_table(tmp_path, rule, items), batch=2)
    assert [left.path for left in rows.left_out] == ["row 6"]
    assert rows.num_starts == 6
    drawn: dict[int, list[int]] = {}
    for n in range(6 * 300):
        pair = rows.pair(n)
        drawn.setdefault(pair.context, []).append(pair.target)
    assert {k: set(v) for k, v in drawn.items()} == {
        0: {1, 2, 3},
        1: {0, 2, 3},
        2: {0, 1, 3},
        3: {0, 1, 2},
        4: {5},
        5: {4},
    }
    assert np.bincount(drawn[0])[1:].min() > 70, "evenly"


def test_a_share_of_pairs_is_corrupted_to_the_same_superclass(tmp_path: Path) -> None:
    items = pd.DataFrame(
        {"species": np.repeat(["a", "b", "c", "d"], 5), "family": np.repeat(["x", "y"], 10)}
    )
    rule = PairingRule(kind="same", columns=("species",), corrupted=0.3, corrupted_within="family")
    rows = rows_of(items_table(tmp_path, rule, items), batch=2)
    pairs = [rows.pair(n) for n in range(3000)]
    x, y = (
        items["species"].to_numpy()[[getattr(p, n) for p in pairs]] for n in ("context", "target")
    )
    families = [
        items["family"].to_numpy()[[getattr(p, n) for p in pairs]] for n in ("context", "target")
    ]
    assert np.mean(x != y) == pytest.approx(0.3, abs=0.03)
    assert (families[0] == families[1]).all()


def test_near_takes_a_step_on_the_circle_within_the_object(tmp_path: Path) -> None:
    items = pd.DataFrame(
        {"object": np.repeat(["cup", "duck"], 36), "angle": np.tile(np.arange(0.0, 360, 10), 2)}
    )
    rule = PairingRule(kind="near", columns=("angle",), within="object", step=(20, 60), period=360)
    rows = rows_of(items_table(tmp_path, rule, items), batch=2)
    pairs = [rows.pair(n) for n in range(2000)]
    angle = items["angle"].to_numpy()
    steps = np.array([(angle[p.target] - angle[p.context]) % 360 for p in pairs])
    assert set(steps) == {20, 30, 40, 50, 60}
    assert all(p.target // 36 == p.context // 36 for p in pairs)
    inner = np.bincount((steps / 10).astype(int))[3:6]
    assert inner.min() > 400, "an even step"


def test_redraw_takes_the_item_nearest_to_latents_of_which_some_are_drawn_anew(
    tmp_path: Path,
) -> None:
    grid = np.stack(np.meshgrid(np.arange(12.0), np.arange(12.0) * 100), axis=-1).reshape(-1, 2)
    rule = PairingRule(kind="redraw", columns=("u", "v"), probability=0.2)
    rows = rows_of(items_table(tmp_path, rule, pd.DataFrame(grid, columns=["u", "v"])), batch=2)
    pairs = [rows.pair(n) for n in range(4000)]
    changed = np.array([grid[p.target] != grid[p.context] for p in pairs])
    assert all(p.context != p.target for p in pairs)
    assert changed.all(axis=1).mean() == pytest.approx(0.2 * 0.2, abs=0.015)
    # None anew (0.64): the nearest other one differs in one latent by one step.
    one = changed.sum(axis=1) == 1
    assert one.mean() == pytest.approx(0.96, abs=0.015)


def test_a_rule_without_its_column_is_refused(tmp_path: Path) -> None:
    rule = PairingRule(kind="near", columns=("word",), step=(1, 2))
    table = items_table(tmp_path, rule, pd.DataFrame({"word": ["a", "b"]}))
    with pytest.raises(ConfigError, match="word is not of numbers"):
        rows_of(table, batch=2)
    with pytest.raises(ValueError, match="share of the pairs"):
        PairingRule(kind="same", columns=("a",), corrupted=0.1)
