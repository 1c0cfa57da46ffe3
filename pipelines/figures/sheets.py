"""Contact sheets of frames: the pairs that the trainer saw, and futures that r leaves open."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pipelines.figures.style import FAINT, INK, TEXT_SIZE, new_figure, save

Frames = NDArray[np.uint8]

_MOST_FRAMES = 6
_GAP, _GROUP_GAP, _LEAST_WIDTH = 0.07, 0.16, 6.5  # inches
_EARLY, _LATE = np.array([0.0, 0.45, 0.85]), np.array([1.0, 0.55, 0.15])
"""Colours of an overlay's first and last frame; they add up to white where nothing moves."""


def pairs_sheet(
    context: UInt8[Frames, "pairs frames height width channels"],
    target: UInt8[Frames, "pairs frames height width channels"],
    surrogate: UInt8[Frames, "pairs frames height width channels"] | None,
    captions: Sequence[str],
    path: Path,
) -> Path:
    """Pairs as the trainer saw them, one a row: the frames of x, of x+ and of x++ if it is used."""
    views = [("x", context), ("x⁺", target)]
    if surrogate is not None:
        views.append(("x⁺⁺, read by the posterior", surrogate))
    num_frames, shown = context.shape[1], spread(context.shape[1], _MOST_FRAMES)
    which = f"{num_frames} frames" if num_frames > 1 else "1 frame"
    if len(shown) < num_frames:
        which = f"{len(shown)} of {num_frames} frames"
    rows = [[_side_by_side(view[i, shown]) for _, view in views] for i in range(len(context))]
    return _sheet(
        rows,
        [name for name, _ in views],
        captions,
        "Pairs as the trainer saw them",
        f"one pair a row, {which} of each view",
        path,
        groups=[1] * len(views),
    )


def futures(
    sources: UInt8[Frames, "sources frames height width channels"],
    truths: UInt8[Frames, "sources frames height width channels"],
    nearest: UInt8[Frames, "sources futures frames height width channels"],
    path: Path,
) -> Path:
    """Each source clip, its true next clip, and the real clips nearest to its sampled futures."""
    num_futures = nearest.shape[1]
    is_overlay = sources.shape[-1] == 1 and sources.shape[1] > 1
    cell = _overlay if is_overlay else _first_and_last
    rows = [
        [cell(clip) for clip in (source, truth, *clips)]
        for source, truth, clips in zip(sources, truths, nearest, strict=True)
    ]
    names = ["source x", "true next x⁺", *(f"future {i + 1}" for i in range(num_futures))]
    how = "first and last frame of each clip" if sources.shape[1] > 1 else ""
    if is_overlay:
        how = "first frame of each clip in blue, last in orange, white where both agree"
    return _sheet(
        rows,
        names,
        [],
        "What may come next: sampled futures of some clips",
        f"each future is shown as the real clip whose embedding is nearest to it\n{how}".strip(),
        path,
        groups=(1, 1, num_futures),
    )


def forecast(
    clips: Sequence[UInt8[Frames, "frames height width channels"]],
    captions: Sequence[str],
    title: str,
    path: Path,
) -> Path:
    """One moment: film strips below each other, of x, of what came, and of its sampled futures.

    Args:
        clips: x first, all of one size.
        captions: what stands left of each.
        title: of the picture.
        path: of the PNG.
    """
    rows = [[_side_by_side(clip[spread(len(clip), _MOST_FRAMES)])] for clip in clips]
    how = "each future is shown as the real clip whose embedding is nearest to it"
    return _sheet(rows, [""], captions, title, how, path, groups=[1])


def transfers(
    *,
    donors: tuple[
        UInt8[Frames, "transfers frames height width channels"],
        UInt8[Frames, "transfers frames height width channels"],
    ],
    contexts: UInt8[Frames, "transfers frames height width channels"],
    found: UInt8[Frames, "transfers frames height width channels"],
    right: UInt8[Frames, "transfers frames height width channels"],
    path: Path,
    thing: str = "video",
) -> Path:
    """R of a donor's pair edits the context of another video: what is found, and what was due.

    `thing` is what the contexts are of, such as an object.
    """
    views = (*donors, contexts, found, right)
    rows = [[_first_and_last(view[i]) for view in views] for i in range(len(contexts))]
    names = ["donor x", "donor x⁺", "context x", "found", "right"]
    return _sheet(
        rows,
        names,
        [],
        f"r carried over to another {thing}",
        f"found: that of the context's {thing} that is nearest to x, edited by the donor's r\n"
        "right: the one in which the donor's change has happened; first and last frame of each",
        path,
        groups=(2, 1, 2),
    )


def latent_sweep(
    pictures: UInt8[Frames, "latents values height width channels"],
    names: Sequence[str],
    values: Sequence[float],
    path: Path,
) -> Path:
    """Each latent of a generator, a row, at some values; the others stay at 0."""
    return _sheet(
        pictures,
        [f"{value:+.2f}" for value in values],
        names,
        "What each latent does",
        "one latent a row, from left to right; the others are 0",
        path,
        groups=[pictures.shape[1]],
    )


def _sheet(
    rows: Sequence[Sequence[Frames]] | Frames,
    names: Sequence[str],
    captions: Sequence[str],
    title: str,
    subtitle: str,
    path: Path,
    *,
    groups: Sequence[int],
) -> Path:
    """Rows of cells under names; `groups` of columns stand apart."""
    heights, widths = zip(*(cell.shape[:2] for cell in rows[0]), strict=True)
    scale = min(1.5 / max(heights), 10.0 / sum(widths))  # inches a pixel
    first = np.cumsum([0, *groups[:-1]])
    lefts = np.cumsum([0.0, *(w * scale + _GAP for w in widths[:-1])])
    lefts += _GROUP_GAP * (np.searchsorted(first, np.arange(len(widths)), side="right") - 1)
    margin = 0.15 + 0.085 * max((len(caption) for caption in captions), default=0)
    width = max(_LEAST_WIDTH, margin + lefts[-1] + widths[-1] * scale + 0.15)
    step = heights[0] * scale + _GAP
    top = 0.75 + 0.22 * (subtitle.count("\n") + 1)
    height = top + step * len(rows) + 0.1
    figure = new_figure(width, height, title, subtitle)
    figure.set_layout_engine("none")  # cells stand at exact places
    for i, row in enumerate(rows):
        bottom = height - top - (i + 1) * step + _GAP
        for left, cell in zip(margin + lefts, row, strict=True):
            size = cell.shape[1] * scale / width, cell.shape[0] * scale / height
            _show(figure.add_axes((left / width, bottom / height, *size)), cell)
        if captions:
            y = (bottom + 0.5 * heights[0] * scale) / height
            x = (margin - 0.08) / width
            figure.text(x, y, captions[i], size=TEXT_SIZE, color=FAINT, ha="right", va="center")
    for axes, name in zip(figure.axes, names, strict=False):
        axes.set_title(name, size=TEXT_SIZE, color=INK)
    return save(figure, path)


def _show(axes: Axes, cell: Frames) -> None:
    # Small frames keep their pixels; large ones are averaged down.
    axes.imshow(cell, interpolation="nearest" if cell.shape[0] < 150 else "antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def spread(num_frames: int, most: int) -> list[int]:
    """Frame numbers, evenly spread, first and last among them."""
    return sorted({round(i) for i in np.linspace(0, num_frames - 1, min(most, num_frames))})


def _rgb(frames: Frames) -> Frames:
    return np.asarray(np.broadcast_to(frames, (*frames.shape[:-1], 3)))


def _side_by_side(frames: Frames) -> Frames:
    """[frames, height, width, channels] → [height, widths with gaps, 3]."""
    gap = max(1, frames.shape[2] // 32)
    white = np.full((frames.shape[1], gap, 3), 255, np.uint8)
    parts = [part for frame in _rgb(frames) for part in (white, frame)]
    return np.concatenate(parts[1:], axis=1)


def _first_and_last(frames: Frames) -> Frames:
    return _side_by_side(frames[spread(len(frames), 2)])


def _overlay(frames: Frames) -> Frames:
    mixed = np.clip(frames[0] * _EARLY + frames[-1] * _LATE, 0, 255)
    return np.asarray(mixed.round(), np.uint8)
