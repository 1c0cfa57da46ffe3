"""Pictures of a report: a map of moments, and the nearest neighbours of some."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

from pipelines.figures import html
from pipelines.figures.maps import hover_map

NEIGHBOURS, SHOWN = 5, 6
"""Of each moment shown, and how many of them are shown."""
THUMBNAIL = 96
"""Most pixels of the side of a picture on the map."""

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Clips that were embedded.

    Attributes:
        representation: h of each.
        clips: their frames, as the encoder saw them.
        path: of the video of each.
        captions: which moment each is, in words.
        kinds: a class of each, for its colour.
    """

    representation: Float[Array, "moments dim"]
    clips: UInt8[Array, "moments frames height width channels"]
    path: Array
    captions: Sequence[str]
    kinds: Sequence[str]

    def spread(self) -> list[int]:
        """Numbers of some moments of as many videos."""
        _, first = np.unique(self.path.astype(str), return_index=True)
        places = np.linspace(0, len(first) - 1, min(SHOWN, len(first))).astype(int)
        return [int(i) for i in first[places]]


def map_section(moments: Moments, note: str) -> str:
    """All of them in the plane; the page's head needs `html.plot_script`."""
    return html.section(
        "Map",
        hover_map(
            moments.representation,
            [html.frame_uri(_small(clip[0])) for clip in moments.clips],
            moments.captions,
            name="map",
            kinds=moments.kinds,
        ),
        note=note + ". Move the mouse over the dots.",
    )


def neighbours_section(moments: Moments) -> str:
    """Some moments with the nearest of other videos, by the cosine of the centred h."""
    centred = moments.representation - moments.representation.mean(axis=0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    rows = []
    for i in moments.spread():
        cosine = unit @ unit[i]
        cosine[moments.path == moments.path[i]] = -np.inf
        near = [j for j in np.argsort(-cosine)[:NEIGHBOURS] if np.isfinite(cosine[j])]
        shown = [(i, "")] + [(j, f"cosine {cosine[j]:.2f}, ") for j in near]
        rows.append([(moments.clips[j], said + moments.captions[j]) for j, said in shown])
    note = "The first of each row is the query, the others are the nearest of other videos."
    return html.section("Neighbours", strips(rows), note=note)


def strips(rows: Sequence[Sequence[tuple[Array, str]]]) -> str:
    """Rows of clips with captions."""
    shown = (
        "".join(html.picture(html.strip_uri(clip), caption, width=170) for clip, caption in row)
        for row in rows
    )
    return "".join(f'<div class="scroll row">{row}</div>' for row in shown)


def _small(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame with pixels left out, for the page to stay small."""
    step = -(-max(frame.shape[:2]) // THUMBNAIL)
    return frame[::step, ::step]
