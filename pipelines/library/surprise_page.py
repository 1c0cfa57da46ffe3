"""The page of `adassl surprise`: the top moments as film strips, and a curve for each video."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import PurePosixPath

import pandas as pd

from pipelines import figures
from pipelines.figures import html
from pipelines.library.links import video_link
from pipelines.numbers import number
from pipelines.video.batch import Frames

CURVES_SHOWN = 6
"""Videos whose curve is drawn: those of the most surprising moments."""
_STRIP_HEIGHT, _MOST_FRAMES = 76, 4
STYLE = f"""<style>
h1, li, p {{ overflow-wrap: anywhere; }}
.moments {{ display: grid; gap: 1.4rem 2rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 33rem), 1fr)); }}
.moment h3 {{ font-size: 1rem; margin: 0 0 .3rem; overflow-wrap: anywhere; }}
.strips {{ display: flex; flex-wrap: wrap; gap: .4rem .7rem; align-items: center; }}
.strips img {{ height: {_STRIP_HEIGHT}px; max-width: 100%; object-fit: contain; }}
</style>"""


@dataclass(frozen=True, kw_only=True)
class MomentShown:
    """A moment, how surprising it was, and its frames where they can be decoded."""

    path: str
    start_seconds: float
    next_seconds: float
    nats: float
    frame_difference: float
    distance: float
    clip: Frames | None
    came: Frames | None


def page_of(
    run: str, moments: pd.DataFrame, top: Sequence[MomentShown], said: Sequence[str]
) -> str:
    """The page, in one file.

    Args:
        run: its name.
        moments: every moment: path, start_seconds, surprise_nats.
        top: the most surprising, the greatest first.
        said: the report in lines.
    """
    report = "".join(f"<li>{escape(line)}</li>" for line in said)
    usual = float(moments["surprise_nats"].quantile(0.95))
    shown = list(dict.fromkeys(moment.path for moment in top))[:CURVES_SHOWN]
    curves = []
    for path in shown:
        rows = moments[moments["path"] == path]
        seconds, nats = rows["start_seconds"].to_numpy(), rows["surprise_nats"].to_numpy()
        curves.append((PurePosixPath(path).name, seconds, nats))
    picture = html.figure_uri(figures.surprise_curves(curves, usual))
    cards = "\n".join(_card(place, moment) for place, moment in enumerate(top, start=1))
    return html.page(
        f"Surprising moments, by {run}",
        "\n".join(
            [
                f"<ul>{report}</ul>",
                html.section(
                    "Top moments",
                    f'<div class="moments">{cards}</div>',
                    note="First the clip x, then what came, x⁺. Nats: how much less likely x⁺ was "
                    "than what the run expected after x; about 0 where it came as expected.",
                ),
                html.section(
                    "Over time",
                    f'<img class="wide" src="{picture}" alt="Surprise over time in '
                    f'{len(curves)} videos">',
                    note="Videos of the top moments. Dashed: what 95% of all moments stay below.",
                ),
            ]
        ),
        head=STYLE,
    )


def moment_link(path: str, seconds: float) -> str:
    """HTML: the name of a video and a second, with a link to it where there can be one."""
    text = escape(f"{PurePosixPath(path).name} at {seconds:.2f} s")
    link = video_link(path, seconds)
    return text if link is None else f'<a href="{escape(link, quote=True)}">{text}</a>'


def strip(clip: Frames | None, caption: str) -> str:
    """HTML: up to four frames of a clip side by side, or that they cannot be had."""
    if clip is None:
        return "<span>cannot be decoded any more</span>"
    shown = clip[figures.spread(len(clip), _MOST_FRAMES)]
    return f'<img src="{html.strip_uri(shown)}" alt="{escape(caption, quote=True)}">'


def _card(place: int, moment: MomentShown) -> str:
    strips = " → ".join([strip(moment.clip, "x, before"), strip(moment.came, "x⁺, what came")])
    return (
        f'<div class="moment"><h3>{place}. {number(moment.nats, ".1f")} nats, '
        f"{moment_link(moment.path, moment.start_seconds)}</h3>"
        f'<div class="strips">{strips}</div>'
        f'<div class="faint">x⁺ at {moment.next_seconds:.2f} s, frame difference '
        f"{number(moment.frame_difference, '.1f')}, |z − z⁺| {number(moment.distance, '.2f')}</div>"
        "</div>"
    )
