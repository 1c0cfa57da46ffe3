"""The schedule's arithmetic, without a video."""

import pickle
import time
from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pyarrow as pa
import pytest

from pipelines.config.data import DataConfig
from pipelines.config.run import ConfigError
from pipelines.video.index import SCHEMA, VideoIndex
from pipelines.video.lanes import Turns
from pipelines.video.schedule import Schedule
from pipelines.video.tiles import TileOrder, cut_tiles


def index_of(
    num_videos: int, num_frames: int = 300, fps: float = 30.0, key_every: int = 60
) -> VideoIndex:
    rows = [
        dict.fromkeys(SCHEMA.names)
        | {
            "path": f"/videos/{i:04}.mp4",
            "num_frames": num_frames,
            "fps": fps,
            "width": 320,
            "height": 240,
            "key_frames": list(range(0, num_frames, key_every)),
            "seek": "exact",
            "usable": True,
            "split": "train",
        }
        for i in range(num_videos)
    ]
    return VideoIndex(table=pa.Table.from_pylist(rows, schema=SCHEMA))


def schedule_of(
    num_videos: int = 100, batch: int = 32, seed: int = 0, num_frames: int = 300, **data: object
) -> Schedule:
    """Each video a tile of 300 frames, unless there is less memory."""
    settings = {"gap": (2, 9), "frames_per_clip": 3, **data}
    config = DataConfig.model_validate(settings)
    return Schedule(index_of(num_videos, num_frames), config, seed=seed, global_batch_size=batch)


def frames_in(batch: int, num_frames: int) -> dict[str, int]:
    """Memory for windows of so many frames, of 64 by 86 pixels in grey."""
    mib = -(-batch * num_frames * 64 * 86 // 2**20)
    return {"grayscale": True, "shuffle_memory_mib": mib}


def rows_of(
    schedule: Schedule, batches: range, rank: int = 0, num_workers: int = 1
) -> dict[int, tuple[int, ...]]:
    """Row number → (video, first frame of x, gap), as one worker computes them."""
    rows: dict[int, tuple[int, ...]] = {}
    due = schedule.ticks(batches)
    for turns in schedule.turns(batches, rank=rank, num_workers=num_workers):
        for number, lane, end in zip(turns.number, turns.lane, turns.end, strict=True):
            window = schedule.window(int(number))
            assert len(window.starts) == end - turns.first
            for tick in range(max(turns.first, due.start), min(end, due.stop)):
                pair, row = tick - turns.first, schedule.row(int(lane), tick)
                assert row not in rows
                start = window.first + int(window.starts[pair])
                rows[row] = (window.video, start, int(window.gaps[pair]))
    return rows


def windows_of(turns: list[Turns]) -> list[int]:
    return [number for begun in turns for number in begun.number.tolist()]


@pytest.mark.parametrize("num_workers", [1, 2, 4, 8, 16])
def test_a_global_batch_is_the_same_rows_on_any_number_of_workers(num_workers: int) -> None:
    schedule = schedule_of(**frames_in(32, 50))
    for batches in (range(2), range(7, 9), range(400, 401)):
        alone = rows_of(schedule, batches)
        assert sorted(alone) == list(range(batches.start * 32, batches.stop * 32))
        shares = [rows_of(schedule, batches, rank, num_workers) for rank in range(num_workers)]
        assert {len(share) for share in shares} == {len(batches) * 32 // num_workers}
        assert {row: pair for share in shares for row, pair in share.items()} == alone


def test_lanes_take_windows_in_the_order_of_their_numbers_when_they_are_free() -> None:
    schedule = schedule_of(max_pairs_per_video=32)
    free, numbers = dict.fromkeys(range(32), 0), []
    for turns in islice(schedule.turns(range(10_000)), 400):
        assert turns.lane.tolist() == [n for n, end in free.items() if end == turns.first]
        free |= dict(zip(turns.lane.tolist(), turns.end.tolist(), strict=True))
        numbers += turns.number.tolist()
    assert numbers == list(range(len(numbers)))


def test_a_resumed_worker_needs_its_windows_in_order_and_none_that_lies_behind() -> None:
    schedule = schedule_of()
    whole = windows_of(list(schedule.turns(range(600), rank=1, num_workers=2)))
    later = list(schedule.turns(range(400, 600), rank=1, num_workers=2))
    assert whole[-len(windows_of(later)) :] == windows_of(later)
    assert all((turns.end > 400).all() for turns in later)
    assert len([turns for turns in later if turns.first <= 400]) >= 1


def test_every_window_is_a_function_of_seed_and_number() -> None:
    first, again, other = schedule_of(seed=3), schedule_of(seed=3), schedule_of(seed=4)
    backwards = [again.window(n) for n in reversed(range(200))][::-1]
    for window, repeat in zip((first.window(n) for n in range(200)), backwards, strict=True):
        assert (window.video, window.first) == (repeat.video, repeat.first)
        np.testing.assert_array_equal(window.starts, repeat.starts)
        np.testing.assert_array_equal(window.gaps, repeat.gaps)
    assert [first.window(n).video for n in range(50)] != [other.window(n).video for n in range(50)]


@pytest.mark.parametrize("pairs_per_visit", [None, 4])
def test_it_travels(pairs_per_visit: int | None) -> None:
    schedule = Schedule(
        index_of(20), DataConfig(), seed=5, global_batch_size=8, pairs_per_visit=pairs_per_visit
    )
    copy = pickle.loads(pickle.dumps(schedule))
    for number in range(99):
        one, other = copy.window(number), schedule.window(number)
        assert (one.video, one.first, one.num_frames) == (
            other.video,
            other.first,
            other.num_frames,
        )


@pytest.mark.parametrize("surrogate", [False, True])
def test_pairs_lie_in_their_window_and_video(surrogate: bool) -> None:
    schedule = schedule_of(surrogate=surrogate, **frames_in(32, 60))
    views = 2 if surrogate else 1
    for number in range(600):
        window = schedule.window(number)
        ends = window.starts + views * window.gaps + 3
        assert window.starts.min() == 0
        assert ends.max() == window.num_frames <= 60
        assert window.first + window.num_frames <= 300
        assert 2 <= window.gaps.min() <= window.gaps.max() <= 9
        frames, nbytes = schedule.most_frames(np.array([number]))
        assert window.num_frames <= frames[0] <= 60
        assert nbytes[0] == frames[0] * 64 * 86


@pytest.mark.parametrize("reuse", [1, 3])
def test_a_round_uses_every_start_frame_of_every_video_equally_often(reuse: int) -> None:
    # Key frames at odd places, tiles that are cut and joined, videos of two lengths.
    tables = [index_of(3, num_frames=200).table, index_of(4, num_frames=90).table]
    keys = [[0, 7, 50, 55, 180]] * 3 + [[0, 80]] * 4
    table = pa.concat_tables(tables)
    at = SCHEMA.get_field_index("key_frames")
    ragged = table.set_column(at, "key_frames", pa.array(keys, pa.list_(pa.int32())))
    config = DataConfig(gap=(2, 5), frames_per_clip=1, reuse=reuse, **frames_in(4, 35))
    schedule = Schedule(VideoIndex(table=ragged), config, seed=0, global_batch_size=4)
    for round_ in range(2, 5):
        uses: Counter[tuple[int, int]] = Counter()
        gaps: dict[tuple[int, int], set[int]] = {}
        for place in range(schedule.num_windows):
            window = schedule.window(round_ * schedule.num_windows + place)
            for start, gap in zip(
                (window.first + window.starts).tolist(), window.gaps, strict=True
            ):
                uses[window.video, start] += 1
                gaps.setdefault((window.video, start), set()).add(int(gap))
        assert set(uses.values()) == {reuse}
        assert set(uses) == {(v, s) for v in range(7) for s in range(198 if v < 3 else 88)}
        # Further uses have other gaps, where others fit before the end of the video.
        assert {len(gaps[0, start]) for start in range(194)} == {reuse}
        assert gaps[0, 197] == {2}


def test_gaps_are_equally_likely() -> None:
    schedule = schedule_of(num_frames=3000, reuse=2)
    windows = [schedule.window(n) for n in range(1000, 1040)]
    counts = np.bincount(np.concatenate([w.gaps for w in windows]))[2:]
    assert len(counts) == 8
    assert abs(counts / counts.mean() - 1).max() < 0.06


def test_start_multiple_is_kept() -> None:
    schedule = schedule_of(start_multiple=6, **frames_in(32, 20))
    windows = [schedule.window(n) for n in range(1000)]
    starts = np.concatenate([w.first + w.starts for w in windows])
    assert set(starts % 6) == {0}
    assert len(set(starts)) == 50
    assert {len(w.starts) for w in windows[200:]} == {2}


def test_gap_in_seconds_follows_each_videos_rate() -> None:
    slow, fast = index_of(1, fps=10.0), index_of(1, fps=60.0)
    both = VideoIndex(table=pa.concat_tables([slow.table, fast.table]))
    config = DataConfig(gap=(0.5, 1.0), gap_unit="seconds")
    schedule = Schedule(both, config, seed=0, global_batch_size=8)
    gaps: dict[int, set[int]] = {0: set(), 1: set()}
    for number in range(100):
        window = schedule.window(number)
        gaps[window.video] |= {int(g) for g in window.gaps}
    assert gaps[0] == set(range(5, 11))
    assert gaps[1] == set(range(30, 61))


def test_the_first_windows_are_short_and_lanes_become_free_one_after_another() -> None:
    schedule = schedule_of(num_videos=200, batch=64)
    lengths = [len(schedule.window(n).starts) for n in range(4 * 64)]
    assert lengths[0] <= 2
    assert max(lengths[:64]) == pytest.approx(296 / 4, abs=1)
    assert np.diff(lengths).min() >= 0
    assert set(lengths[3 * 64 :]) == {296}
    per_batch = np.zeros(2000)
    for turns in schedule.turns(range(2000)):
        per_batch[turns.first] = len(turns.number)
    steady = per_batch[1000:].reshape(10, 100).sum(axis=1)
    assert abs(steady / (64 / 296 * 100) - 1).max() < 0.2


@pytest.mark.parametrize("num_tiles", [[1] * 50, [1, 5, 20], [7]])
def test_tiles_come_round_evenly_and_those_of_a_video_apart(num_tiles: list[int]) -> None:
    video = np.repeat(np.arange(len(num_tiles)), num_tiles)
    order, total = TileOrder(video, seed=0), len(video)
    rounds = [order.tiles(np.arange(r * total, (r + 1) * total)).tolist() for r in range(6)]
    for tiles in rounds:
        assert sorted(tiles) == list(range(total))
        for one, count in enumerate(num_tiles):
            places = np.flatnonzero(video[tiles] == one)
            if count > 1:
                assert np.diff(places).min() >= total / count / 2 - len(num_tiles)
    if total > 7:
        assert rounds[0] != rounds[1]
    assert [order.tile(n) for n in range(2 * total)] == rounds[0] + rounds[1]
    assert order.ahead(total - 2, 10).tolist() == [total - 2, total - 1]


def test_an_order_of_many_tiles_is_fast() -> None:
    order = TileOrder(np.repeat(np.arange(200_000), 2), seed=0)
    began = time.perf_counter()
    order.round(0)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(("num_videos", "cap"), [(1, 32), (10, 4), (33, 1), (32, 1), (100, 1)])
def test_batches_hold_as_few_pairs_of_a_video_as_can_be(num_videos: int, cap: int) -> None:
    schedule = schedule_of(num_videos=num_videos, **frames_in(32, 60))
    assert schedule.pairs_per_video == cap
    rows = rows_of(schedule, range(400))
    for batch in range(400):
        videos = Counter(rows[row][0] for row in range(batch * 32, batch * 32 + 32))
        assert max(videos.values()) <= cap


def test_cap_on_pairs_of_one_video_is_kept_or_refused() -> None:
    assert schedule_of(num_videos=10, max_pairs_per_video=6).pairs_per_video == 6
    with pytest.raises(ConfigError, match=r"max_pairs_per_video=3.*10 videos.*up to 4"):
        schedule_of(num_videos=10, max_pairs_per_video=3)
    long = pa.concat_tables([index_of(1, num_frames=3000).table, index_of(10).table])
    config = DataConfig(max_pairs_per_video=10)
    with pytest.raises(ConfigError, match=r"longest with 50\.\d% of the start frames.* 17 pairs"):
        Schedule(VideoIndex(table=long), config, seed=0, global_batch_size=32)


def test_a_long_video_comes_as_often_as_its_frames_ask_for() -> None:
    long = pa.concat_tables([index_of(1, num_frames=3000).table, index_of(10).table])
    config = DataConfig(gap=(2, 9), **frames_in(32, 80))
    schedule = Schedule(VideoIndex(table=long), config, seed=0, global_batch_size=32)
    rows = rows_of(schedule, range(1000, 2000))
    share = np.mean([video == 0 for video, *_ in rows.values()])
    assert share == pytest.approx(2990 / (2990 + 10 * 290), abs=0.01)


def test_a_batch_holds_several_moments_of_each_of_its_videos() -> None:
    config = DataConfig(gap=(2, 9), moments_per_video=4, **frames_in(16, 80))
    schedule = Schedule(index_of(60), config, seed=0, global_batch_size=64)
    assert schedule.pairs_per_video == 4
    rows = rows_of(schedule, range(200))
    assert sorted(rows) == list(range(12_800))
    several = 0
    for batch in range(100, 200):
        drawn = [rows[row][:2] for row in range(batch * 64, batch * 64 + 64)]
        videos = Counter(video for video, _ in drawn)
        assert max(videos.values()) == 4
        several += sum(count == 4 for count in videos.values())
        assert len(set(drawn)) == 64, "other moments, not the same again"
    assert several > 100 * 14, "of 16 lanes, but where a window ends within the batch"
    for num_workers in (2, 16):
        shares = [rows_of(schedule, range(50, 60), n, num_workers) for n in range(num_workers)]
        assert {len(share) for share in shares} == {640 // num_workers}
        for rank, share in enumerate(shares):
            assert {row % num_workers for row in share} == {rank}, "as augmentations are drawn"
        whole = {row: pair for share in shares for row, pair in share.items()}
        assert whole == {row: pair for row, pair in rows.items() if 3200 <= row < 3840}
    with pytest.raises(ConfigError, match=r"64 pairs in 16 lanes does not divide among 32 workers"):
        schedule.turns(range(2), num_workers=32)
    with pytest.raises(ConfigError, match=r"moments_per_video=5 does not divide a batch of 32"):
        schedule_of(moments_per_video=5)


def test_memory_bounds_the_windows_or_is_refused() -> None:
    schedule = schedule_of(**frames_in(32, 100))
    lengths = {schedule.window(n).num_frames for n in range(200, 300)}
    assert 60 < max(lengths) <= 100
    with pytest.raises(ConfigError, match=r"shuffle_memory_mib=1: the 64 .*take 13 MiB.*at least"):
        schedule_of(batch=64, shuffle_memory_mib=1)
    squeezed = schedule_of(crop="none", **frames_in(32, 100))
    assert squeezed.most_frames(np.array([0]))[1] % (64 * 64) == 0


def test_short_videos_are_left_out_by_name() -> None:
    table = pa.concat_tables([index_of(3).table, index_of(2, num_frames=11).table])
    config = DataConfig(gap=(2, 9))
    schedule = Schedule(VideoIndex(table=table), config, seed=0, global_batch_size=8)
    assert [v.reason for v in schedule.left_out] == ["11 frames; one pair spans 12"] * 2
    assert len(schedule.index) == 3
    with pytest.raises(ConfigError, match="none of 2 videos is long enough"):
        Schedule(index_of(2, num_frames=11), config, seed=0, global_batch_size=8)


def test_workers_that_do_not_divide_the_batch_are_refused() -> None:
    with pytest.raises(ConfigError, match="among 3 workers"):
        schedule_of().turns(range(2), rank=0, num_workers=3)


def test_visits_take_every_video_once_before_any_twice() -> None:
    config = DataConfig(gap=(2, 9), reuse=4, max_pairs_per_video=1)
    table = pa.concat_tables([index_of(5).table, index_of(15, num_frames=900).table])
    schedule = Schedule(
        VideoIndex(table=table), config, seed=0, global_batch_size=16, pairs_per_visit=1
    )
    rows = rows_of(schedule, range(5))
    for visit in range(4):
        videos = [rows[row][0] for row in range(visit * 20, visit * 20 + 20)]
        assert sorted(videos) == list(range(20))
    assert max(schedule.window(n).num_frames for n in range(80)) <= 12
    starts = [start for video, start, _ in rows_of(schedule, range(600)).values() if video > 4]
    assert abs(np.histogram(starts, 10, (0, 896))[0] / len(starts) * 10 - 1).max() < 0.15


def test_visits_give_some_pairs_from_close_by_or_the_few_there_are() -> None:
    table = pa.concat_tables([index_of(6, num_frames=900).table, index_of(2, num_frames=13).table])
    config = DataConfig(gap=(9, 9))
    schedule = Schedule(
        VideoIndex(table=table), config, seed=0, global_batch_size=8, pairs_per_visit=4
    )
    windows = [schedule.window(n) for n in range(8)]
    assert sorted(len(window.starts) for window in windows) == [2, 2, 4, 4, 4, 4, 4, 4]
    assert all(len(set(window.starts.tolist())) == len(window.starts) for window in windows)
    assert max(window.num_frames for window in windows) <= 64 + 12


@pytest.mark.parametrize(
    ("keys", "starts", "size", "expected"),
    [
        ([0, 10, 20, 30], 40, 20, [0, 20, 40]),
        ([0, 12, 24, 36], 40, 20, [0, 12, 24, 40]),
        ([0], 100, 40, [0, 33, 67, 100]),
        ([0, 90], 105, 40, [0, 30, 60, 90, 105]),
        ([0, 90], 100, 40, [0, 30, 60, 100]),
        ([0, 200], 5, 40, [0, 5]),
    ],
)
def test_tiles_end_at_key_frames(
    keys: list[int], starts: int, size: int, expected: list[int]
) -> None:
    # Beside other videos, which change nothing.
    tiles = cut_tiles(
        np.array([50, starts, 7]),
        np.array([50, size, 3]),
        np.array([0, 25, *keys, 0]),
        np.array([2, len(keys), 1]),
    )
    edges = [
        (int(low), int(high)) for v, low, high in zip(*vars(tiles).values(), strict=True) if v == 1
    ]
    assert edges == list(pairwise(expected))
    assert tiles.video.tolist() == [0, *[1] * (len(expected) - 1), 2, 2, 2]


def test_windows_begin_at_key_frames_where_the_tile_fits() -> None:
    schedule = schedule_of(**frames_in(32, 80))
    assert {schedule.window(n).first % 60 for n in range(500)} == {0}


def test_a_library_of_200_000_videos_starts_at_once() -> None:
    small = index_of(100, num_frames=1000, key_every=250).table
    index = VideoIndex(table=pa.concat_tables([small] * 2000).combine_chunks())
    began = time.perf_counter()
    schedule = Schedule(index, DataConfig(), seed=0, global_batch_size=64)
    assert time.perf_counter() - began < 1
    schedule.window(0)
    began = time.perf_counter()
    for number in range(300):
        schedule.window(7 * number)
    assert (time.perf_counter() - began) / 300 < 0.001
