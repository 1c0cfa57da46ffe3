"""The page of a search: the frames of each clip, with a link to its second."""

from collections.abc import Sequence
from html import escape
from pathlib import Path, PurePosixPath

from pipelines.config.data import DataConfig
from pipelines.errors import UserError
from pipelines.figures import html
from pipelines.library.duplicates import Duplicates
from pipelines.library.links import video_link
from pipelines.library.moment import Moment
from pipelines.library.queries import SOUNDS, clip_of, is_image
from pipelines.library.search import Answer, Library
from pipelines.video.batch import Frames

SHORT_SIDE = 96
"""Of the frames, in pixels."""
MOST_FRAMES = 5
"""Of a clip that are shown."""
MOST_PAIRS = 100
"""Of near-duplicates that are shown."""


def search_page(library: Library, answers: Sequence[Answer]) -> str:
    """A page with a section for each query."""
    sections = []
    for answer in answers:
        asked = _figure(library, answer.query, "the query")
        hits = []
        for number, hit in enumerate(answer.hits, start=1):
            moment, name = Moment(hit.path, hit.start_seconds), Path(hit.path).name
            if library.embeddings.is_table:
                moment = Moment(hit.path)
                name = name if _is_file(moment) else hit.path
            else:
                name += f" {_time(hit.start_seconds)}"
            split = f" · {hit.split}" if hit.split else ""
            caption = f"{number} · cosine {hit.cosine:.3f} · {name}{split}"
            hits.append(_figure(library, moment, caption))
        body = f"<div>{asked}</div>" + "".join(hits)
        sections.append(html.section(str(answer.query), body, note=_note(library)))
    return html.page("Search", _wrapped(sections))


def duplicates_page(library: Library, found: Duplicates, threshold: float) -> str:
    """A page with the best match of each pair of videos."""
    sections = []
    for pair in found.pairs[:MOST_PAIRS]:
        what = "copy" if pair.is_copy else "shared moments"
        moments = (
            (pair.path, pair.start_seconds),
            (pair.other, pair.other_start_seconds),
        )
        figures = [
            _figure(library, Moment(path, at), f"{path} {_time(at)}") for path, at in moments
        ]
        title = (
            f"{what}: {pair.share:.0%} of the clips, cosine {pair.cosine:.3f}, "
            f"{pair.offset_seconds:+.2f} s"
        )
        sections.append(html.section(title, "".join(figures)))
    said = f"{len(found.groups)} groups of copies, {len(found.pairs)} pairs of videos above "
    note = f'<p class="faint">{escape(said)}{threshold:g}. {escape(_note(library))}</p>'
    return html.page("Near-duplicates", _wrapped([note, *sections]))


def _wrapped(sections: Sequence[str]) -> str:
    """Sections in which long paths are broken, for a narrow window."""
    body = "\n".join(sections)
    return f'<div style="overflow-wrap: anywhere">\n{body}\n</div>'


def _figure(library: Library, moment: Moment, caption: str) -> str:
    """A clip's frames with a caption, linked; where they cannot be had, the reason."""
    if library.embeddings.is_table and not is_image(moment):  # a text, or a sound
        return f"<figure><figcaption>{escape(caption)}</figcaption></figure>"
    try:
        frames = _frames(library, moment)
    except UserError as error:
        return f"<figure><figcaption>{escape(f'{caption} · {error}')}</figcaption></figure>"
    step = -(-len(frames) // MOST_FRAMES)
    drawn = html.picture(html.strip_uri(frames[::step]), caption)
    link = video_link(moment.path, moment.seconds)
    return f'<a href="{escape(link, quote=True)}">{drawn}</a>' if link else drawn


def _is_file(moment: Moment) -> bool:
    return is_image(moment) or PurePosixPath(moment.path).suffix.lower() in SOUNDS


def _frames(library: Library, moment: Moment) -> Frames:
    length = 1 if is_image(moment) else library.embeddings.manifest.frames_per_clip
    data = DataConfig(frames_per_clip=length, frame_size=SHORT_SIDE, crop="center")
    return clip_of(moment, data, library.embeddings.videos, cropped=False)


def _note(library: Library) -> str:
    what = {"h": "representations h", "z": "embeddings z"}[library.by]
    how = "exact" if library.neighbours.is_exact else "by an inverted file"
    return f"cosine of {what} of {library.embeddings.manifest.run}, less the mean; {how}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:05.2f}"
