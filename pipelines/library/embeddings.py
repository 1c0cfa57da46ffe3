"""Reading a folder of embeddings."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.library.encode import Vectors
from pipelines.library.parts import (
    VIDEOS,
    Manifest,
    part_names,
    read_manifest,
    read_part,
)
from pipelines.storage.folder import Folder
from pipelines.video.index import VideoIndex, load_index


class EmbeddingsError(UserError, ValueError):
    """A folder without the embeddings that are asked for."""


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """The clips of a library, sorted by path and time, one entry of each field a clip.

    Attributes:
        path: of the clip's video.
        start_seconds: of the clip within its video, by the video's average frame rate.
        end_seconds: where its last frame ends.
        split: "train", "val", "test" or None.
        h: representations, float32 [clips, representation]; None where they were not embedded or
            not asked for.
        z: embeddings, float32 [clips, dim], unit vectors; None likewise.
        manifest: what made them.
        folder: where they are.
    """

    path: NDArray[np.object_]
    start_seconds: NDArray[np.float64]
    end_seconds: NDArray[np.float64]
    split: NDArray[np.object_]
    h: Vectors | None
    z: Vectors | None
    manifest: Manifest
    folder: Folder

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.path)

    @property
    def is_table(self) -> bool:
        """Whether these are entries of a table of pairs, each a clip of one frame in no time."""
        return self.manifest.kinds is not None

    @cached_property
    def videos(self) -> VideoIndex:
        """The videos of the library, as an index: how to decode them, their labels and splits.

        Of a table of pairs, its entries by name, digest and split.
        """
        return load_index(self.folder.child(VIDEOS).uri)


def load_embeddings(where: str | Folder, *, what: str = "both") -> Embeddings:
    """Read the embeddings that `adassl embed` wrote.

    They are read part by part; of a library of a million clips, 128 numbers each take 0.5 GB as
    float32, however they are stored.

    Args:
        where: the folder, a path or a URI.
        what: "h", "z", or "both" that there are; no more is read.

    Raises:
        EmbeddingsError: if there are none, or not those asked for.
        StorageError: if they cannot be read.
    """
    folder = Folder(where)
    manifest = read_manifest(folder)
    if manifest is None:
        raise EmbeddingsError(
            f"{folder} holds no embeddings: `adassl embed RUN INDEX --out {folder}` makes them"
        )
    if what != "both" and manifest.what not in (what, "both"):
        raise EmbeddingsError(
            f"{folder} holds {manifest.what} only; for {what} embed into another folder with "
            f"--what {what}"
        )
    names = part_names(folder)
    wanted = [v for v in ("h", "z") if what in (v, "both") and manifest.what in (v, "both")]
    columns = ["path", "start_seconds", "end_seconds", "split"]
    keys = pa.concat_tables([read_part(folder, name, columns) for name in names]) if names else None
    if not keys:
        raise EmbeddingsError(f"{folder} is empty: the library has no embedded clip yet")
    path, split = (_texts(keys[name]) for name in ("path", "split"))
    start, end = (keys[name].to_numpy() for name in ("start_seconds", "end_seconds"))
    codes = keys["path"].dictionary_encode().unify_dictionaries().combine_chunks()
    rank = np.argsort(np.argsort(codes.dictionary.to_numpy(zero_copy_only=False)))
    order = np.lexsort((start, rank[codes.indices.to_numpy()]))
    return Embeddings(
        path=path[order],
        start_seconds=start[order],
        end_seconds=end[order],
        split=split[order],
        **{name: None for name in ("h", "z") if name not in wanted},
        **{name: _vectors(folder, names, name, order) for name in wanted},
        manifest=manifest,
        folder=folder,
    )


def _vectors(folder: Folder, names: list[str], column: str, order: NDArray[np.int64]) -> Vectors:
    """A column of vectors of all parts, in an order, without a second copy of all."""
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    found: Vectors | None = None
    at = 0
    for name in names:
        values = read_part(folder, name, [column])[column].combine_chunks()
        some = values.flatten().to_numpy().reshape(len(values), -1)
        if found is None:
            found = np.empty((len(order), some.shape[1]), np.float32)
        found[place[at : at + len(some)]] = some
        at += len(some)
    assert found is not None
    return found


def _texts(column: pa.ChunkedArray) -> NDArray[np.object_]:
    """A column of texts, each text once in memory."""
    coded = column.dictionary_encode().unify_dictionaries().combine_chunks()
    texts = np.array([*coded.dictionary.to_pylist(), None], object)
    return np.asarray(texts[coded.indices.fill_null(len(texts) - 1).to_numpy()], object)
