"""The page of an encoder that `adassl export` wrote: its card, and what it sees of a library."""

from html import escape
from pathlib import Path

import numpy as np
import torch

from pipelines.config.run import ConfigError
from pipelines.figures import html
from pipelines.library.encoders import FoundEncoder
from pipelines.library.report_pictures import Moments, map_section, neighbours_section
from pipelines.storage.folder import Folder
from pipelines.video.clips import ClipSchedule, clips_here
from pipelines.video.moved import find_indexed

MOST_STRIDE_SECONDS = 3600.0


def exported_page(found: FoundEncoder, *, index: str | None, num_moments: int) -> str:
    """The page.

    Args:
        found: the encoder.
        index: of the library whose moments are shown; an export does not know where its own is.
        num_moments: about how many, evenly over the library.

    Raises:
        ConfigError: if no index is given, or it has no video that can be decoded.
    """
    if index is None:
        raise ConfigError(
            f"{found.folder} is an exported encoder, which knows no videos: name a library, "
            "--index INDEX"
        )
    moments = _embedded(found, index, num_moments)
    body = [
        f"<pre>{escape(found.encoder.card)}</pre>",
        map_section(moments, f"{len(moments.path)} moments of {Path(index).name} by h"),
        neighbours_section(moments),
    ]
    title = f"Encoder of {found.source.run}, step {found.source.step:,}"
    return html.page(title, "\n".join(body), head=html.plot_script())


def _embedded(found: FoundEncoder, index: str, num_moments: int) -> Moments:
    videos = find_indexed(found.data.model_copy(update={"index": index})).select()
    seconds = float(videos.column("duration_seconds").sum())
    stride = min(max(seconds / num_moments, 1e-3), MOST_STRIDE_SECONDS)
    schedule = ClipSchedule(videos, found.data, stride_seconds=stride)
    chosen = np.linspace(0, schedule.num_windows - 1, min(num_moments, schedule.num_windows))
    clips, parts, paths, captions = [], [], [], []
    for window in clips_here(schedule, np.unique(chosen.astype(np.int64)), num_decoders=2):
        if window.frames is None:
            continue
        path = str(schedule.index.path[window.video])
        parts.append(found.encoder.embed_clip(torch.from_numpy(window.frames)).float().numpy())
        clips.append(window.frames)
        paths += [path] * len(window)
        for start in window.start:
            at = start / schedule.index.fps[window.video]
            captions.append(f"{Path(path).name} at {at:.1f} s")
    if not parts:
        raise ConfigError(f"no video of {index} could be decoded; index it again")
    labels = dict(zip(videos.path, videos.column("label"), strict=True))
    return Moments(
        representation=np.concatenate(parts),
        clips=np.concatenate(clips),
        path=np.asarray(paths, object),
        captions=captions,
        kinds=[str(labels[path] or Path(path).name) for path in paths],
    )


def default_place(folder: Folder) -> str:
    """Where the page goes: beside the folder, which holds nothing but the export."""
    return f"{str(folder).rstrip('/')}-report.html"
