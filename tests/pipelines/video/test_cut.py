"""Where each clip of a pair is cut, on windows whose frames hold their own numbers."""

from collections.abc import Iterator

import numpy as np
import pytest

from pipelines.config.run import ConfigError
from pipelines.video.batch import DecodedWindow, PairBatch
from pipelines.video.pairs import PairCutter
from pipelines.video.schedule import Schedule
from tests.pipelines.video.test_schedule import frames_in, rows_of, schedule_of

TIGHT = {"grayscale": True, "shuffle_memory_mib": 1}


def windows(schedule: Schedule, batches: range = range(1)) -> Iterator[DecodedWindow]:
    for number in (n for turns in schedule.turns(batches) for n in turns.number.tolist()):
        window = schedule.window(number)
        numbers = np.arange(window.first, window.first + window.num_frames).astype(np.uint8)
        frames = np.broadcast_to(numbers[:, None, None, None], (len(numbers), 64, 64, 3))
        yield DecodedWindow(number=number, frames=frames, decoded_frames=len(frames))


def cut(schedule: Schedule) -> PairBatch:
    arriving = (window for window in windows(schedule))
    return next(iter(PairCutter(schedule).batches(arriving, range(1))))


def first_frames(clips: np.ndarray) -> list[int]:
    assert (np.diff(clips[:, :, 0, 0, 0].astype(int), axis=1) == 1).all()
    return [int(number) for number in clips[:, 0, 0, 0, 0]]


@pytest.mark.parametrize("surrogate", [False, True])
@pytest.mark.parametrize("context_surrogate", [False, True])
def test_the_clips_of_a_pair_are_one_gap_apart(surrogate: bool, context_surrogate: bool) -> None:
    asked = {"surrogate": surrogate, "context_surrogate": context_surrogate}
    batch = cut(schedule_of(num_frames=200, gap=(4, 4), **asked))
    x = np.array(first_frames(batch.context))
    assert batch.start.tolist() == x.tolist()
    assert first_frames(batch.target) == (x + 4).tolist()
    if surrogate:
        assert batch.surrogate is not None
        assert first_frames(batch.surrogate) == (x + 8).tolist()
    if context_surrogate:
        assert batch.context_surrogate is not None
        assert first_frames(batch.context_surrogate) == (x - 4).tolist()
    assert (batch.surrogate is None, batch.context_surrogate is None) == (
        not surrogate,
        not context_surrogate,
    )


def test_chains_are_the_same_rows_on_any_number_of_workers_and_end_before_their_video() -> None:
    schedule = schedule_of(**frames_in(32, 80), moments_per_chain=4)
    alone = rows_of(schedule, range(40, 43))
    shares = [rows_of(schedule, range(40, 43), rank, 4) for rank in range(4)]
    assert {row: chain for share in shares for row, chain in share.items()} == alone
    assert max(start + 3 * gap + 3 for _, start, gap in alone.values()) <= 300
    assert len({gap for _, _, gap in alone.values()}) > 4
    with pytest.raises(ConfigError, match="the shortest pair spans 30 frames"):
        schedule_of(num_frames=29, moments_per_chain=4)
    with pytest.raises(ConfigError, match=r"data\.negative=true: videos have no negatives"):
        schedule_of(negative=True)


@pytest.mark.parametrize("views", ["time", "both"])
def test_the_moments_of_a_chain_are_one_gap_apart(views: str) -> None:
    schedule = schedule_of(num_frames=200, gap=(2, 5), views=views, moments_per_chain=4)
    batch = cut(schedule)
    x, gap = np.array(first_frames(batch.context)), None
    assert batch.further is not None
    assert len(batch.further) == 2
    for clips, number in zip((batch.target, *batch.further), (1, 2, 3), strict=True):
        steps = (np.array(first_frames(clips)) - x) / number
        gap = steps if gap is None else gap
        assert (steps == gap).all()
        assert set(steps) <= {2, 3, 4, 5}
    assert cut(schedule_of(num_frames=200, gap=(2, 5), views=views)).further is None


def test_of_augmented_pairs_one_clip_is_decoded_in_the_same_rows() -> None:
    two, one = schedule_of(num_frames=200), schedule_of(num_frames=200, views="augmentation")
    pairs, single = cut(two), cut(one)
    assert single.target is single.context
    assert np.array_equal(single.context, pairs.context)
    assert np.array_equal(single.row, pairs.row)
    assert np.array_equal(single.start, pairs.start)
    frames = [sum(s.window(n).num_frames for n in range(100)) for s in (one, two)]
    assert frames[0] < frames[1]


def test_counts_say_how_many_pairs_a_decoded_frame_gives() -> None:
    schedule = schedule_of(num_frames=200)
    cutter = PairCutter(schedule)
    next(cutter.batches((window for window in windows(schedule)), range(1)))
    first = [schedule.window(n) for n in next(schedule.turns(range(1))).number.tolist()]
    pairs, frames = sum(len(w.starts) for w in first), sum(w.num_frames for w in first)
    metrics = cutter.counts.metrics()
    assert metrics["data/pairs_per_decoded_frame"] == pairs / frames < 1
    assert metrics["data/decoded_unused_share"] == 0


def test_pairs_of_several_rows_of_a_lane_come_from_its_windows_in_turn() -> None:
    schedule = schedule_of(
        num_videos=16, batch=8, num_frames=90, gap=(2, 3), moments_per_video=2, **TIGHT
    )
    assert schedule.pairs_per_lane > 1
    cutter = PairCutter(schedule)
    arriving = (window for window in windows(schedule, batches=range(40)))
    batches = list(cutter.batches(arriving, range(40)))
    assert np.concatenate([batch.row for batch in batches]).tolist() == list(range(320))
    rows = rows_of(schedule, range(40))
    found = [pair for batch in batches for pair in zip(batch.video, batch.start, strict=True)]
    assert found == [(video, start) for _, (video, start, _) in sorted(rows.items())]
