"""The schedule's arithmetic, without a video."""

import pickle
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from pipelines.config.run import ConfigError, DataConfig
from pipelines.video.index import SCHEMA, VideoIndex
from pipelines.video.schedule import Schedule, VideoOrder, tile_edges


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
    settings = {"gap": (2, 9), "frames_per_clip": 3, "pairs_per_window": 8, **data}
    config = DataConfig.model_validate(settings)
    return Schedule(index_of(num_videos, num_frames), config, seed=seed, global_batch_size=batch)


def rows_of(
    schedule: Schedule, batch: int, rank: int, num_workers: int
) -> dict[int, tuple[int, ...]]:
    """Row number → (video, first frame of x, gap), as one worker computes them."""
    rows: dict[int, tuple[int, ...]] = {}
    for number in schedule.worker_windows(
        range(batch, batch + 1), rank=rank, num_workers=num_workers
    ):
        window, pair = schedule.window(number), schedule.pair_in_window(number, batch)
        start = window.first + int(window.starts[pair])
        rows[schedule.row(number, batch)] = (window.video, start, int(window.gaps[pair]))
    return rows


@pytest.mark.parametrize("num_workers", [1, 2, 4, 8, 16])
def test_a_global_batch_is_the_same_rows_on_any_number_of_workers(num_workers: int) -> None:
    schedule = schedule_of()
    for batch in (0, 1, 7, 8, 1000):
        alone = rows_of(schedule, batch, 0, 1)
        assert sorted(alone) == list(range(batch * 32, batch * 32 + 32))
        shares = [rows_of(schedule, batch, rank, num_workers) for rank in range(num_workers)]
        assert {len(share) for share in shares} == {32 // num_workers}
        assert {row: pair for share in shares for row, pair in share.items()} == alone


def test_a_window_gives_each_of_its_pairs_once_and_to_successive_batches() -> None:
    schedule = schedule_of()
    taken: dict[int, list[tuple[int, int]]] = {}
    for batch in range(40):
        for number in schedule.shuffle_window(batch):
            taken.setdefault(number, []).append((batch, schedule.pair_in_window(number, batch)))
    whole = {n: uses for n, uses in taken.items() if 32 <= n < 32 + 4 * 30}
    assert len(whole) == 120
    for uses in whole.values():
        assert [pair for _, pair in uses] == list(range(8))
        assert np.diff([batch for batch, _ in uses]).tolist() == [1] * 7


def test_a_worker_needs_its_windows_in_order_and_decodes_nothing_that_lies_behind() -> None:
    schedule = schedule_of()
    whole = schedule.worker_windows(range(0, 50), rank=1, num_workers=2)
    later = schedule.worker_windows(range(20, 50), rank=1, num_workers=2)
    assert list(whole)[-len(later) :] == list(later)
    assert later.start >= schedule.shuffle_window(20).start
    assert set(later) == {
        n for k in range(20, 50) for n in schedule.shuffle_window(k) if n % 2 == 1
    }


def test_every_window_is_a_function_of_seed_and_number() -> None:
    first, again, other = schedule_of(seed=3), schedule_of(seed=3), schedule_of(seed=4)
    backwards = [again.window(n) for n in reversed(range(200))][::-1]
    for window, repeat in zip((first.window(n) for n in range(200)), backwards, strict=True):
        assert (window.video, window.first) == (repeat.video, repeat.first)
        np.testing.assert_array_equal(window.starts, repeat.starts)
        np.testing.assert_array_equal(window.gaps, repeat.gaps)
    assert [first.window(n).video for n in range(50)] != [other.window(n).video for n in range(50)]


def test_it_travels() -> None:
    schedule = schedule_of(seed=5)
    copy = pickle.loads(pickle.dumps(schedule))
    assert [copy.window(n).first for n in range(99)] == [
        schedule.window(n).first for n in range(99)
    ]


@pytest.mark.parametrize("surrogate", [False, True])
def test_pairs_lie_in_their_window_and_video(surrogate: bool) -> None:
    schedule = schedule_of(surrogate=surrogate)
    views = 2 if surrogate else 1
    for number in range(300):
        window = schedule.window(number)
        ends = window.starts + views * window.gaps + 3
        assert window.starts.min() == 0
        assert ends.max() == window.num_frames
        assert window.first + window.num_frames <= 300
        assert 2 <= window.gaps.min() <= window.gaps.max() <= 9


def test_all_start_frames_are_equally_likely() -> None:
    # Key frames at odd places: windows begin there, and yet no frame is preferred.
    index = index_of(1, num_frames=200)
    ragged = index.table.set_column(
        SCHEMA.get_field_index("key_frames"),
        "key_frames",
        pa.array([[0, 7, 50, 55, 180]], pa.list_(pa.int32())),
    )
    config = DataConfig(gap=(2, 2), frames_per_clip=1, pairs_per_window=4, starts_per_window=30)
    schedule = Schedule(VideoIndex(table=ragged), config, seed=0, global_batch_size=4)
    windows = [schedule.window(n) for n in range(40_000)]
    counts = np.bincount(np.concatenate([w.first + w.starts for w in windows]), minlength=198)
    assert len(counts) == 198
    expected = counts.sum() / 198
    # Pairs of a window share a tile, so the counts vary more than those of independent draws.
    assert abs(counts / expected - 1).max() < 0.35
    thirds = counts.reshape(-1, 22).sum(axis=1) / counts.sum() * 9
    assert abs(thirds - 1).max() < 0.06


def test_start_multiple_is_kept() -> None:
    schedule = schedule_of(start_multiple=6, starts_per_window=12, pairs_per_window=4)
    starts = np.concatenate([w.first + w.starts for w in map(schedule.window, range(200))])
    assert set(starts % 6) == {0}
    assert len(set(starts)) > 30


def test_gap_in_seconds_follows_each_videos_rate() -> None:
    slow, fast = index_of(1, fps=10.0), index_of(1, fps=60.0)
    both = VideoIndex(table=pa.concat_tables([slow.table, fast.table]))
    config = DataConfig(gap=(0.5, 1.0), gap_unit="seconds", pairs_per_window=4)
    schedule = Schedule(both, config, seed=0, global_batch_size=8)
    gaps: dict[int, set[int]] = {0: set(), 1: set()}
    for number in range(400):
        window = schedule.window(number)
        gaps[window.video] |= {int(g) for g in window.gaps}
    assert gaps[0] == set(range(5, 11))
    assert gaps[1] == set(range(30, 61))


@pytest.mark.parametrize(
    ("num_videos", "shuffle_window"), [(1, 8), (4, 32), (33, 32), (50, 32), (1000, 32)]
)
def test_videos_come_round_evenly_and_never_soon_again(
    num_videos: int, shuffle_window: int
) -> None:
    order = VideoOrder(num_videos, shuffle_window=shuffle_window, seed=0)
    sequence = [order.video(t) for t in range(6 * num_videos + shuffle_window)]
    for round_ in range(6):
        visits = sequence[round_ * num_videos : (round_ + 1) * num_videos]
        assert sorted(visits) == list(range(num_videos))
    most = max(
        max(Counter(sequence[t : t + shuffle_window]).values())
        for t in range(len(sequence) - shuffle_window + 1)
    )
    assert most <= order.most_at_once <= -(-shuffle_window // num_videos)


def test_rounds_differ() -> None:
    order = VideoOrder(200, shuffle_window=32, seed=0)
    assert [order.video(t) for t in range(200)] != [order.video(200 + t) for t in range(200)]


def test_cap_on_pairs_of_one_video_is_kept_or_refused() -> None:
    schedule = schedule_of(num_videos=10, batch=32, max_pairs_per_video=4)
    for batch in range(60):
        videos = Counter(schedule.window(n).video for n in schedule.shuffle_window(batch))
        assert max(videos.values()) <= 4
    with pytest.raises(ConfigError, match=r"max_pairs_per_video=3.*10 videos.*up to 4"):
        schedule_of(num_videos=10, batch=32, max_pairs_per_video=3)


def test_short_videos_are_left_out_by_name() -> None:
    table = pa.concat_tables([index_of(3).table, index_of(2, num_frames=11).table])
    config = DataConfig(gap=(2, 9), pairs_per_window=4)
    schedule = Schedule(VideoIndex(table=table), config, seed=0, global_batch_size=8)
    assert [v.reason for v in schedule.left_out] == ["11 frames; one pair spans 12"] * 2
    assert len(schedule.index) == 3
    with pytest.raises(ConfigError, match="none of 2 videos is long enough"):
        Schedule(index_of(2, num_frames=11), config, seed=0, global_batch_size=8)


def test_workers_that_do_not_divide_the_batch_are_refused() -> None:
    with pytest.raises(ConfigError, match="among 3 workers"):
        schedule_of().worker_windows(range(2), rank=0, num_workers=3)


@pytest.mark.parametrize(
    ("keys", "starts", "size", "expected"),
    [
        ([0, 10, 20, 30], 40, 20, [0, 20, 40]),
        ([0, 12, 24, 36], 40, 20, [0, 12, 24, 40]),
        ([0], 100, 40, [0, 33, 67, 100]),
        ([0, 90], 100, 40, [0, 30, 60, 90, 100]),
        ([0, 200], 5, 40, [0, 5]),
    ],
)
def test_tiles_end_at_key_frames(
    keys: list[int], starts: int, size: int, expected: list[int]
) -> None:
    assert tile_edges(np.array(keys), starts, size).tolist() == expected


def test_windows_begin_at_key_frames_where_the_tile_fits() -> None:
    schedule = schedule_of(starts_per_window=60, pairs_per_window=8)
    unused = [schedule.window(n).first % 60 for n in range(500)]
    assert np.mean(unused) < 8  # the first of 8 starts drawn from 60 lies about 60 / 9 in
