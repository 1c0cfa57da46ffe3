from collections.abc import Callable
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from pipelines import figures
from pipelines.figures import sheets
from pipelines.figures import style as look

Array = NDArray[Any]


def clips(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def history(
    num_entries: int = 30, *, penalty: str | None = "kl", val: bool = True, seed: int = 0
) -> list[dict[str, float]]:
    random = np.random.default_rng(seed)
    entries = []
    for i in range(num_entries):
        names = ["loss", "ssl", "centre_norm", "residual_norm", "rankme"]
        names += ["beta", penalty] if penalty else []
        groups = ["train", "val"] if val and i % 5 == 4 else ["train"]
        entry = {f"{group}/{name}": float(random.uniform()) for group in groups for name in names}
        entries.append({"step": float(20 * i + 1), **entry})
    return entries


def ink_of(path: Path) -> Array:
    """The picture's pixels, uint8 [height, width, 3]."""
    return (np.asarray(imread(path))[..., :3] * 255).round().astype(np.uint8)


@lru_cache(maxsize=1)  # it is drawn for it
def shown_texts(figure: Figure) -> list[tuple[str, Bbox]]:
    """The words of a figure and their places in pixels, without ticks beyond the axes' limits."""
    figure.draw_without_rendering()
    hidden: set[Text] = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = axis.get_major_ticks()
            hidden |= {tick.label1 for tick in ticks if not low <= tick.get_loc() <= high}
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text not in hidden]
    return [(words, box) for words, box in boxes if words.strip() and box.width > 1]


def overlapping_texts(figure: Figure) -> list[tuple[str, str]]:
    return [
        (one, other)
        for (one, a), (other, b) in combinations(shown_texts(figure), 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
    ]


def cut_texts(figure: Figure) -> list[str]:
    """Words that reach over the edge of the picture."""
    width, height = figure.get_size_inches() * figure.dpi
    return [
        words
        for words, box in shown_texts(figure)
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1
    ]


def pairs(folder: Path, seed: int) -> Path:
    views = [clips(8, 3, 64, 64, 1, seed=seed + i) for i in range(3)]
    captions = [f"video {1000 + i}" for i in range(8)]
    return figures.pairs_sheet(views[0], views[1], views[2], captions, folder / "pairs.png")


def futures(folder: Path, seed: int) -> Path:
    sources, truths = clips(6, 3, 32, 32, 1, seed=seed), clips(6, 3, 32, 32, 1, seed=seed + 1)
    nearest = clips(6, 5, 3, 32, 32, 1, seed=seed + 2)
    return figures.futures(sources, truths, nearest, folder / "futures.png")


def projection(folder: Path, seed: int) -> Path:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, 200)
    embeddings = random.normal(size=(200, 16))
    return figures.projection(embeddings, labels, folder / "p.png", label="digit")


def comparison(folder: Path, seed: int) -> Path:
    random = np.random.default_rng(seed)
    metrics = ["digit, accuracy", "velocity x, R²", "change x, R² (edited)", "RankMe"]
    rows = {
        run: dict(zip(metrics, random.uniform(0, 1, 4).tolist(), strict=True))
        for run in ("AdaSSL-V", "same recipe, no r")
    }
    rows["AdaSSL-V"]["KL of r, nats"] = 2.5
    rows["same recipe, no r"]["velocity x, R²"] = -0.2
    return figures.comparison(rows, folder / "comparison.png")


DRAWN: dict[str, Callable[[Path, int], Path]] = {
    "pairs": pairs,
    "futures": futures,
    "projection": projection,
    "comparison": comparison,
    "loss": lambda folder, seed: figures.loss_terms(history(seed=seed), folder / "l.png"),
    "collapse": lambda folder, seed: figures.collapse(history(seed=seed), folder / "c.png"),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_shows_its_data_and_its_words_are_readable(
    name: str, tmp_path: Path, drawn: list[Figure]
) -> None:
    path = DRAWN[name](tmp_path / "new folder", 0)
    first = ink_of(path)
    width, height = drawn[0].get_size_inches() * look.DPI
    assert abs(first.shape[1] - width) <= 1
    assert abs(first.shape[0] - height) <= 1
    assert min(first.shape[:2]) > 300
    assert overlapping_texts(drawn[0]) == []
    assert cut_texts(drawn[0]) == []
    if name in ("projection", "comparison"):  # one by chance, one not
        again = ink_of(DRAWN[name](tmp_path, 0))
        assert np.array_equal(first, again), "the same data, the same picture"
    other = ink_of(DRAWN[name](tmp_path, 1))
    assert other.shape == first.shape
    assert np.mean(np.any(other != first, axis=-1)) > 0.001, "other data, another picture"


def test_the_check_of_words_can_fail() -> None:
    figure = look.new_figure(4, 3, "title")
    figure.text(0.5, 0.5, "one")
    figure.text(0.5, 0.5, "other")
    figure.text(0.95, 0.2, "over the edge")
    assert overlapping_texts(figure) == [("one", "other")]
    assert cut_texts(figure) == ["over the edge"]


@pytest.mark.parametrize(
    ("num_frames", "channels", "size"), [(1, 1, 16), (1, 3, 224), (3, 3, 16), (16, 1, 112)]
)
def test_sheets_of_any_clips(
    num_frames: int, channels: int, size: int, tmp_path: Path, drawn: list[Figure]
) -> None:
    shape = (num_frames, size, size, channels)
    figures.pairs_sheet(clips(2, *shape), clips(2, *shape), None, ["a", "b"], tmp_path / "p.png")
    figures.futures(clips(2, *shape), clips(2, *shape), clips(2, 3, *shape), tmp_path / "f.png")
    for figure in drawn:
        assert overlapping_texts(figure) == []
        assert cut_texts(figure) == []
        assert max(figure.get_size_inches()) < 14


def test_a_sheet_holds_the_pixels_it_was_given(tmp_path: Path, drawn: list[Figure]) -> None:
    context, target = (np.full((1, 2, 8, 8, 3), 0, np.uint8) for _ in range(2))
    context[..., :] = (200, 30, 60)
    target[..., :] = (10, 120, 240)
    picture = ink_of(figures.pairs_sheet(context, target, None, ["v"], tmp_path / "p.png"))
    areas = [np.all(picture == colour, axis=-1).sum() for colour in ((200, 30, 60), (10, 120, 240))]
    assert areas[0] == pytest.approx(areas[1], rel=0.05)
    assert min(areas) > 0.02 * picture.shape[0] * picture.shape[1]
    assert np.argmax(np.all(picture == (200, 30, 60), axis=-1).any(axis=0)) < np.argmax(
        np.all(picture == (10, 120, 240), axis=-1).any(axis=0)
    ), "x stands left of x+"


def test_an_overlay_is_white_where_nothing_moves() -> None:
    still = np.full((3, 4, 4, 1), 200, np.uint8)
    assert (sheets._overlay(still) == 200).all()
    gone = still.copy()
    gone[-1] = 0
    red, _, blue = sheets._overlay(gone)[0, 0]
    assert blue > red, "first frame only: blue"
    red, _, blue = sheets._overlay(gone[::-1])[0, 0]
    assert red > blue, "last frame only: orange"


@pytest.mark.parametrize(
    ("num_entries", "penalty", "val"),
    [(40, "kl", True), (40, "l0", False), (40, None, True), (1, "kl", False), (300, "l0", True)],
)
def test_curves_of_any_history(
    num_entries: int, penalty: str | None, val: bool, tmp_path: Path, drawn: list[Figure]
) -> None:
    entries = history(num_entries, penalty=penalty, val=val)
    figures.loss_terms(entries, tmp_path / "loss.png")
    figures.collapse(entries, tmp_path / "collapse.png")
    assert len(drawn[0].axes) == (3 if penalty else 1)
    for figure in drawn:
        assert overlapping_texts(figure) == []
        assert cut_texts(figure) == []


def test_what_is_no_number_and_what_was_not_logged_leave_a_gap(tmp_path: Path) -> None:
    entries = history(10)
    entries[3]["train/loss"] = float("nan")
    for entry in entries:
        entry.pop("train/rankme")
    assert figures.loss_terms(entries, tmp_path / "loss.png").exists()
    assert figures.collapse(entries, tmp_path / "collapse.png").exists()
    assert figures.collapse([], tmp_path / "empty.png").exists()


def test_end_labels_stand_at_their_lines(tmp_path: Path, drawn: list[Figure]) -> None:
    entries = [
        {"step": float(s), "train/centre_norm": 0.25, "train/residual_norm": 0.75} for s in range(9)
    ]
    figures.collapse(entries, tmp_path / "c.png")
    axes = drawn[0].axes[0]
    for text in axes.texts:
        value = float(text.get_text().split()[-1])
        box = text.get_window_extent()
        height = axes.transData.transform((0, value))[1]
        assert abs((box.y0 + box.y1) / 2 - height) < 5


SUBSAMPLED = pytest.param(1500, "video", marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("num_points", "kind"),
    [
        (2, "class"),
        (30, "class"),
        (30, "value"),
        (30, "word"),
        (30, "video"),
        (100, "video"),
        SUBSAMPLED,
    ],
)
def test_projections_of_any_labels(
    num_points: int, kind: str, tmp_path: Path, drawn: list[Figure]
) -> None:
    random = np.random.default_rng(0)
    colours: Array = {
        "class": random.integers(0, 10, num_points),
        "value": random.normal(size=num_points),
        "word": np.array(["cat", "dog"], dtype=object)[random.integers(0, 2, num_points)],
        "video": np.array([f"/videos/{i}.mp4" for i in range(num_points)]),
    }[kind]
    embeddings = random.normal(size=(num_points, 8)).astype(np.float32)
    figures.projection(embeddings, colours, tmp_path / "p.png")
    texts = [text.get_text() for text in drawn[0].texts]
    assert texts[0] == ("t-SNE" if num_points > 60 else "PCA") + " of the embeddings"
    assert overlapping_texts(drawn[0]) == []


def test_classes_stand_in_the_legend_by_number(tmp_path: Path, drawn: list[Figure]) -> None:
    labels = np.array([10, 9, 2, 1] * 10)
    figures.projection(np.random.default_rng(0).normal(size=(40, 4)), labels, tmp_path / "p.png")
    legend = drawn[0].axes[0].get_legend()
    assert legend
    assert [text.get_text() for text in legend.get_texts()] == ["1", "2", "9", "10"]


def test_no_state_of_pyplot_is_touched(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    for name in ("pairs", "comparison", "loss"):
        DRAWN[name](tmp_path, 0)
    assert dict(mpl.rcParams) == before
