"""Tables of pairs through Ray Data and as whole runs."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.config.data import DataConfig
from pipelines.config.pairing import PairingRule
from pipelines.config.run import ConfigError
from pipelines.pairs.make import make_table
from pipelines.pairs.plan import find
from pipelines.pairs.rows import PairRows
from pipelines.pairs.stream import TableStream, row_blocks, rows_here
from pipelines.pairs.table import PairTable, load_table
from pipelines.sources.listing import Listing
from pipelines.storage.folder import Folder
from pipelines.storage.runs import RunFolder, newest_state
from pipelines.video.pairs import TooManyFailuresError
from pipelines.video.stream import Share
from tests.buckets import KEYS, s3_server
from tests.pipelines.pairs.made import items_table, number_of, pairs_table, png, texts_table
from tests.pipelines.training.test_learner import assert_same
from tests.processes import here, started, wait_during

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
BATCH = 16


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> PairTable:
    return pairs_table(tmp_path_factory.mktemp("pairs"))


def rows_of(table: PairTable, **data: object) -> PairRows:
    config = DataConfig.model_validate({"frames_per_clip": 1, "frame_size": 8, **data})
    return PairRows(table, config, seed=1, global_batch_size=BATCH)


def test_every_picture_is_the_one_asked_for(table: PairTable) -> None:
    rows = rows_of(table)
    batches = list(TableStream(rows, range(12), Share(num_decoders=2)))
    assert len(list(row_blocks(rows, range(12), Share(num_decoders=2)))) > 4
    for k, batch in enumerate(batches):
        assert batch.row.tolist() == list(range(k * BATCH, (k + 1) * BATCH))
        for i, row in enumerate(batch.row.tolist()):
            place = rows.pair(row).context
            assert number_of(batch.context[i]) == place
            assert number_of(batch.target[i]) == place + 1000
            assert batch.start[i] == place
            assert rows.index.path[batch.video[i]] == f"g{place // 2}"


@pytest.mark.slow
def test_each_row_once_over_two_workers_and_after_a_stop_on_any_number(table: PairTable) -> None:
    rows = rows_of(table, grayscale=True)
    straight = {b.row[0] // BATCH: b for b in rows_here(rows, range(30), Share())}
    seen: list[int] = []
    # Two workers stop after batch 11; one goes on alone to 20, then four to the end.
    for batches, num_workers in ((range(0, 11), 2), (range(11, 20), 1), (range(20, 30), 4)):
        for rank in range(num_workers):
            share = Share(rank=rank, num_workers=num_workers)
            for batch in TableStream(rows, batches, share):
                whole = straight[int(batch.row[0]) // BATCH]
                np.testing.assert_array_equal(batch.context, whole.context[rank::num_workers])
                np.testing.assert_array_equal(batch.target, whole.target[rank::num_workers])
                seen.extend(batch.row.tolist())
    assert Counter(seen) == Counter(range(30 * BATCH))


@pytest.mark.slow
def test_a_rule_gives_the_same_pairs_on_any_number_of_workers(tmp_path: Path) -> None:
    rule = PairingRule(kind="same", columns=("identity",))
    items = items_table(tmp_path, rule, pd.DataFrame({"identity": np.arange(40) // 4}))
    rows = rows_of(items)
    whole = [n for b in TableStream(rows, range(6), Share()) for n in map(number_of, b.target)]
    shares = [
        [
            n
            for b in TableStream(rows, range(6), Share(rank=r, num_workers=2))
            for n in map(number_of, b.target)
        ]
        for r in range(2)
    ]
    assert [n for pair in zip(*shares, strict=True) for n in pair] == whole


@pytest.mark.slow
def test_a_resumed_stream_reads_nothing_that_lies_behind(table: PairTable) -> None:
    rows = rows_of(table)
    straight, resumed = (TableStream(rows, r, Share()) for r in (range(24), range(16, 24)))
    later = [batch for batch in straight if batch.row[0] >= 16 * BATCH]
    for one, other in zip(later, resumed, strict=True):
        np.testing.assert_array_equal(one.row, other.row)
        np.testing.assert_array_equal(one.context, other.context)
    assert (straight.counts.windows, resumed.counts.windows) == (24 * BATCH, 8 * BATCH)


@pytest.mark.slow
def test_a_file_that_vanishes_is_named_and_stood_in_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_of(pairs_table(tmp_path / "t"), max_failed_share=0.5)
    (tmp_path / "t" / "7.png").unlink()
    stream = TableStream(rows, range(15), Share())
    found = list(stream)
    lost = {n for n in range(15 * BATCH) if rows.pair(n).context == 7}
    numbers = [n for batch in found for n in batch.row.tolist()]
    assert set(numbers) - {-1} == set(range(15 * BATCH)) - lost
    assert numbers.count(-1) == len(lost) == 4
    assert stream.counts.failures == {"7.png": "no such file"}
    assert capsys.readouterr().out.count("skipped, others take its place: 7.png") == 1
    assert all(number_of(x) != 7 for batch in found for x in batch.context)


@pytest.mark.slow
def test_too_many_failures_end_the_run_with_their_names(tmp_path: Path) -> None:
    rows = rows_of(pairs_table(tmp_path / "t"))
    for n in range(3):
        (tmp_path / "t" / f"{n}.png").write_bytes(b"none")
    with pytest.raises(TooManyFailuresError, match=r"data.max_failed_share=0.01.*not an image"):
        list(TableStream(rows, range(15), Share()))


SMALL = {
    "train.steps": 12,
    "train.checkpoint_every": 6,
    "train.log_every": 6,
    "train.global_batch_size": 16,
    "train.val_pairs": 16,
    "optim.warmup_steps": 4,
}


def command(index: Path, out: Path, name: str, settings: dict[str, object]) -> list[str]:
    """`adassl train` on a table, small; the recipe follows from the table."""
    changes = [f"--set={key}={json.dumps(value)}" for key, value in {**SMALL, **settings}.items()]
    return ["train", "--index", str(index), "--out", str(out), "--name", name, *changes]


@pytest.mark.slow
def test_images_train_and_are_evaluated_with_their_columns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    items = pd.DataFrame(
        {
            "identity": np.arange(120) // 4,
            "kind": np.where(np.arange(120) // 4 % 2, "odd", "even"),
            "size": rng.random(120),
            "split": np.repeat(["train", "val", "test"], [72, 24, 24]),
        }
    )
    items_table(tmp_path / "set", PairingRule(kind="same", columns=("identity",)), items)
    small = {"data.frame_size": 16, "backbone.hidden_dims": [4, 8, 16]}
    index = tmp_path / "set" / "items.parquet"
    status, printed = here(tmp_path, command(index, tmp_path / "runs", "images", small))
    assert status == 0, printed[-4000:]
    assert "72 items (x⁺: same identity) to train on, 24 for validation" in printed
    summary = json.loads((tmp_path / "runs" / "images" / "summary.json").read_text())
    for name in (
        "val/next_clip_nats",
        "test/kind/linear_accuracy",
        "test/size/linear_r2",
        "test/edited/size_change/linear_r2",
        "test/rankme",
    ):
        assert isinstance(summary[name], float), name
    assert "test/identity/linear_accuracy" not in summary, "test identities are new"
    pictures = {path.name for path in (tmp_path / "runs" / "images" / "figures").iterdir()}
    assert {"pairs.png", "projection.png", "futures.png"} <= pictures


@pytest.mark.slow
def test_texts_train_and_are_judged_by_their_scores(tmp_path: Path) -> None:
    split = np.repeat(["train", "val", "test"], [60, 20, 20])
    score = np.where(split == "test", np.arange(100.0), np.nan)
    texts_table(
        tmp_path / "set", 100, split=split, score=score, odd=[f"{n % 2}" for n in range(100)]
    )
    small = {"data.max_tokens": 16, "backbone.hidden_dims": [16, 16], "backbone.vocabulary": 512}
    index = tmp_path / "set" / "texts.parquet"
    status, printed = here(tmp_path, command(index, tmp_path / "runs", "texts", small))
    assert status == 0, printed[-4000:]
    summary = json.loads((tmp_path / "runs" / "texts" / "summary.json").read_text())
    for name in ("test/spearman", "test/spearman_z", "test/odd/linear_accuracy", "val/loss"):
        assert isinstance(summary[name], float), name
    assert not any(name.startswith("test/score") for name in summary)
    assert summary["train/loss"] < 4


@pytest.mark.slow
def test_images_and_their_captions_train_two_encoders(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {
            "context": [png(n) for n in range(80)],
            "target": [f"a picture of {n}" for n in range(80)],
            "split": np.repeat(["train", "val", "test"], [40, 20, 20]),
            "kind": [f"{n % 2}" for n in range(80)],
        }
    )
    listing = Listing(rows=rows, kinds={"context": "image", "target": "text"})
    make_table(listing, str(tmp_path / "both.parquet"), vocabulary=300)
    small = {
        "data.frame_size": 16,
        "data.max_tokens": 16,
        "backbone.hidden_dims": [4, 8, 16],
        "second_backbone.hidden_dims": [16, 16],
    }
    status, printed = here(
        tmp_path, command(tmp_path / "both.parquet", tmp_path / "runs", "both", small)
    )
    assert status == 0, printed[-4000:]
    summary = json.loads((tmp_path / "runs" / "both" / "summary.json").read_text())
    assert isinstance(summary["test/kind/linear_accuracy"], float)
    state = newest_state(RunFolder(tmp_path / "runs" / "both"))
    assert state is not None
    assert any(name.startswith("second_encoder.backbone") for name in state["method"])


@pytest.mark.slow
def test_a_killed_training_on_a_table_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    rows = {"split": np.repeat(["train", "val"], [60, 40])}
    texts_table(tmp_path / "set", 100, **rows)
    small = {
        "data.max_tokens": 16,
        "backbone.hidden_dims": [16],
        "backbone.vocabulary": 512,
        "train.steps": 200,
        "train.checkpoint_every": 10,
    }
    index, runs = tmp_path / "set" / "texts.parquet", tmp_path / "runs"
    status, printed = here(tmp_path, [*command(index, runs, "straight", small), "--no-evaluate"])
    assert status == 0, printed[-4000:]
    again = [*command(index, runs, "killed", small), "--no-evaluate"]
    killed = RunFolder(runs / "killed")
    with started(tmp_path, again) as process:
        wait_during(process, lambda: bool(killed.checkpoints.step()))
        process.kill()
    reached = killed.checkpoints.step()
    assert reached is not None
    status, printed = here(tmp_path, again)
    assert status == 0, printed[-4000:]
    assert reached == 200 or f"going on from step {reached}" in printed
    one, other = newest_state(RunFolder(runs / "straight")), newest_state(killed)
    assert one is not None
    assert other is not None
    for part in ("step", "method", "optimizer"):
        assert_same(other[part], one[part])


@pytest.mark.slow
def test_a_table_in_a_bucket_gives_the_pairs_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here_table = pairs_table(tmp_path / "t", 20)
    with s3_server("bucket") as address:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": address}.items():
            monkeypatch.setenv(name, value)
        bucket = Folder("s3://bucket/set")
        for file in (tmp_path / "t").iterdir():
            bucket.put(file, file.name)
        config = DataConfig(index="s3://bucket/set/pairs.parquet", frames_per_clip=1, frame_size=8)
        table = find(config)
        assert isinstance(table, PairTable)
        assert table.is_remote
        assert table.digest() == load_table(tmp_path / "t" / "pairs.parquet").digest()
        with pytest.raises(ConfigError, match="are not there"):
            find(config.model_copy(update={"videos_root": "s3://bucket/elsewhere"}))
        there, near = (
            PairRows(each, config, seed=0, global_batch_size=4)
            for each in (table.select(split="train"), here_table)
        )
        for one, other in zip(
            rows_here(there, range(5), Share(num_decoders=4)),
            rows_here(near, range(5), Share()),
            strict=True,
        ):
            np.testing.assert_array_equal(one.context, other.context)
            np.testing.assert_array_equal(one.target, other.target)
        files = [Path(path).name for path in table.files()]
        assert files[0] == "0.png"
