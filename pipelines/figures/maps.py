"""A map of embeddings for a page: a dot a clip, and its picture beside the mouse."""

import json
from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from jaxtyping import Float
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from pipelines.figures import html
from pipelines.figures.points import plane
from pipelines.figures.style import BLUE, FAINT, INK, TEN_COLOURS

HEIGHT = 560
_HOVER = """
(() => {
  const map = document.getElementById(NAME), shown = document.getElementById(NAME + "-shown");
  const pictures = PICTURES, captions = CAPTIONS;
  const show = number => {
    shown.querySelector("img").src = pictures[number];
    shown.querySelector("figcaption").textContent = captions[number];
    shown.querySelector("img").alt = captions[number];
  };
  show(0);
  Plotly.Plots.resize(map);  // it was drawn before the picture took its place
  map.on("plotly_hover", event => show(event.points[0].customdata));
  map.on("plotly_click", event => show(event.points[0].customdata));
})();
"""


def hover_map(
    embeddings: Float[NDArray[Any], "points dim"],
    pictures: Sequence[str],
    captions: Sequence[str],
    *,
    name: str,
    kinds: Sequence[str] | None = None,
) -> str:
    """The map as HTML; the page's head needs `html.plot_script`.

    Args:
        embeddings: what is drawn in the plane, by t-SNE or PCA.
        pictures: a data URI for each, shown when the mouse is on its dot.
        captions: a text for each, below its picture.
        name: id of the element on the page.
        kinds: a class for each, named by colour where there are ten or fewer; None: one colour.
    """
    points, how = plane(embeddings)
    kinds = None if kinds is None else list(kinds)
    if kinds is not None and len(set(kinds)) > len(TEN_COLOURS):
        kinds = None
    figure = go.Figure()
    for number, kind in enumerate([None] if kinds is None else sorted(set(kinds))):
        chosen = [i for i in range(len(points)) if kinds is None or kinds[i] == kind]
        figure.add_trace(
            go.Scatter(
                x=points[chosen, 0],
                y=points[chosen, 1],
                customdata=chosen,
                mode="markers",
                name=kind,
                hoverinfo="none",
                marker={"size": 8, "color": BLUE if kind is None else to_hex(TEN_COLOURS[number])},
            )
        )
    hidden = {"visible": False}
    figure.update_layout(
        height=HEIGHT,
        margin={"t": 10, "l": 10, "r": 10, "b": 10},
        xaxis=hidden,
        yaxis={**hidden, "scaleanchor": "x"},
        showlegend=kinds is not None,
        font={"family": html.FONT, "size": 13, "color": INK},
        paper_bgcolor="white",
        plot_bgcolor="white",
        annotations=[
            {
                "text": how,
                "x": 0,
                "y": 1,
                "xref": "paper",
                "yref": "paper",
                "showarrow": False,
                "font": {"color": FAINT},
            }
        ],
    )
    script = (
        _HOVER.replace("NAME", _literal(name))
        .replace("PICTURES", _literal(list(pictures)))
        .replace("CAPTIONS", _literal(list(captions)))
    )
    return (
        f'<div class="beside"><div class="grow">{html.plot(figure, name)}</div>'
        f'<figure id="{escape(name)}-shown" class="fixed"><img width="220" alt="">'
        f"<figcaption></figcaption></figure></div><script>{script}</script>"
    )


def _literal(value: object) -> str:
    """A value as JavaScript that may stand in a script of a page."""
    return json.dumps(value).replace("</", "<\\/")
