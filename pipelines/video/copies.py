"""A folder of prepared copies: what is in it, and how one more is put there.

OUT/settings.json      how the copies are encoded
OUT/videos/…           the copies, each whole or not there
OUT/made/KEY.json      one record a copy, written after it
OUT/made.parquet       the records of earlier runs, together
OUT/videos.parquet     the index of the copies
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import UserError
from pipelines.storage.folder import Folder, StorageError
from pipelines.storage.objects import Stamp, stamp_of
from pipelines.video.frames import DecodeError
from pipelines.video.index import SCHEMA
from pipelines.video.killable import Tick
from pipelines.video.probe import Probe, Unusable, probe_video
from pipelines.video.transcode import CopyError, CopySettings, Quality, Source, compare, write_copy

VIDEOS, INDEX = "videos", "videos.parquet"
_SETTINGS, _MADE, _TOGETHER = "settings.json", "made", "made.parquet"
_READERS = 16
"""Records read at once: each is a request where the folder is remote."""

Row = dict[str, Any]


class PrepareError(UserError, ValueError):
    """Copies that cannot be made as asked."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """The record of a copy."""

    original: str
    digest: str
    """Of the original when it was copied."""
    name: str
    """Of the copy below OUT/videos."""
    mean_psnr: float
    least_psnr: float
    row: Row
    """What its probe found, with size and time of change."""

    @property
    def key(self) -> str:
        """Names the record's file."""
        return key_of(self.original)


@dataclass(frozen=True, kw_only=True)
class CopyJob:
    """A copy to be made."""

    source: Source
    digest: str
    stamp: Stamp
    """Of the original, as its index has it."""
    name: str
    out: str
    settings: CopySettings


@dataclass(frozen=True, kw_only=True)
class NotCopied:
    """Why a video has no copy."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class NotWritten:
    """Why nothing can be written to OUT: no fault of the video."""

    reason: str


def key_of(original: str) -> str:
    """The same for the same path."""
    return hashlib.blake2b(original.encode(), digest_size=16).hexdigest()


def make_copy(job: CopyJob, tick: Tick) -> Made | NotCopied | NotWritten:
    """Copy one video, check the copy, put it in its place, and write its record.

    A copy that an earlier try has finished is left as it is.
    """
    source, out = job.source, Folder(job.out)
    try:
        record = f"{_MADE}/{key_of(source.path)}.json"
        found = out.read_json(record)
        if found and is_copy_of(out, made := Made(**found), job.digest):
            return made
        _refuse_changed(job)
        videos = out.child(VIDEOS)
        with videos.writing(job.name) as path:
            # Of a remote copy decord could read nothing: it needs whole files.
            probe, quality = checked_copy(job, path, tick, try_decord=out.local is not None)
        stamp = stamp_of(path_of(out, job.name))
        made = Made(
            original=source.path,
            digest=job.digest,
            name=job.name,
            row=asdict(probe) | asdict(stamp),
            **asdict(quality),
        )
        out.write_json(record, asdict(made))
    except StorageError as error:
        return NotWritten(reason=str(error))
    except DecodeError as error:
        return NotCopied(reason=error.reason)
    except CopyError as error:
        return NotCopied(reason=str(error))
    return made


def checked_copy(
    job: CopyJob, path: Path, tick: Tick, *, try_decord: bool
) -> tuple[Probe, Quality]:
    """Write a copy, probe it as any video, and compare it with its source.

    Raises:
        CopyError: if the copy is not as good as it must be.
        DecodeError: if the original does not give its frames.
        OSError: if the copy cannot be written.
    """
    kept = write_copy(job.source, path, job.settings, tick)
    probe = probe_video(str(path), tick, try_decord=try_decord)
    if isinstance(probe, Unusable):
        raise CopyError(f"its copy is {probe.reason}")
    if probe.num_frames != job.source.num_frames:
        raise CopyError(f"its copy has {probe.num_frames} of {job.source.num_frames} frames")
    return probe, compare(path, kept, probe.num_frames, probe.access, tick)


def _refuse_changed(job: CopyJob) -> None:
    path = job.source.path
    try:
        now = stamp_of(path)
    except FileNotFoundError:
        return  # who reads it will say so
    if now != job.stamp:
        raise CopyError("changed since it was indexed: run `adassl data index` again")


def register(out: Folder, settings: CopySettings) -> None:
    """Take a folder for copies with these settings, and clear what a killed run left half done.

    Raises:
        PrepareError: if it holds copies with other settings.
        StorageError: if it cannot be written.
    """
    if "?" in str(out):
        raise PrepareError(
            f"{out}: videos are read from URIs without ?; name another server by AWS_ENDPOINT_URL"
        )
    now, before = asdict(settings), out.read_json(_SETTINGS)
    if before is None:
        out.write_json(_SETTINGS, now)
    elif before != now:
        changed = ", ".join(
            f"{name} was {before.get(name)}, now {value}"
            for name, value in now.items()
            if before.get(name) != value
        )
        raise PrepareError(
            f"{out} holds copies with other settings: {changed}. Give these another folder, or "
            f"delete {out}"
        )
    if out.local:
        for unfinished in (out.local / VIDEOS).rglob(".*.tmp"):
            unfinished.unlink(missing_ok=True)


def records(out: Folder) -> dict[str, Made]:
    """The records of all copies in a folder, by the original's path."""
    together: list[Made] = []
    with out.reading(_TOGETHER) as path:
        if path:
            texts = pq.read_table(path)["record"].to_pylist()
            together = [Made(**json.loads(text)) for text in texts]
    with ThreadPoolExecutor(_READERS) as pool:
        single = pool.map(out.read_json, [f"{_MADE}/{n}" for n in out.child(_MADE).files()])
        together += [Made(**found) for found in single if found]
    return {made.original: made for made in together}


def keep_together(out: Folder) -> None:
    """Write all records as one file, in place of one a copy."""
    texts = [json.dumps(asdict(made)) for made in records(out).values()]
    with out.writing(_TOGETHER) as path:
        pq.write_table(pa.table({"record": pa.array(texts, pa.string())}), path)
    out.remove(_MADE)


def is_copy_of(out: Folder, made: Made, digest: str) -> bool:
    """Whether a record is of an original with that content, and its copy is still there."""
    there = out.local is None or _size(out.local / VIDEOS / made.name) == made.row["size_bytes"]
    return made.digest == digest and there


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def copy_row(out: Folder, made: Made, original: Mapping[str, Any]) -> Row:
    """The row of a copy in the index, with the split and the labels of the original's row."""
    of_original = {name: original[name] for name in ("fps", "split", "factors", "label", "group")}
    row = dict.fromkeys(SCHEMA.names) | {"key_bytes": [], "header_bytes": [], "check": "full"}
    row |= made.row | of_original
    path = path_of(out, made.name)
    return row | {"path": path, "original": original["original"] or made.original, "usable": True}


def path_of(out: Folder, name: str) -> str:
    """The path or URI of a copy."""
    return str(out.child(VIDEOS, *name.split("/")))


def failed_row(original: Mapping[str, Any], reason: str) -> Row:
    """The row of a video that has no copy."""
    names = ("path", "size_bytes", "mtime_ns")
    kept = {name: original[name] for name in names}
    return dict.fromkeys(SCHEMA.names) | kept | {"usable": False, "reason": reason}


def names_of(originals: Sequence[str], taken: Mapping[str, str]) -> dict[str, str]:
    """A name below OUT/videos for each original: its path from the folder that holds them all.

    Args:
        originals: paths and URIs.
        taken: names that originals have already, which they keep.
    """
    parts = {path: _parts(path) for path in originals}
    folders = [each[:-1] for each in parts.values()]
    shared = len(list(takewhile(lambda level: len(set(level)) == 1, zip(*folders, strict=False))))
    names = dict(taken)
    used = set(taken.values())
    for path in sorted(set(originals) - taken.keys()):
        full = PurePosixPath(*parts[path][shared:])
        choices = (full.with_suffix(""), full, f"{full}-{key_of(path)[:8]}")
        name = next(each for each in (f"{choice}.mp4" for choice in choices) if each not in used)
        names[path] = name
        used.add(name)
    return names


def _parts(path: str) -> list[str]:
    """The folders of a path or URI and its file, as they can be part of a URI's path."""
    scheme, mark, rest = path.partition("://")
    plain = rest.partition("?")[0] if mark else scheme
    return [part.replace("?", "%3F") for part in plain.split("/") if part]
