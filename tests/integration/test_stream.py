"""Real videos through Ray Data: the rows asked for, each once, with the frames they name."""

import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
from ray.data import ActorPoolStrategy, Dataset

from pipelines.config.data import DataConfig
from pipelines.video import stream
from pipelines.video.batch import PairBatch
from pipelines.video.index import VideoIndex
from pipelines.video.pairs import TooManyFailuresError
from pipelines.video.schedule import Schedule, Window
from pipelines.video.stream import PairStream, Share
from tests.videos import read_number

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
BATCH = 16


def schedule_of(index: VideoIndex, **data: object) -> Schedule:
    """Little memory, so that windows are short and lanes few."""
    settings = {
        "gap": (2, 9),
        "frame_size": 48,
        "shuffle_memory_mib": 3,
        "moments_per_video": 2,
    }
    config = DataConfig.model_validate({**settings, **data})
    return Schedule(index, config, seed=1, global_batch_size=BATCH)


def spelled_rows(schedule: Schedule, batches: Iterable[PairBatch]) -> dict[int, tuple[str, ...]]:
    """Row → (file, numbers spelled by x, by x+ and by x++); fails on a row that comes twice."""
    rows: dict[int, tuple[str, ...]] = {}
    for batch in batches:
        for i, row in enumerate(batch.row.tolist()):
            assert row not in rows, f"row {row} came twice"
            path = Path(schedule.index.path[batch.video[i]]).name
            views = [batch.context, batch.target, batch.surrogate]
            if path == "turned.mov":  # shown turned; turn it back to read it
                views = [None if v is None else np.rot90(v, axes=(2, 3)) for v in views]
            clips = ["-".join(str(read_number(f)) for f in v[i]) for v in views if v is not None]
            rows[row] = (path, *clips)
    return rows


def expected_rows(schedule: Schedule, batches: range) -> dict[int, tuple[str, ...]]:
    """The same by arithmetic alone."""
    rows = {}
    due = schedule.ticks(batches)
    for lane, turn, window in turns_of(schedule, batches):
        for tick in range(max(turn.start, due.start), min(turn.stop, due.stop)):
            pair = tick - turn.start
            start, gap = window.first + int(window.starts[pair]), int(window.gaps[pair])
            views = 3 if schedule.config.surrogate else 2
            clips = [
                "-".join(str(start + v * gap + f) for f in range(schedule.config.frames_per_clip))
                for v in range(views)
            ]
            path = Path(schedule.index.path[window.video]).name
            rows[schedule.row(lane, tick)] = (path, *clips)
    return rows


def turns_of(schedule: Schedule, batches: range) -> Iterator[tuple[int, range, Window]]:
    """Lane, ticks and window of each turn."""
    for turns in schedule.turns(batches):
        for number, lane, end in zip(turns.number, turns.lane, turns.end, strict=True):
            turn = range(turns.first, int(end))
            yield int(lane), turn, schedule.window(int(number))


def test_every_frame_is_the_one_asked_for(spelled: VideoIndex) -> None:
    schedule = schedule_of(spelled, surrogate=True)
    assert schedule.pairs_per_lane > 1
    batches = range(12)
    rows = spelled_rows(schedule, PairStream(schedule, batches, Share(num_decoders=2)))
    assert len({path for path, *_ in rows.values()}) == len(spelled) == 6
    assert rows == expected_rows(schedule, batches)


def test_each_row_once_over_two_workers_and_after_a_stop_on_any_number(
    spelled: VideoIndex,
) -> None:
    schedule = schedule_of(spelled, grayscale=True)
    whole = range(30)
    rows: list[int] = []
    # Two workers stop after batch 11; one goes on alone to 20, then two to the end.
    for batches, num_workers in ((range(0, 11), 2), (range(11, 20), 1), (range(20, 30), 2)):
        for rank in range(num_workers):
            share = Share(rank=rank, num_workers=num_workers)
            for batch in PairStream(schedule, batches, share):
                assert len(batch.row) == BATCH // num_workers
                rows.extend(batch.row.tolist())
    assert Counter(rows) == Counter(range(len(whole) * BATCH))


@pytest.mark.slow
def test_a_run_of_several_executions_is_whole(
    spelled: VideoIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "BLOCKS_PER_SEGMENT", 2)
    schedule = schedule_of(spelled)
    share = Share(num_decoders=2)
    batches = range(20)
    assert len(list(stream.window_blocks(schedule, batches, share))) > 2 * 3
    rows = spelled_rows(schedule, PairStream(schedule, batches, share))
    assert rows == expected_rows(schedule, batches)


@pytest.mark.slow
def test_memory_stays_flat_while_the_trainer_is_slow(spelled: VideoIndex) -> None:
    import ray

    schedule = schedule_of(spelled, frame_size=96, shuffle_memory_mib=8, start_multiple=20)
    total = ray.cluster_resources()["object_store_memory"]
    held = []
    for number, _ in enumerate(PairStream(schedule, range(10_000), Share(num_decoders=2))):
        time.sleep(0.05)
        if number % 50 == 49:
            free = ray.available_resources().get("object_store_memory", 0.0)
            held.append((total - free, psutil.Process().memory_full_info().uss))
        if number == 599:
            break
    stores, privates = zip(*held, strict=True)
    assert max(stores) < 1.2 * stream.STORE_BYTES
    assert max(privates[6:]) < 1.15 * max(privates[:3])


class Fat:
    """An actor that makes a mebibyte of each number."""

    def __call__(self, numbers: pa.Table) -> pa.Table:
        return pa.table({"frames": [bytes(2**20)] * len(numbers)})


def test_ray_datas_scheduler_rests_while_the_trainer_is_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns = []

    class Counted(stream.Pauses):
        def on_execution_step(self, executor: object) -> None:
            turns.append(1)
            super().on_execution_step(executor)

    monkeypatch.setattr(stream, "Pauses", Counted)

    def decoded(numbers: Dataset) -> Dataset:
        return numbers.map_batches(
            Fat,
            compute=ActorPoolStrategy(size=1),
            num_cpus=0,
            batch_size=None,
            batch_format="pyarrow",
        )

    with closing(stream.run_blocks([[i] for i in range(400)], decoded, 2**24)) as tables:
        next(tables)
        time.sleep(3)  # until the store is full
        before = len(turns)
        time.sleep(2)
        assert len(turns) - before < 100, "a thousand without a pause"


def test_a_resumed_stream_decodes_nothing_that_lies_behind(spelled: VideoIndex) -> None:
    schedule = schedule_of(spelled)
    straight, resumed = (PairStream(schedule, r, Share()) for r in (range(24), range(16, 24)))
    later = [batch for batch in straight if batch.row[0] >= 16 * BATCH]
    for one, other in zip(later, resumed, strict=True):
        np.testing.assert_array_equal(one.row, other.row)
        np.testing.assert_array_equal(one.context, other.context)
        np.testing.assert_array_equal(one.target, other.target)
    turns = [turn for _, turn, _ in turns_of(schedule, range(24))]
    assert straight.counts.windows == len(turns)
    behind = schedule.ticks(range(16))
    assert resumed.counts.windows == sum(turn.stop > behind.stop for turn in turns)
    assert resumed.counts.windows < straight.counts.windows


@pytest.mark.slow
def test_a_consumer_that_stops_early_leaves_the_cluster_free_and_no_line(
    spelled: VideoIndex, capfd: pytest.CaptureFixture[str]
) -> None:
    schedule = schedule_of(spelled)
    for _ in range(2):  # more actors than the cluster holds, were they kept
        for batch in PairStream(schedule, range(100_000), Share(num_decoders=3)):
            assert len(batch.row) == BATCH
            break
        time.sleep(2)  # until Ray's notes would have arrived
    assert "retries" not in "".join(capfd.readouterr())


def test_aspect_is_kept_and_crops_move_only_along_the_long_side(digits_wide: VideoIndex) -> None:
    schedule = schedule_of(
        digits_wide, crop="random", gap=(1, 1), frames_per_clip=1, moments_per_video=1
    )
    crops = set()
    for number in range(40):
        crops |= {tuple(c) for c in schedule.window(number).crops}
    assert len(crops) > 100
    batch = next(iter(PairStream(schedule, range(2), Share())))
    assert batch.context.shape == (BATCH, 1, 48, 48, 3)


def test_a_file_that_vanishes_is_named_and_stood_in_for(
    spelled: VideoIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = copy_of(spelled, tmp_path)
    Path(gone.path[0]).unlink()
    schedule = schedule_of(gone, max_failed_share=0.5)
    pairs = PairStream(schedule, range(10), Share())
    rows = np.concatenate([batch.row for batch in pairs])
    lost = {
        schedule.row(lane, tick)
        for lane, turn, window in turns_of(schedule, range(10))
        for tick in turn
        if window.video == 0
    }
    assert set(rows) - {-1} == set(range(10 * BATCH)) - lost
    assert list(rows).count(-1) == len(lost & set(range(10 * BATCH))) > 0
    assert pairs.counts.failures == {str(gone.path[0]): "no such file"}
    assert f"skipped, others take its place: {gone.path[0]}" in capsys.readouterr().out


def test_too_many_failures_end_the_run_with_their_names(
    spelled: VideoIndex, tmp_path: Path
) -> None:
    gone = copy_of(spelled, tmp_path)
    Path(gone.path[0]).unlink()
    schedule = schedule_of(gone)
    with pytest.raises(TooManyFailuresError, match=r"data.max_failed_share=0.01.*no such file"):
        list(PairStream(schedule, range(60), Share()))


def copy_of(index: VideoIndex, folder: Path) -> VideoIndex:
    paths = [shutil.copy(path, folder) for path in index.path]
    column = index.table.schema.get_field_index("path")
    return VideoIndex(table=index.table.set_column(column, "path", [[str(p) for p in paths]]))


@pytest.fixture(scope="module")
def digits_wide(tmp_path_factory: pytest.TempPathFactory) -> VideoIndex:
    from pipelines.video.indexer import build_index
    from tests.videos import write_video

    folder = tmp_path_factory.mktemp("wide")
    write_video(folder / "wide.mp4", width=160, height=96)
    return build_index([folder], folder / "i.parquet", val_share=0, test_share=0).index
