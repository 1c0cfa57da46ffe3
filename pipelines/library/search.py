"""`adassl search`: the moments of a library that are most like a query."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.config.run import ConfigError, RunConfig
from pipelines.evaluation.evaluate import restored
from pipelines.library.embeddings import Embeddings, load_embeddings
from pipelines.library.encode import ClipEncoder, Vectors, encoders_of, weights_digest
from pipelines.library.moment import Moment
from pipelines.library.neighbours import Space, neighbours_of
from pipelines.library.queries import (
    clip_of,
    embedded_row,
    in_library,
    is_image,
    parse_query,
    read_query,
)
from pipelines.storage.folder import Folder
from pipelines.storage.runs import RunFolder
from pipelines.video.splits import SPLITS
from pipelines.video.tiles import Integers

By = Literal["h", "z"]


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A clip of the library.

    Attributes:
        path: of its video; of an entry of a table its name: a path, or the text itself.
        start_seconds: within the video.
        end_seconds: likewise.
        split: of the video.
        cosine: to the query, of what distinguishes each from the library's mean.
    """

    path: str
    start_seconds: float
    end_seconds: float
    split: str | None
    cosine: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A query and the clips most like it, the nearest first.

    Attributes:
        query: as it was understood: the path of a video of the library, and the time of its clip.
        looked_up: whether it is a clip of the library, so that nothing was decoded for it.
        hits: the clips, without the query itself and those that share frames with it.
    """

    query: Moment
    looked_up: bool
    hits: list[Hit]


class Library:
    """A folder of embeddings, ready to be searched.

    Args:
        where: the folder, a path or a URI.
        by: compare representations h or embeddings z; None: z where there are any.

    Raises:
        EmbeddingsError: if there are none, or not those asked for.
        StorageError: if they cannot be read.
    """

    def __init__(self, where: str | Folder, by: By | None = None) -> None:
        found = load_embeddings(where, what=by or "both")
        self.by: By = by or ("h" if found.z is None else "z")
        vectors = found.h if self.by == "h" else found.z
        assert vectors is not None
        self.embeddings: Embeddings = found
        self.space = Space(vectors)
        self.neighbours = neighbours_of(self.space.vectors, found.folder, self.by)
        self.paths: list[str] = list(dict.fromkeys(found.path))

    def search(
        self,
        queries: Sequence[str],
        *,
        k: int = 10,
        path: str | None = None,
        split: str | None = None,
        elsewhere: bool = False,
    ) -> list[Answer]:
        """The clips most like each query.

        Args:
            queries: each a moment `video.mp4@12.5`; a video, of which the middle is taken; or an
                image. Videos of the library may be named by the end of their path. Of a library of
                entries: one of them, or any text or file of their kinds.
            k: hits of each query.
            path: a pattern such as `cam1/*.mp4`, which the whole path or the end of it matches.
            split: train, val or test.
            elsewhere: only clips of other videos than the query's.

        Raises:
            ConfigError: if a query cannot be read, no clip passes the filters, or the run that
                embedded the library is gone or has trained on.
        """
        rows = self.rows(path, split)
        is_table = self.embeddings.is_table
        asked = (Moment(query) if is_table else parse_query(query) for query in queries)
        moments = [self._understood(moment) for moment in asked]
        vectors = self._vectors(moments)
        return [
            self._answer(moment, row, vector, k, rows, elsewhere)
            for (moment, row), vector in zip(moments, vectors, strict=True)
        ]

    def rows(self, path: str | None = None, split: str | None = None) -> Integers | None:
        """The clips that pass the filters; None: all.

        Raises:
            ConfigError: if none does, or there is no such split.
        """
        if path is None and split is None:
            return None
        kept = np.ones(len(self.embeddings), bool)
        if split is not None:
            if split not in SPLITS:
                raise ConfigError(f"split={split}: it must be one of {', '.join(SPLITS)}")
            kept &= self.embeddings.split == split
        if path is not None:
            names = {p for p in self.paths if fnmatchcase(p, path) or fnmatchcase(p, f"*/{path}")}
            kept &= np.array([p in names for p in self.embeddings.path], bool)
        if not kept.any():
            filters = {"path": path, "split": split}
            said = ", ".join(f"--{name} {value}" for name, value in filters.items() if value)
            raise ConfigError(f"no clip of {self.embeddings.folder} passes {said}")
        return np.flatnonzero(kept)

    @cached_property
    def _run(self) -> tuple[list[ClipEncoder], RunConfig]:
        """The encoders that embedded the library, and how its clips look."""
        made = self.embeddings.manifest
        learner = restored(RunFolder(made.run), made.checkpoint)
        encoders = encoders_of(learner)
        if weights_digest(encoders[0]) == made.weights:
            encoders = encoders[:1]
        elif weights_digest(*encoders) != made.weights:
            raise ConfigError(
                f"{made.run} is at step {learner.step} now and embedded this library at step "
                f"{made.step}: its embeddings of other moments do not compare with these. Embed "
                "the library again, into another folder"
            )
        config = learner.config
        crop = "none" if config.data.crop == "none" else "center"
        data = config.data.model_copy(update={"crop": crop})
        read_alike = config.model_copy(update={"data": data})
        return [ClipEncoder(encoder, self.by) for encoder in encoders], read_alike

    def _understood(self, moment: Moment) -> tuple[Moment, int | None]:
        """A query by the library's own path and time where it has them, and its row."""
        is_table = self.embeddings.is_table
        looked_up = is_table or not is_image(moment)
        found = in_library(moment, self.paths) if looked_up else None
        if found is None:
            return moment, None
        row = embedded_row(self.embeddings, found, moment.seconds)
        if row is None:
            return Moment(found, moment.seconds), None
        if is_table:
            return Moment(found), row
        return Moment(found, float(self.embeddings.start_seconds[row])), row

    def _vectors(self, moments: Sequence[tuple[Moment, int | None]]) -> list[Vectors]:
        found: list[Vectors] = []
        for moment, row in moments:
            if row is not None:
                found.append(self.space.vectors[row][None])
                continue
            encoders, config = self._run
            side = 0
            if self.embeddings.is_table:
                clip, side = read_query(moment.path, config, self.embeddings)
            else:
                clip = clip_of(moment, config.data, self.embeddings.videos)
            found.append(self.space.place(encoders[side]([clip])[self.by]))
        return found

    def _answer(
        self,
        moment: Moment,
        row: int | None,
        vector: Vectors,
        k: int,
        rows: Integers | None,
        elsewhere: bool,
    ) -> Answer:
        known = self.embeddings
        own = self._own(moment, known, elsewhere)
        if elsewhere and len(own):
            rows = np.setdiff1d(np.arange(len(known)) if rows is None else rows, own)
            own = own[:0]
        cosines, nearest = self.neighbours.search(vector, k + len(own), rows)
        kept = ~np.isin(nearest[0], own) & (nearest[0] >= 0)
        hits = [
            self.hit(int(near), float(cosine))
            for near, cosine in zip(nearest[0][kept][:k], cosines[0][kept], strict=False)
        ]
        return Answer(query=moment, looked_up=row is not None, hits=hits)

    def hit(self, row: int, cosine: float) -> Hit:
        """A clip of the library as a result."""
        known = self.embeddings
        return Hit(
            path=str(known.path[row]),
            start_seconds=float(known.start_seconds[row]),
            end_seconds=float(known.end_seconds[row]),
            split=known.split[row],
            cosine=cosine,
        )

    @staticmethod
    def _own(moment: Moment, known: Embeddings, elsewhere: bool) -> Integers:
        """Clips of the query's own video: all, or those that share frames with it."""
        is_own: NDArray[Any] = known.path == moment.path
        if not elsewhere:
            if (moment.seconds is None and not known.is_table) or not is_own.any():
                return np.empty(0, np.int64)
            if moment.seconds is None:
                return np.flatnonzero(is_own)  # the entry itself
            first = int(np.argmax(is_own))
            length = known.end_seconds[first] - known.start_seconds[first]
            is_own = is_own & (np.abs(known.start_seconds - moment.seconds) < length - 1e-6)
        return np.flatnonzero(is_own)
