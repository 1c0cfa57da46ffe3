"""`adassl futures`: what may follow one moment, as the real clips nearest to sampled futures."""

from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from adassl.surprise import surprise_nats
from pipelines import figures
from pipelines.config.run import ConfigError
from pipelines.evaluation.evaluate import restored
from pipelines.evaluation.expectation import (
    Expectation,
    forecaster_of,
    futures_of,
    source_of,
    trained_forecaster,
)
from pipelines.figures import html
from pipelines.library.clip_reader import ClipReader
from pipelines.library.forecast import LibraryPairs, embed_library, library_index
from pipelines.library.moment import Moment, MomentError
from pipelines.library.surprise_page import STYLE, moment_link, strip
from pipelines.numbers import number, plural
from pipelines.storage.folder import Folder, absolute
from pipelines.storage.lease import only_one
from pipelines.storage.runs import RunFolder
from pipelines.training.learner import Learner
from pipelines.video.batch import Frames
from pipelines.video.clip_pairs import middle_gap_frames
from pipelines.video.frames import DecodeError
from pipelines.video.index import VideoIndex

PAGE, PICTURE = "futures.html", "futures.png"
ALIKE = 0.98
"""Cosine of the embeddings above which two clips are one and the same future."""


@dataclass(frozen=True, kw_only=True)
class Future:
    """A clip of the library that stands for some of the sampled futures.

    Attributes:
        row: of the library's pairs, of which it is x+.
        path: its video.
        seconds: where it begins.
        share: of the samples whose nearest clip it is, or one that is nearly the same.
    """

    row: int
    path: str
    seconds: float
    share: float


@dataclass(frozen=True, kw_only=True)
class FuturesSummary:
    """What may follow a moment, the likeliest first.

    Attributes:
        moment: whose clip begins at the frame nearest to it.
        gap_seconds: from there to the beginning of x+.
        futures: those that are shown.
        num_futures: different ones that were found.
        num_samples: sampled.
        num_clips: of the library.
        surprise_nats: of what came; None where the video ends before.
        source: what the futures are made of, in words.
        out: the folder with futures.html and futures.png.
    """

    moment: Moment
    gap_seconds: float
    futures: list[Future]
    num_futures: int
    num_samples: int
    num_clips: int
    surprise_nats: float | None
    source: str
    out: str

    def lines(self) -> list[str]:
        """The report."""
        came = "the video ends before what came next"
        if self.surprise_nats is not None:
            came = f"surprise of what came: {number(self.surprise_nats, '.1f')} nats"
        shown = sum(future.share for future in self.futures)
        return [
            f"{self.moment} and {self.gap_seconds:.2f} s later: "
            f"{plural(self.num_samples, 'sampled future')}, "
            f"{self.num_futures} different among {plural(self.num_clips, 'clip')} of the library; "
            f"those shown have {shown:.0%}",
            came,
            self.source,
        ]


@dataclass(frozen=True, kw_only=True)
class _Context:
    """The clip at a moment, and what came if the video goes on for so long."""

    clip: Frames
    came: Frames | None
    start: int
    gap: int
    fps: float


def futures(
    run: str | Path,
    moment: str | Moment,
    out: str | Path,
    *,
    index: str | None = None,
    num_samples: int = 64,
    show: int = 6,
    stride_seconds: float | None = None,
    checkpoint: str = "newest",
    videos_root: str | None = None,
    address: str | None = None,
    console: Console | None = None,
) -> FuturesSummary:
    """Sample what may follow a moment, and write OUT/futures.html and OUT/futures.png.

    Args:
        run: folder of the run, a path or a URI.
        moment: in any video, such as "video.mp4@12.5".
        out: folder of the results, a path or a URI.
        index: of the library whose clips stand for futures; None: the run's own.
        num_samples: futures; a method without r has one.
        show: the likeliest so many are shown.
        stride_seconds: between two clips of a video of the library; None: the run's gap.
        checkpoint: "newest" or "best".
        videos_root: folder that holds the library's videos now, if they were moved.
        address: of a Ray cluster; None: RAY_ADDRESS, else this machine.
        console: where to show progress; None: nowhere.

    Raises:
        MomentError: if it is written wrongly, there is no such video, or it ends before.
        ConfigError: if there is no such run or checkpoint, its r is given and not inferred, or the
            library has no video that is long enough.
        StorageError: if OUT cannot be written.
    """
    asked = Moment.parse(moment) if isinstance(moment, str) else moment
    learner = restored(RunFolder(run), checkpoint, videos_root)
    data = learner.config.data
    videos = library_index(data, index or data.index, None).select()
    context = _context_of(learner, asked, videos)
    folder = Folder(out)
    with only_one(folder):
        pairs = embed_library(
            learner, videos, stride_seconds=stride_seconds, address=address, console=console
        )
        embedding = _encoded(learner, context.clip)
        trained = trained_forecaster(learner)
        forecaster = trained or forecaster_of(learner, pairs, _others(pairs, asked, context))
        sampled = futures_of(learner, forecaster, embedding, num_samples)
        found = nearest_clips(sampled[:, 0].cpu(), pairs)
        summary = FuturesSummary(
            moment=asked,
            gap_seconds=context.gap / context.fps,
            futures=found[:show],
            num_futures=len(found),
            num_samples=len(sampled),
            num_clips=len(pairs),
            surprise_nats=_surprise(
                learner, Expectation(learner, pairs, trained), sampled, context.came
            ),
            source=source_of(learner, trained),
            out=str(folder),
        )
        _write(folder, RunFolder(run).name, learner, pairs, summary, context)
    return summary


def nearest_clips(sampled: Tensor, pairs: LibraryPairs) -> list[Future]:
    """The x+ of the library nearest to each sampled future, the most frequent first.

    Clips of one video within a gap of each other, or whose embeddings are nearly the same, are one
    future: that which most samples chose.

    Args:
        sampled: unit embeddings [samples, dim].
        pairs: of the library.
    """
    chosen, counts = np.unique((sampled @ pairs.target.T).argmax(dim=1), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    kept: list[int] = []
    shares: list[float] = []
    for row, count in zip(chosen[order].tolist(), counts[order].tolist(), strict=True):
        same = (place for place, other in enumerate(kept) if _is_same(pairs, row, other))
        place = next(same, None)
        if place is None:
            kept.append(row)
            shares.append(count / len(sampled))
        else:
            shares[place] += count / len(sampled)
    rows = [kept[place] for place in np.argsort(-np.asarray(shares), kind="stable")]
    return [
        Future(row=row, path=str(pairs.path[row]), seconds=float(pairs.next_seconds[row]), share=s)
        for row, s in zip(rows, sorted(shares, reverse=True), strict=True)
    ]


def _is_same(pairs: LibraryPairs, row: int, other: int) -> bool:
    is_near = (
        pairs.video[row] == pairs.video[other]
        and abs(pairs.start[row] - pairs.start[other]) < pairs.gap[row]
    )
    return bool(is_near or pairs.target[row] @ pairs.target[other] > ALIKE)


def _context_of(learner: Learner, moment: Moment, videos: VideoIndex) -> _Context:
    """Decode the clip at a moment, and what came.

    Raises:
        MomentError: if there is no such video, it ends before, has no room for a clip, or cannot be
            decoded.
    """
    data, path = learner.config.data, absolute(moment.path)
    reader = ClipReader(data, videos)
    try:
        video, start = reader.about(path), reader.first_frame(path, moment.seconds)
        clip = reader.clip_from(path, start)
        gap = int(middle_gap_frames(data, np.array([video.fps]))[0])
        is_last = start + gap + data.frames_per_clip > video.num_frames
        came = None if is_last else reader.clip_from(path, start + gap)
    except DecodeError as error:
        raise MomentError(f"{moment}: {error.reason}; give a moment that a video has") from error
    return _Context(clip=clip, came=came, start=start, gap=gap, fps=video.fps)


def _others(pairs: LibraryPairs, moment: Moment, context: _Context) -> NDArray[np.int64]:
    """All pairs but those that have seen what came."""
    own = (pairs.path == absolute(moment.path)) & (
        np.abs(pairs.start - context.start) < context.gap + len(context.clip)
    )
    return np.flatnonzero(~own)


@torch.no_grad()
def _encoded(learner: Learner, clip: Frames) -> Tensor:
    embedding = learner.method.encode(learner.to_input(clip[None])).embedding.float()
    if not torch.isfinite(embedding).all():
        raise ConfigError(
            "the moment's embedding is not finite: the run's weights are not sound; try "
            "--checkpoint best"
        )
    return embedding


@torch.no_grad()
def _surprise(
    learner: Learner, expectation: Expectation, sampled: Tensor, came: Frames | None
) -> float | None:
    if came is None:
        return None
    target = learner.method.encode_target(learner.to_input(came[None]))
    nats = surprise_nats(sampled, target, temperature=expectation.temperature())
    return float(nats.item())


def _write(
    folder: Folder,
    run: str,
    learner: Learner,
    pairs: LibraryPairs,
    summary: FuturesSummary,
    context: _Context,
) -> None:
    rows = np.asarray([future.row for future in summary.futures], np.int64)
    starts = pairs.start[rows] + pairs.gap[rows]
    reader = ClipReader(learner.config.data, pairs.index)
    clips = reader.clips_from(pairs.path[rows], starts)
    with folder.writing(PICTURE) as path:
        shown = [
            (f"future, {future.share:.0%}", clip)
            for future, clip in zip(summary.futures, clips, strict=True)
            if clip is not None
        ]
        before = [("x, before", context.clip)]
        if context.came is not None:
            before.append(("x⁺, what came", context.came))
        captions, strips = zip(*before, *shown, strict=True)
        title = f"What may follow {Path(summary.moment.path).name} at {summary.moment.seconds:g} s"
        figures.forecast(strips, captions, title, path)
    folder.write_text(PAGE, _page(run, summary, context, clips))


def _page(run: str, summary: FuturesSummary, context: _Context, clips: list[Frames | None]) -> str:
    """The page, in one file."""
    link = moment_link(absolute(summary.moment.path), context.start / context.fps)
    nats = summary.surprise_nats
    came = "the video ends before"
    if nats is not None:
        later = moment_link(
            absolute(summary.moment.path), (context.start + context.gap) / context.fps
        )
        came = f"{later}, surprise {number(nats, '.1f')} nats"
    cards = [_card("x, the moment", link, context.clip)]
    if context.came is not None:
        cards.append(_card("x⁺, what came", came, context.came))
    drawn = [
        _card(f"{future.share:.0%}", moment_link(future.path, future.seconds), clip)
        for future, clip in zip(summary.futures, clips, strict=True)
    ]
    report = "".join(f"<li>{escape(line)}</li>" for line in summary.lines())
    name = Path(summary.moment.path).name
    return html.page(
        f"What may follow {name} at {summary.moment.seconds:g} s, by {run}",
        "\n".join(
            [
                f"<ul>{report}</ul>",
                html.section("The moment", f'<div class="moments">{"".join(cards)}</div>'),
                html.section(
                    "Sampled futures",
                    f'<div class="moments">{"".join(drawn)}</div>',
                    note="The real clips of the library whose embeddings are nearest to the "
                    "sampled futures, and the share of the samples that each stands for.",
                ),
            ]
        ),
        head=STYLE,
    )


def _card(title: str, text: str, clip: Frames | None) -> str:
    return (
        f'<div class="moment"><h3>{escape(title)}</h3>'
        f'<div class="strips">{strip(clip, title)}</div><div class="faint">{text}</div></div>'
    )
