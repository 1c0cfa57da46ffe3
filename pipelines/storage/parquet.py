"""Words for Parquet files that are none."""

from pathlib import Path

_LFS_POINTER = b"version https://git-lfs"


def not_parquet(file: str | Path, error: Exception) -> str:
    """Why a local file could not be read as Parquet."""
    with Path(file).open("rb") as content:
        if content.read(len(_LFS_POINTER)) == _LFS_POINTER:
            return "a pointer of Git LFS in place of the file: fetch the file by `git lfs pull`"
    return f"not a Parquet file: {error}"
