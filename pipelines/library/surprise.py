"""`adassl surprise`: the moments of a library at which what came next was not what was expected.

The score is `adassl.surprise.surprise_nats`: the density of what came under a mixture around the
sampled futures, against what a future of x itself scores. Chosen by AUROC on moving digits with
injected events (docs/after-training.md). A softmax over other clips of the library, as
`next_clip_nats` has it, misses more jumps and more changes that are too large for the speed, and
moves with the clips that happen to be there. The density alone finds as much, but ranks moments of
fast motion above others, as frame differences and |z - z+| do. The temperature is fitted on the
library's own moments; where many of them are events it comes out wide, which makes the nats fewer
and changes their order little.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.console import Console

from adassl.surprise import surprise_nats
from pipelines.evaluation.evaluate import restored
from pipelines.evaluation.expectation import Expectation, source_of, trained_forecaster
from pipelines.library.clip_reader import ClipReader
from pipelines.library.forecast import LibraryPairs, embed_library, library_index
from pipelines.library.surprise_page import MomentShown, page_of
from pipelines.numbers import number, plural
from pipelines.storage.folder import Folder
from pipelines.storage.lease import only_one
from pipelines.storage.runs import RunFolder
from pipelines.training.learner import Learner

TABLE, PAGE = "surprise.parquet", "surprise.html"
MOST_COMPARED = 2**23
"""Numbers of the futures of moments that are scored at once."""


@dataclass(frozen=True, kw_only=True)
class SurpriseSummary:
    """What a run of `surprise` found.

    Attributes:
        moments: a row a moment: path, start_seconds, next_seconds, surprise_nats,
            frame_difference, embedding_distance; in the order of the videos.
        top: the most surprising of them, no two of one video within a gap of each other.
        temperature: that was fitted.
        skipped: why a video, or a part of it, is not here; by path.
        num_not_finite: moments left out, for their embeddings are not finite.
        source: what the futures are made of, in words.
        out: the folder with surprise.parquet and surprise.html.
    """

    moments: pd.DataFrame
    top: pd.DataFrame
    temperature: float
    skipped: dict[str, str]
    num_not_finite: int
    source: str
    out: str

    def lines(self) -> list[str]:
        """The report: each video skipped with its reason, then what there is."""
        nats = self.moments["surprise_nats"]
        videos = plural(self.moments["path"].nunique(), "video")
        lines = [f"skipped {path}: {reason}" for path, reason in self.skipped.items()]
        if self.num_not_finite:
            lines.append(f"left out {plural(self.num_not_finite, 'moment')}: embeddings not finite")
        return [
            *lines,
            f"{plural(len(nats), 'moment')} of {videos}: median {number(nats.median(), '.1f')} "
            f"nats, 95% below {number(float(nats.quantile(0.95)), '.1f')}, greatest "
            f"{number(float(nats.max()), '.1f')}",
            self.source,
        ]


def surprise(
    run: str | Path,
    index: str,
    out: str | Path,
    *,
    stride_seconds: float | None = None,
    split: str | None = None,
    top: int = 20,
    num_samples: int = 64,
    checkpoint: str = "newest",
    videos_root: str | None = None,
    address: str | None = None,
    console: Console | None = None,
) -> SurpriseSummary:
    """Score the moments of an index's videos, and write OUT/surprise.parquet and surprise.html.

    Both are written at the end, each at once: a run that is killed leaves what was there before.

    Args:
        run: folder of the run, a path or a URI.
        index: of the library, the run's own or another.
        out: folder of the results, a path or a URI.
        stride_seconds: between two moments of a video; None: the run's gap.
        split: of the library's videos; None: all.
        top: moments on the page.
        num_samples: futures of each moment; a method without r has one.
        checkpoint: "newest" or "best".
        videos_root: folder that holds the library's videos now, if they were moved.
        address: of a Ray cluster; None: RAY_ADDRESS, else this machine.
        console: where to show progress; None: nowhere.

    Raises:
        ConfigError: if there is no such run or checkpoint, its r is given and not inferred, the
            library has no video that is long enough, or another command writes to OUT.
        StorageError: if OUT cannot be written.
    """
    learner = restored(RunFolder(run), checkpoint, videos_root)
    rows = library_index(learner.config.data, index, split)
    folder = Folder(out)
    with only_one(folder):
        pairs = embed_library(
            learner,
            rows.select(split=split),
            stride_seconds=stride_seconds,
            address=address,
            console=console,
        )
        forecaster = trained_forecaster(learner)
        expectation = Expectation(learner, pairs, forecaster)
        temperature = expectation.temperature()
        scores = scored(expectation, pairs, num_samples=num_samples, temperature=temperature)
        moments = table_of(pairs, scores)
        chosen = most_surprising(moments, pairs, top)
        unusable = rows.select(usable=False)
        reasons = zip(unusable.path, unusable.column("reason"), strict=True)
        summary = SurpriseSummary(
            moments=moments,
            top=moments.loc[chosen],
            temperature=temperature,
            skipped={**dict(reasons), **pairs.skipped},
            num_not_finite=pairs.num_not_finite,
            source=source_of(learner, forecaster),
            out=str(folder),
        )
        page = page_of(
            RunFolder(run).name, moments, _shown(learner, pairs, scores, chosen), summary.lines()
        )
        with folder.writing(TABLE) as file:
            moments.to_parquet(file, index=False)
        folder.write_text(PAGE, page)
    return summary


@torch.no_grad()
def scored(
    expectation: Expectation, pairs: LibraryPairs, *, num_samples: int, temperature: float
) -> NDArray[np.float32]:
    """The surprise in nats of each moment."""
    scores = np.empty(len(pairs), np.float32)
    most = max(1, MOST_COMPARED // (num_samples * max(num_samples, pairs.context.shape[1])))
    for video in np.unique(pairs.video):
        all_rows = np.flatnonzero(pairs.video == video)
        for at in range(0, len(all_rows), most):
            rows = all_rows[at : at + most]
            futures = expectation.futures(rows, num_samples)
            target = pairs.target[rows].to(futures.device)
            found = surprise_nats(futures, target, temperature=temperature)
            scores[rows] = found.cpu().numpy()
    return scores


def table_of(pairs: LibraryPairs, scores: NDArray[np.float32]) -> pd.DataFrame:
    """A row a moment, as it is written."""
    return pd.DataFrame(
        {
            "path": pairs.path,
            "start_seconds": pairs.start_seconds,
            "next_seconds": pairs.next_seconds,
            "surprise_nats": scores,
            "frame_difference": pairs.difference,
            "embedding_distance": pairs.distance,
        }
    )


def most_surprising(moments: pd.DataFrame, pairs: LibraryPairs, top: int) -> list[int]:
    """Rows of the greatest surprises, none within a gap of a greater one of its video."""
    chosen: list[int] = []
    for row in np.argsort(-moments["surprise_nats"].to_numpy(), kind="stable").tolist():
        near = (
            pairs.video[row] == pairs.video[other]
            and abs(pairs.start[row] - pairs.start[other]) < pairs.gap[row]
            for other in chosen
        )
        if not any(near):
            chosen.append(row)
        if len(chosen) == top:
            break
    return chosen


def _shown(
    learner: Learner, pairs: LibraryPairs, scores: NDArray[np.float32], chosen: list[int]
) -> list[MomentShown]:
    """Moments with their frames, decoded once more."""
    rows = np.asarray(chosen, np.int64)
    places = [pairs.start[rows], pairs.start[rows] + pairs.gap[rows]]
    reader = ClipReader(learner.config.data, pairs.index)
    clips, came = (reader.clips_from(pairs.path[rows], starts) for starts in places)
    return [
        MomentShown(
            path=str(pairs.path[row]),
            start_seconds=float(pairs.start_seconds[row]),
            next_seconds=float(pairs.next_seconds[row]),
            nats=float(scores[row]),
            frame_difference=float(pairs.difference[row]),
            distance=float(pairs.distance[row]),
            clip=clip,
            came=after,
        )
        for row, clip, after in zip(chosen, clips, came, strict=True)
    ]
