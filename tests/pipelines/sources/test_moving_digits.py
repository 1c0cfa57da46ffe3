from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from pipelines.sources.digit_motion import (
    MovingDigitsError,
    Setting,
    Track,
    draw_track,
    glyph_splits,
    load_glyphs,
    render,
    render_together,
)
from pipelines.sources.moving_digits import FACTORS, LABELS, column_of, write_moving_digits
from pipelines.video.decode import read_window
from pipelines.video.indexer import build_index


def draw_many(setting: Setting, digit: int, num_draws: int, num_frames: int = 9) -> list[Track]:
    rng = np.random.default_rng(0)
    return [
        draw_track(rng, setting=setting, digit=digit, num_frames=num_frames)
        for _ in range(num_draws)
    ]


def centre_of_mass(frames: NDArray[Any]) -> NDArray[np.float64]:
    """x and y of each frame [.., height, width], in pixels from the corner."""
    mass = frames.astype(np.float64)
    along_x, along_y = mass.sum(axis=-2), mass.sum(axis=-1)
    x, y = (line @ (np.arange(line.shape[-1]) + 0.5) for line in (along_x, along_y))
    centres: NDArray[np.float64] = np.stack([x, y], axis=-1) / mass.sum(axis=(-2, -1))[..., None]
    return centres


def test_start_and_velocity_are_uniform() -> None:
    tracks = draw_many("A", 3, 20_000)
    starts = np.stack([track.positions[0] for track in tracks])
    speeds = np.stack([track.velocities[0] for track in tracks])
    for values, low, high in ((starts, 8, 16), (speeds, 0, 3)):
        assert values.min() >= low
        assert values.max() <= high
        assert values.mean(axis=0) == pytest.approx((low + high) / 2, abs=0.02 * (high - low))
        assert values.var(axis=0) == pytest.approx((high - low) ** 2 / 12, rel=0.05)
        assert abs(np.corrcoef(values.T)[0, 1]) < 0.03


def test_one_axis_changes_in_proportion_to_its_velocity() -> None:
    tracks = draw_many("A", 3, 20_000)
    axes = np.array([track.axes[0] for track in tracks])
    changes = np.stack([track.changes[0] for track in tracks])
    before = np.stack([track.velocities[0] for track in tracks])
    every = np.arange(len(tracks))
    assert axes.mean() == pytest.approx(0.5, abs=0.02)
    assert not changes[every, 1 - axes].any()
    standardised = changes[every, axes] / (2 / 3 * before[every, axes])
    assert standardised.mean() == pytest.approx(0, abs=0.03)
    assert standardised.std() == pytest.approx(1, abs=0.03)
    assert (standardised**4).mean() == pytest.approx(3, abs=0.25)


@pytest.mark.parametrize("digit", range(10))
def test_in_setting_b_the_digit_tells_the_axis(digit: int) -> None:
    share = np.mean([track.axes[0] for track in draw_many("B", digit, 4000)])
    assert share == pytest.approx(0.1 + 0.8 * digit / 9, abs=0.03)


def test_velocity_is_constant_but_for_its_change_every_six_frames() -> None:
    for track in draw_many("A", 5, 50, num_frames=30):
        steps = np.diff(track.positions, axis=0)
        np.testing.assert_allclose(steps, track.velocities[1:], atol=1e-12)
        jumps = np.diff(track.velocities, axis=0)
        changed = np.flatnonzero(np.abs(jumps).max(axis=1) > 0) + 1
        assert changed.tolist() == [3, 9, 15, 21, 27]
        np.testing.assert_allclose(jumps[changed - 1], track.changes, atol=1e-12)


def test_no_glyph_is_in_two_splits() -> None:
    splits = glyph_splits(1797, seed=0)
    shares = [np.mean(splits == name) for name in ("train", "val", "test")]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.001)
    assert (splits == glyph_splits(1797, seed=0)).all()
    assert (splits != glyph_splits(1797, seed=1)).any()


def test_rendering_moves_by_fractions_of_a_pixel() -> None:
    glyphs, digits = load_glyphs()
    assert glyphs.shape == (1797, 16, 16)
    assert set(digits) == set(range(10))
    positions = np.array([[20.0, 20.0], [20.25, 20.0], [30.5, 24.75]])
    frames = render(glyphs[7], positions, 64)
    corner = np.array([12, 12])
    assert frames[0][12:28, 12:28] == pytest.approx(glyphs[7], abs=0.5)
    offset = centre_of_mass(glyphs[7]) + corner - positions[0]
    assert centre_of_mass(frames) - offset == pytest.approx(positions, abs=0.02)


def test_what_leaves_the_canvas_is_cut() -> None:
    glyph = np.full((16, 16), 200.0)
    frames = render(glyph, np.array([[64.0, 32.0], [90.0, 32.0], [0.0, 0.0]]), 64)
    assert (frames > 0).sum(axis=(1, 2)).tolist() == [8 * 16, 0, 8 * 8]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("digits") / "set"
    write_moving_digits(out, num_videos=40, setting="B", num_frames=22, canvas=64, seed=3)
    return out


def test_the_digit_is_where_the_factors_say(written: Path) -> None:
    glyphs, _ = load_glyphs()
    for row in pq.read_table(written / "factors.parquet").to_pylist():
        frames = read_window(written / row["path"], first=row["frame"], num_frames=3)
        truth = np.array([row["position_x"], row["position_y"]])
        velocity = np.array([row["velocity_x"], row["velocity_y"]])
        truth = truth + np.arange(3)[:, None] * velocity
        if truth.min() < 8 or truth.max() > 56:
            continue  # cut at the border: no centre to compare
        ink = np.where(frames[..., 0] > 8, frames[..., 0], 0)
        offset = centre_of_mass(glyphs[row["glyph"]]) - 8
        assert centre_of_mass(ink) - offset == pytest.approx(truth, abs=0.3)


def test_the_factors_of_later_segments_follow_from_the_earlier(written: Path) -> None:
    table = pq.read_table(written / "factors.parquet").to_pandas()
    assert {*LABELS, *FACTORS} <= set(table.columns)
    assert table.groupby("path")["frame"].apply(list).map(tuple).unique().tolist() == [(0, 6, 12)]
    assert table.groupby("glyph")["split"].nunique().max() == 1
    for axis in "xy":
        velocity = table.pivot(index="path", columns="frame", values=f"velocity_{axis}")
        change = table.pivot(index="path", columns="frame", values=f"change_{axis}")
        assert (velocity[6] - velocity[0] - change[0]).abs().max() < 1e-9
    exclusive = (table["change_x"] == 0) ^ (table["change_y"] == 0)
    assert exclusive.all()
    assert ((table["change_x"] == 0) == (table["change_axis"] == 1)).all()


def test_the_index_takes_split_and_factors_from_the_set(written: Path) -> None:
    videos = build_index([written], written / "videos.parquet").index
    table = pq.read_table(written / "factors.parquet").to_pandas()
    split = dict(zip(table["path"], table["split"], strict=True))
    assert len(videos.select()) == 40
    for row in videos.table.to_pylist():
        assert row["split"] == split[str(Path(row["path"]).relative_to(written))]
        assert row["factors"] == [str(written / "factors.parquet")]
        assert (row["num_frames"], row["seek"], row["key_frames"]) == (22, "exact", [0, 12])


def test_a_set_goes_on_where_it_was_interrupted_and_may_grow(written: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    settings: dict[str, Any] = {"setting": "B", "num_frames": 22, "seed": 3, "num_workers": 1}
    assert write_moving_digits(out, num_videos=10, **settings).num_written == 10
    (out / "videos" / "000004.mp4").unlink()
    summary = write_moving_digits(out, num_videos=12, **settings)
    assert (summary.num_written, summary.num_kept) == (3, 9)
    for number in range(12):
        name = f"videos/{number:06d}.mp4"  # another call, other processes, other count: same bytes
        assert (out / name).read_bytes() == (written / name).read_bytes()
    with pytest.raises(MovingDigitsError, match="choose another folder"):
        write_moving_digits(out, num_videos=12, **settings | {"seed": 4})
    with pytest.raises(MovingDigitsError, match="num_videos alone may grow"):
        write_moving_digits(out, num_videos=5, **settings)


def test_a_folder_with_other_videos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    with pytest.raises(MovingDigitsError, match="videos of another kind"):
        write_moving_digits(tmp_path, num_videos=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"canvas": 22}, "use 24 or more"),
        ({"canvas": 65}, "use 66"),
        ({"setting": "C"}, "must be A or B"),
        ({"digits": 4}, "digits=4: a scene has from 1 to 3"),
        ({"digits": 2, "canvas": 40}, "canvas=40 with digits=2.*use 48 or more"),
        ({"num_frames": 8}, "take 9"),
        ({"num_videos": 0}, "num_videos=0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_senseless_settings_are_refused(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(MovingDigitsError, match=message):
        write_moving_digits(tmp_path / "set", **settings)
    assert not (tmp_path / "set").exists()


def test_scenes_are_digits_of_one_split_after_another(tmp_path: Path) -> None:
    write_moving_digits(tmp_path / "set", num_videos=12, scenes=4, num_workers=1, seed=3)
    rows = pq.read_table(tmp_path / "set" / "factors.parquet").to_pandas()
    assert len(rows) == 12 * 4
    assert list(rows.frame[:4]) == [0, 9, 18, 27]
    assert (rows.groupby("path").split.nunique() == 1).all()
    assert rows.groupby("path").glyph.nunique().mean() > 3
    index = build_index([tmp_path / "set"], tmp_path / "set.parquet").index
    glyphs, _ = load_glyphs()
    path = tmp_path / "set" / "videos" / "000005.mp4"
    row = [str(p) for p in index.path].index(str(path))
    assert set(range(0, 36, 9)) <= set(index.key_frames(row).tolist())
    for scene in rows[rows.path == "videos/000005.mp4"].itertuples():
        window = read_window(str(path), first=scene.frame, num_frames=3, width=64, height=64)
        velocity = np.array([scene.velocity_x, scene.velocity_y])
        start = np.array([scene.position_x, scene.position_y])
        drawn = render(glyphs[scene.glyph], start + velocity * np.arange(3)[:, None], 64)
        seen = window.mean(axis=-1)
        assert np.abs(seen - drawn).mean() < 2
        assert drawn.max() > 100


def test_one_digit_is_written_as_before_there_could_be_more(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"setting": "B", "num_frames": 15, "scenes": 3, "seed": 5}
    write_moving_digits(tmp_path / "set", num_videos=4, digits=1, num_workers=1, **settings)
    table = pq.read_table(tmp_path / "set" / "factors.parquet")
    assert list(table.column_names) == [
        *("path", "frame", "split", "digit", "glyph", "setting", "change_axis"),
        *FACTORS,
    ]
    assert b"digits" not in table.schema.metadata[b"adassl.moving_digits"]
    last = table.to_pylist()[-1]
    assert (last["path"], last["frame"], last["split"]) == ("videos/000003.mp4", 36, "test")
    assert (last["digit"], last["glyph"], last["change_axis"]) == (7, 1785, 1)
    quantities = [16.786509, 17.139102, 0.836533, 0.559244, 0.0, 0.539004]
    assert [last[name] for name in FACTORS] == pytest.approx(quantities, abs=1e-6)
    write_moving_digits(tmp_path / "again", num_videos=4, num_workers=1, **settings)
    for file in ("factors.parquet", "videos/000002.mp4"):
        assert (tmp_path / "set" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("three") / "set"
    write_moving_digits(out, num_videos=12, scenes=8, digits=3, seed=3, num_workers=1)
    return out


def test_digits_of_a_scene_are_of_one_split_and_move_from_their_corners(three: Path) -> None:
    rows = pq.read_table(three / "factors.parquet").to_pandas()
    glyphs, digits = load_glyphs()
    splits = glyph_splits(len(digits), seed=3)
    for number, (x, y) in enumerate(((8, 8), (48, 48), (48, 8)), 1):
        names = [column_of(name, number) for name in ("position_x", "position_y")]
        assert (rows[names].sub([x, y]).ge(0) & rows[names].sub([x, y]).le(8)).all(axis=None)
        speeds = rows[[column_of(name, number) for name in ("velocity_x", "velocity_y")]]
        assert (speeds * [-1 if x > 32 else 1, -1 if y > 32 else 1] >= 0).all(axis=None)
        glyph = rows[column_of("glyph", number)]
        assert (rows[column_of("digit", number)] == digits[glyph]).all()
        assert (splits[glyph] == rows.split).all()
    for row in rows.iloc[::17].itertuples():
        window = read_window(str(three / row.path), first=row.frame, num_frames=3)
        places = [
            np.array([getattr(row, column_of(f"position_{axis}", k)) for axis in "xy"])
            + np.arange(3)[:, None]
            * [getattr(row, column_of(f"velocity_{axis}", k)) for axis in "xy"]
            for k in (1, 2, 3)
        ]
        shown = [glyphs[getattr(row, column_of("glyph", k))] for k in (1, 2, 3)]
        drawn = render_together(shown, places, 64)
        assert np.abs(window.mean(axis=-1) - drawn).mean() < 3
        each = [render(glyph, place, 64) for glyph, place in zip(shown, places, strict=True)]
        assert (drawn == np.max(each, axis=0)).all()


def test_digits_of_a_scene_change_independently_and_the_first_as_it_does_alone(
    three: Path, tmp_path: Path
) -> None:
    rows = pq.read_table(three / "factors.parquet").to_pandas()
    write_moving_digits(tmp_path / "one", num_videos=12, scenes=8, seed=3, num_workers=1)
    alone = pq.read_table(tmp_path / "one" / "factors.parquet").to_pandas()
    assert rows[list(alone.columns)].equals(alone)
    for name in ("digit", "change_axis", "velocity_x", "velocity_y", "change_x", "change_y"):
        three_of = rows[[column_of(name, number) for number in (1, 2, 3)]].to_numpy(float)
        between = np.corrcoef(three_of.T)[np.triu_indices(3, 1)]
        assert np.abs(between).max() < 0.4, name  # 96 scenes: four standard deviations
    assert ((rows.change_x_3 == 0) == (rows.change_axis_3 == 1)).all()
    with pytest.raises(MovingDigitsError, match="choose another folder"):
        write_moving_digits(three, num_videos=12, scenes=8, digits=2, seed=3)
    with pytest.raises(MovingDigitsError, match="choose another folder"):
        write_moving_digits(tmp_path / "one", num_videos=12, scenes=8, digits=2, seed=3)
