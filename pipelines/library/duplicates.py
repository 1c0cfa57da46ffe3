"""`adassl search --duplicates`: the same footage in several videos of a library.

Two clips of different videos whose cosine is above a threshold match; of a clip only the best match
in each other video counts. Videos of which most clips match are copies, and are grouped; where few
match, such as a common opening title, the videos share moments.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipelines.library.neighbours import Similarities
from pipelines.library.search import Library
from pipelines.video.tiles import Integers

COPY_SHARE = 0.5
"""Of the clips of the shorter video: from here on one is taken for a copy of the other."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two videos with clips that match.

    Attributes:
        path: of the one that comes first in the library.
        other: of the other.
        num_clips: of the shorter video that have a match in the longer.
        share: of the clips of the shorter video.
        offset_seconds: the median of how much later the clips come in `other`.
        start_seconds: of the best match, in `path`.
        other_start_seconds: likewise in `other`.
        cosine: of the best match.
    """

    path: str
    other: str
    num_clips: int
    share: float
    offset_seconds: float
    start_seconds: float
    other_start_seconds: float
    cosine: float

    @property
    def is_copy(self) -> bool:
        """Whether the one is, for the most part, in the other."""
        return self.share >= COPY_SHARE


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """What was found.

    Attributes:
        groups: videos that are copies of one another, at least two in each.
        pairs: the copies, those with the greatest share first, then videos that share moments.
    """

    groups: list[list[str]]
    pairs: list[Pair]


def find_duplicates(library: Library, *, threshold: float = 0.98) -> Duplicates:
    """Near-duplicates across a library.

    Args:
        library: to be searched.
        threshold: cosine above which two clips match.
    """
    known = library.embeddings
    codes, _ = pd.factorize(known.path)
    counts = np.bincount(codes)
    best = [
        _best_in_each_video(codes, left, right, cosines)
        for left, right, cosines in library.neighbours.above(threshold)
    ]
    matches = pd.concat(best, ignore_index=True) if best else pd.DataFrame()
    if not len(matches):
        return Duplicates(groups=[], pairs=[])
    matches["video"], matches["other"] = codes[matches["left"]], codes[matches["right"]]
    start = known.start_seconds
    pairs = []
    for _, of in matches.groupby(["video", "other"], sort=False):
        top = of.iloc[int(of["cosine"].argmax())]
        video, other = int(top["video"]), int(top["other"])
        side = "left" if counts[video] <= counts[other] else "right"
        num_clips = int(of[side].nunique())
        left, right = int(top["left"]), int(top["right"])
        offsets = start[of["right"].to_numpy()] - start[of["left"].to_numpy()]
        pairs.append(
            Pair(
                path=str(known.path[left]),
                other=str(known.path[right]),
                num_clips=num_clips,
                share=num_clips / int(min(counts[video], counts[other])),
                offset_seconds=float(np.median(offsets)),
                start_seconds=float(start[left]),
                other_start_seconds=float(start[right]),
                cosine=float(top["cosine"]),
            )
        )
    pairs.sort(key=lambda pair: (-pair.share, -pair.cosine, pair.path, pair.other))
    return Duplicates(groups=_groups(pairs), pairs=pairs)


def _best_in_each_video(
    codes: Integers, left: Integers, right: Integers, cosines: Similarities
) -> pd.DataFrame:
    """Of some matches, those of two videos, and of each clip the best in each other video."""
    between = codes[left] != codes[right]
    found = pd.DataFrame(
        {"left": left[between], "right": right[between], "cosine": cosines[between]}
    )
    found = found.sort_values("cosine", ascending=False, kind="stable")
    by_left = ~pd.DataFrame({"c": found["left"], "v": codes[found["right"]]}).duplicated()
    by_right = ~pd.DataFrame({"c": found["right"], "v": codes[found["left"]]}).duplicated()
    return found[by_left | by_right]


def _groups(pairs: list[Pair]) -> list[list[str]]:
    """The videos that copies connect."""
    leader: dict[str, str] = {}

    def find(path: str) -> str:
        while (above := leader.setdefault(path, path)) != path:
            path = above
        return path

    for pair in pairs:
        if pair.is_copy:
            first, second = sorted((find(pair.path), find(pair.other)))
            leader[second] = first
    groups: dict[str, list[str]] = defaultdict(list)
    for path in sorted(leader):
        groups[find(path)].append(path)
    return list(groups.values())
