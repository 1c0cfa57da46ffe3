"""`adassl probe`: a probe from a handful of labels, how good it is, and a library labelled by it.

RUN/probes/NAME/probe.safetensors, probe.json   the probe, NAME being that of the table of labels
RUN/probes/NAME/confusion.png                   what was answered for what, or predicted.png
"""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import softmax  # type: ignore[import-untyped]

from pipelines import figures
from pipelines.config.run import ConfigError
from pipelines.library.clip_reader import ClipReader
from pipelines.library.encoders import FoundEncoder, find_encoder
from pipelines.library.few_labels import (
    ABOUT_FILE,
    Examples,
    Judgement,
    Probe,
    ProbeKind,
    check_labels,
    cross_validate,
    fit,
    inputs_of,
    load_probe,
    save_picture,
    save_probe,
)
from pipelines.library.labels import Labels, read_labels
from pipelines.numbers import duration
from pipelines.storage.folder import Folder, parent_and_name
from pipelines.video.batch import Frames
from pipelines.video.clips import ClipSchedule, clips_here
from pipelines.video.frames import DecodeError
from pipelines.video.moved import find_indexed

MOMENTS = 5
"""Clips that stand for a whole video."""
MOST_SKIPPED_SHARE = 0.5
"""Share of the labelled rows that may be skipped before nothing is fitted."""
_AT_ONCE, _SAY_SECONDS, _SHOWN = 64, 10.0, 10


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """What `adassl probe` found and where it is.

    Attributes:
        probe: the probe.
        folder: where it is kept.
        judgement: how good it is; None where it was fitted before.
        classes: of each class its name, rows, videos, and the share of rows answered rightly.
        skipped: labelled rows that were left out, in words.
        labelled: what `--apply` wrote.
    """

    probe: Probe
    folder: Folder
    judgement: Judgement | None
    classes: pd.DataFrame
    skipped: tuple[str, ...]
    labelled: "Labelled | None"


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A library with the answers of a probe.

    Attributes:
        where: the table.
        num_clips: its rows.
        counts: clips of each class; empty for values.
        skipped: path and reason of videos of which something could not be read.
        seconds: that it took.
    """

    where: str
    num_clips: int
    counts: dict[str, int]
    skipped: dict[str, str]
    seconds: float


def run_probe(
    where: str,
    labels: str,
    *,
    kind: ProbeKind = "linear",
    checkpoint: str = "best",
    apply: str | None = None,
    out: str | None = None,
    stride_seconds: float = 1.0,
    videos_root: str | None = None,
) -> ProbeResult:
    """Fit a probe on a table of labels, or take one that was fitted, and label a library by it.

    Args:
        where: a run, or an exported encoder.
        labels: the table, see `read_labels`; or the folder of a probe of this encoder.
        kind: of the probe.
        checkpoint: of a run: "best" or "newest".
        apply: index of the library to label.
        out: the table of its labels: .parquet or .csv, a path or a URI.
        stride_seconds: between the starts of two clips of the library.
        videos_root: the folder that holds the library's videos now.

    Raises:
        ConfigError: for labels that no probe can be fitted on, or one of another encoder.
        StorageError: if a place cannot be reached.
    """
    if (apply is None) != (out is None):
        raise ConfigError("--apply INDEX and --out TABLE belong together: give both, or neither")
    if out is not None and not out.endswith((".parquet", ".csv")):
        raise ConfigError(f"--out {out}: name a .parquet or a .csv file")
    fitted = Folder(labels).exists(ABOUT_FILE)
    known = None if fitted else read_labels(labels)
    found = find_encoder(where, checkpoint)
    found.encoder.to("cuda" if torch.cuda.is_available() else "cpu")
    if known is None:
        folder = Folder(labels)
        probe, judgement = load_probe(folder), None
        if probe.encoder != found.identity():
            raise ConfigError(
                f"{labels} is a probe of another encoder than {where} ({checkpoint} checkpoint): "
                "fit it anew from its table of labels"
            )
        classes, skipped = pd.DataFrame(), tuple[str, ...]()
    else:
        name = Path(parent_and_name(labels)[1]).stem
        folder = found.folder.child("probes", name)
        check_labels(known.label, known.path, known.kind)  # before anything is decoded
        known, examples = read_examples(found, known, kind)
        judgement = cross_validate(examples, known.label, known.kind, kind)
        probe = fit(examples, known.label, known.kind, kind, found.identity())
        classes, skipped = _per_class(known, judgement), known.skipped
        _keep(probe, folder, found, known, judgement, classes)
    labelled = None
    if apply is not None and out is not None:
        labelled = label_library(
            found, probe, apply, out, stride_seconds=stride_seconds, videos_root=videos_root
        )
    return ProbeResult(
        probe=probe,
        folder=folder,
        judgement=judgement,
        classes=classes,
        skipped=skipped,
        labelled=labelled,
    )


def read_examples(found: FoundEncoder, labels: Labels, kind: ProbeKind) -> tuple[Labels, Examples]:
    """Decode and embed the labelled moments; returns the rows that could be had, and theirs.

    Of a whole video, moments that divide it evenly.

    Raises:
        ConfigError: if more rows are skipped than `MOST_SKIPPED_SHARE`.
    """
    reader, total = ClipReader(found.data), len(labels)

    def clips_of(row: int) -> list[Frames] | DecodeError:
        path, seconds = str(labels.path[row]), float(labels.seconds[row])
        try:
            moments = [seconds] if seconds == seconds else reader.starts(path, MOMENTS)
            return [reader.clip(path, moment) for moment in moments]
        except DecodeError as error:
            return error

    inputs: list[NDArray[np.float32]] = []
    place: list[int] = []
    kept: list[int] = []
    skipped: list[str] = []
    progress = _Progress("labelled rows", total)
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        at_once = 2 * (os.cpu_count() or 1)
        for first in range(0, total, at_once):  # no more ahead than is decoded at once
            rows = range(first, min(total, first + at_once))
            for row, clips in zip(rows, threads.map(clips_of, rows), strict=True):
                if isinstance(clips, DecodeError):
                    skipped.append(str(clips))
                    continue
                inputs.append(inputs_of(found.encoder, np.stack(clips), kind))
                place += [len(kept)] * len(clips)
                kept.append(row)
            progress.at(rows[-1] + 1)
    if len(skipped) > MOST_SKIPPED_SHARE * total:
        raise ConfigError(
            f"{len(skipped)} of {total} labelled rows cannot be read: {'; '.join(skipped[:3])}"
            f"{'; …' if len(skipped) > 3 else ''}. Correct the paths: they are absolute, or "
            "relative to the table"
        )
    rows_kept = np.array(kept)
    examples = Examples(
        inputs=np.concatenate(inputs), row=np.array(place), group=labels.path[rows_kept]
    )
    if not np.isfinite(examples.inputs).all():
        raise ConfigError("the encoder gives values that are not finite: use --checkpoint best")
    return labels.take(rows_kept, skipped=tuple(skipped)), examples


def label_library(
    found: FoundEncoder,
    probe: Probe,
    index: str,
    out: str,
    *,
    stride_seconds: float,
    videos_root: str | None = None,
) -> Labelled:
    """Answer for every clip at a stride of an index's videos, into one table.

    Columns are path and seconds, and class and probability, or value. Decoded by threads of this
    process; videos that cannot be read are named, counted and skipped.

    Raises:
        ConfigError: if the index has no video long enough for a clip, or none could be read.
    """
    began = time.monotonic()
    data = found.data.model_copy(update={"index": index, "videos_root": videos_root})
    schedule = ClipSchedule(find_indexed(data).select(), data, stride_seconds=stride_seconds)
    skipped = {left.path: left.reason for left in schedule.left_out}
    if not schedule.num_clips:
        raise ConfigError(
            f"{index}: no video is long enough for a clip of {data.frames_per_clip} frames"
        )
    progress, done = _Progress("clips", schedule.num_clips), 0
    parts: list[pd.DataFrame] = []
    windows = np.arange(schedule.num_windows)
    for clips in clips_here(schedule, windows, num_decoders=os.cpu_count() or 1):
        path = str(schedule.index.path[clips.video])
        done += len(clips)
        if clips.frames is None:
            skipped[path] = clips.error or "no frames"
            continue
        outputs = np.concatenate(
            [
                probe.outputs(inputs_of(found.encoder, some, probe.kind))
                for some in _some(clips.frames)
            ]
        )
        answers = probe.answers(outputs)
        seconds = clips.start / float(schedule.index.fps[clips.video])
        table = pd.DataFrame({"path": path, "seconds": seconds})
        if probe.classes is None:
            table["value"] = answers
        else:
            table["class"] = answers
            table["probability"] = softmax(outputs, axis=1).max(axis=1)
        parts.append(table)
        progress.at(done)
    if not parts:
        raise ConfigError(
            f"{index}: none of its videos could be read: {next(iter(skipped.items()))}"
        )
    table = pd.concat(parts, ignore_index=True)
    folder, name = parent_and_name(out)
    with folder.writing(name) as file:
        if name.endswith(".csv"):
            table.to_csv(file, index=False)
        else:
            table.to_parquet(file, index=False)
    counts = table["class"].value_counts().to_dict() if "class" in table else {}
    return Labelled(
        where=str(folder.child(name)),
        num_clips=len(table),
        counts={str(name): int(count) for name, count in counts.items()},
        skipped=skipped,
        seconds=time.monotonic() - began,
    )


def _some(frames: Frames) -> Iterator[Frames]:
    for at in range(0, len(frames), _AT_ONCE):
        yield frames[at : at + _AT_ONCE]


def _per_class(labels: Labels, judged: Judgement) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for name in np.unique(labels.label) if labels.kind == "class" else ():
        own = labels.label == name
        rows.append(
            {
                "class": str(name),
                "rows": int(own.sum()),
                "videos": len(set(labels.path[own])),
                "recall": float((judged.predicted[own] == name).mean()),
            }
        )
    return pd.DataFrame(rows)


def _keep(
    probe: Probe,
    folder: Folder,
    found: FoundEncoder,
    labels: Labels,
    judged: Judgement,
    classes: pd.DataFrame,
) -> None:
    """The probe, how good it is, and the picture."""
    is_class = labels.kind == "class"
    title = (
        f"{'accuracy' if is_class else 'R²'} {judged.score:.2f}, 95 % {judged.low:.2f} to "
        f"{judged.high:.2f}\n{judged.num_rows} rows of {judged.num_videos} videos, by probes that "
        "did not see the video"
    )
    draw = partial(
        figures.confusion if is_class else figures.predicted_values,
        labels.label,
        judged.predicted,
        subtitle=title,
    )
    save_picture(folder, "confusion.png" if is_class else "predicted.png", draw)
    told = {name: value for name, value in asdict(judged).items() if name != "predicted"}
    about = {
        "run": found.source.run,
        "step": found.source.step,
        "judgement": told,
        "per_class": classes.to_dict(orient="records"),
        "skipped": list(labels.skipped[:_SHOWN]),
        "num_skipped": len(labels.skipped),
    }
    save_probe(probe, folder, about)


class _Progress:
    """A line now and then of how far something is, its rate and the time left."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._began = self._said = time.monotonic()

    def at(self, done: int) -> None:
        """So many are done."""
        now = time.monotonic()
        if now - self._said < _SAY_SECONDS or done >= self._total:
            return
        self._said, rate = now, done / (now - self._began)
        left = duration((self._total - done) / rate)
        print(f"{done} of {self._total} {self._what}, {rate:.1f}/s, {left} left", flush=True)
