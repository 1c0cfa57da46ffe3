"""Pages of one HTML file that needs no network: pictures, styles and scripts are in it."""

import base64
import io
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io
from jaxtyping import UInt8
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from plotly.offline import get_plotlyjs

from pipelines.figures.style import INK

FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
"""Of pages and of the plots on them."""
JPEG_QUALITY = 85
_PLOTLY = {"displaylogo": False, "responsive": True, "plotlyServerURL": ""}

_STYLE = f"""
body {{ font: 16px/1.5 {FONT}; color: {INK}; background: #fff; margin: 0 auto;
  max-width: 1180px; padding: 2rem 1.5rem 4rem; }}
h1 {{ font-size: 1.9rem; margin: 0; }}
h2 {{ font-size: 1.25rem; margin: 2.6rem 0 .4rem; }}
p, li {{ max-width: 60rem; }}
.faint {{ color: #666; margin: .1rem 0 .6rem; }}
ul.said {{ padding-left: 1.1rem; }} ul.said li {{ margin: .35rem 0; }}
ul.said li:first-child {{ font-weight: 600; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .92rem; }}
th, td {{ padding: .32rem .9rem .32rem 0; text-align: left; border-bottom: 1px solid #e6e6e6;
  vertical-align: top; }}
table.sortable th, table.sortable td {{ text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }}
th button {{ all: unset; cursor: pointer; font-weight: 600; }}
th button:focus-visible {{ outline: 2px solid #0072B2; }}
th[aria-sort=ascending] button::after {{ content: " ▲"; content: " ▲" / ""; color: #0072B2; }}
th[aria-sort=descending] button::after {{ content: " ▼"; content: " ▼" / ""; color: #0072B2; }}
tr.baseline td {{ background: #fdf1e8; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; }}
dt {{ color: #666; }} dd {{ margin: 0; overflow-wrap: anywhere; }}
figure {{ display: inline-block; margin: 0 1.2rem 1.2rem 0; vertical-align: top; max-width: 100%; }}
figure img, img.wide {{ max-width: 100%; height: auto; display: block; image-rendering: auto; }}
figcaption {{ font-size: .85rem; color: #666; overflow-wrap: anywhere; }}
.row {{ white-space: nowrap; }} .row figcaption {{ white-space: normal; max-width: 170px; }}
.beside {{ display: flex; flex-wrap: wrap; gap: 1rem; }} .grow {{ flex: 1 1 340px; min-width: 0; }}
.fixed {{ flex: 0 0 220px; }}
pre {{ background: #f6f6f6; padding: 1rem; overflow: auto; font-size: .85rem; }}
"""
_SORTING = """
document.querySelectorAll("table.sortable").forEach(table => {
  const heads = [...table.querySelectorAll("th")], body = table.tBodies[0];
  [...body.rows].forEach(row => {
    if ([...row.cells].some(cell => cell.textContent === "baseline")) row.className = "baseline";
  });
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = row => row.cells[column].textContent;
      const compare = (a, b) => {
        if (a === "–" || b === "–") return (a === "–") - (b === "–");
        const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
        return up ? order : -order;
      };
      [...body.rows].sort((a, b) => compare(key(a), key(b))).forEach(row => body.append(row));
    });
  });
});
"""


def page(title: str, body: str, *, head: str = "") -> str:
    """A page with its title as the heading.

    Args:
        title: plain text.
        body: HTML below the heading.
        head: HTML for the head, such as a script.
    """
    named = escape(title)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{named}</title>
<style>{_STYLE}</style>
{head}
</head>
<body>
<h1>{named}</h1>
{body}
<script>{_SORTING}</script>
</body>
</html>
"""


def section(title: str, content: str, *, note: str = "") -> str:
    """A heading and what stands below it, with a note in grey between; title and note are texts."""
    said = f'<p class="faint">{escape(note)}</p>\n' if note else ""
    return f"<h2>{escape(title)}</h2>\n{said}{content}"


def table(content: pd.DataFrame, *, kind: str = "sortable") -> str:
    """A table of plain texts: `sortable`, numbers by a click on a heading, or `words`."""
    with pd.option_context("display.max_colwidth", None):
        html = content.to_html(index=False, border=0, classes=kind)
    return f'<div class="scroll">{html}</div>'


def plot(figure: go.Figure, name: str) -> str:
    """A plot that answers the mouse, in an element of that id; the head needs `plot_script`."""
    html: str = plotly.io.to_html(
        figure, full_html=False, include_plotlyjs=False, div_id=name, config=_PLOTLY, validate=False
    )
    return html


def plot_script() -> str:
    """What draws the plots, five megabytes: for the head of a page that has some."""
    return f"<script>{get_plotlyjs()}</script>"


def picture(source: str, caption: str = "", *, width: int | None = None) -> str:
    """A picture, given as a data URI, with a text below it.

    Args:
        source: as `frame_uri` or `figure_uri` gives it.
        caption: also what is read out in place of the picture.
        width: in CSS pixels; None: the picture's own.
    """
    size = "" if width is None else f' width="{width}"'
    return (
        f'<figure><img src="{source}" alt="{escape(caption, quote=True)}"{size}>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def frame_uri(frame: UInt8[NDArray[np.uint8], "height width channels"]) -> str:
    """A frame, grey or RGB, as a JPEG in a data URI."""
    image = Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=JPEG_QUALITY)
    return _data_uri("image/jpeg", content.getvalue())


def strip_uri(clip: UInt8[NDArray[np.uint8], "frames height width channels"]) -> str:
    """The frames of a clip side by side, as a JPEG in a data URI."""
    return frame_uri(np.concatenate(list(clip), axis=1))


def figure_uri(figure: Figure) -> str:
    """A figure of `pipelines.figures` as a PNG in a data URI."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return _data_uri("image/png", content.getvalue())


def png_uri(file: Path) -> str:
    """A picture that was drawn, in a data URI."""
    return _data_uri("image/png", file.read_bytes())


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
