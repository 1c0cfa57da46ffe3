"""Addresses of videos and files, for pages."""

from pathlib import Path

from pipelines.storage.objects import is_remote


def video_link(path: str, seconds: float | None = None) -> str | None:
    """The address of a file, or of a second of a video; None where no browser opens it."""
    if is_remote(path) and not path.startswith("http"):
        return None
    address = path if is_remote(path) else Path(path).absolute().as_uri()
    return address if seconds is None else f"{address}#t={seconds:.2f}"
