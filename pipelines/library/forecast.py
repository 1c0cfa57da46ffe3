"""Moments of a library with what came after each, embedded."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor
from torch.nn.functional import normalize

from adassl.latents import GivenLatent
from pipelines.cluster import connected, joins
from pipelines.config.data import DataConfig
from pipelines.config.run import ConfigError, RunConfig
from pipelines.evaluation.embed import most_likely_latent
from pipelines.progress import count, progress_bar
from pipelines.training.learner import Learner
from pipelines.video.clip_pairs import ClipPairs, PairSchedule, middle_gap_frames
from pipelines.video.clips import clips_here, clips_on_ray
from pipelines.video.index import VideoIndex
from pipelines.video.moved import find_indexed

WINDOWS_HERE = 64
"""Windows that are decoded by threads of this process, unless a cluster is named: fewer take less
time than Ray takes to start."""
THREADS_HERE = 2
ENCODED_AT_ONCE = 128
"""Clips."""


@dataclass(frozen=True, kw_only=True)
class LibraryPairs:
    """Moments x of a library, in the order of its videos, with the clip x+ that came.

    Attributes:
        index: the videos that are long enough; `video` are rows of it.
        start: first frame of x.
        gap: frames from there to the first of x+.
        context: z of x, not normalised.
        target: unit embeddings of x+.
        distance: |z - z+| between unit embeddings.
        difference: mean absolute difference of the last frame of x and the first of x+, in levels
            of 0 to 255.
        latent: r of each pair, inferred from both clips; None for a method without r.
        skipped: why a video, or a part of it, is not here; by path.
        num_not_finite: moments left out, for their embeddings are not finite.
    """

    index: VideoIndex
    video: NDArray[np.int64]
    start: NDArray[np.int64]
    gap: NDArray[np.int64]
    context: Tensor
    target: Tensor
    distance: NDArray[np.float32]
    difference: NDArray[np.float32]
    latent: Tensor | None
    skipped: dict[str, str] = field(default_factory=dict)
    num_not_finite: int = 0

    def __len__(self) -> int:
        return len(self.start)

    @property
    def path(self) -> NDArray[np.object_]:
        """Of the video of each moment."""
        return self.index.path[self.video]

    @property
    def start_seconds(self) -> NDArray[np.float64]:
        """Where x begins."""
        return self.start / self.index.fps[self.video]

    @property
    def next_seconds(self) -> NDArray[np.float64]:
        """Where x+ begins."""
        return (self.start + self.gap) / self.index.fps[self.video]


def library_index(data: DataConfig, index: str, split: str | None) -> VideoIndex:
    """All rows of an index, the usable ones of one split or of all.

    Raises:
        ConfigError: if videos are missing, or there is none to use.
    """
    found = find_indexed(data.model_copy(update={"index": index}))
    usable = found.select(split=split)
    if not len(usable):
        which = "usable video" if split is None else f"usable video of the split {split}"
        raise ConfigError(f"{index} has no {which}: {found.describe()}")
    return found


def embed_library(
    learner: Learner,
    videos: VideoIndex,
    *,
    stride_seconds: float | None = None,
    address: str | None = None,
    console: Console | None = None,
) -> LibraryPairs:
    """Decode the moments of some videos at a stride and embed each with what came.

    Args:
        learner: of the run, which says how clips look and how far x+ is.
        videos: usable ones.
        stride_seconds: between two moments of a video; None: the run's gap, so that the x+ of a
            moment is the x of the next.
        address: of a Ray cluster; None: RAY_ADDRESS, else this machine.
        console: where to show progress; None: nowhere.

    Raises:
        ConfigError: if the run's r is given and not inferred, the stride is not positive, no video
            is long enough for a pair, or none of them could be decoded.
    """
    if isinstance(learner.method.latent, GivenLatent):
        raise ConfigError(
            "this run's r is given with each pair (method.latent=given): it expects nothing by "
            "itself, so nothing can surprise it; use a run with another latent, or without one"
        )
    config = learner.config
    stride = default_stride(config.data, videos) if stride_seconds is None else stride_seconds
    schedule = PairSchedule(videos, config.data, stride_seconds=stride)
    skipped = {left.path: left.reason for left in schedule.left_out}
    if not schedule.num_clips:
        path, reason = next(iter(skipped.items()))
        raise ConfigError(f"no video is long enough for a pair of clips: {path}: {reason}")
    learner.method.eval()
    embedded: list[LibraryPairs] = []
    with progress_bar("embedding", console) as progress:
        progress.add_task("", total=schedule.num_clips, text="starting")
        for pairs in _decoded(schedule, config, address):
            path = str(schedule.index.path[pairs.video])
            if pairs.frames is None:
                skipped[path] = pairs.error or "no frames"
            else:
                embedded.append(_embed(learner, schedule.index, pairs))
            count(progress, "moments", len(pairs))
    if not embedded:
        path, reason = next(iter(skipped.items()))
        raise ConfigError(f"no video could be decoded: {path}: {reason}")
    return _finite(_joined(embedded), skipped)


def default_stride(data: DataConfig, videos: VideoIndex) -> float:
    """The gap in seconds, at the rate of most videos where it is in frames."""
    return float(np.median(middle_gap_frames(data, videos.fps) / videos.fps))


def _decoded(schedule: PairSchedule, config: RunConfig, address: str | None) -> Iterator[ClipPairs]:
    """The pairs of all windows in order, from this process or the cluster."""
    cluster = config.cluster
    if address is not None:
        cluster = cluster.model_copy(update={"address": address})
    numbers = range(schedule.num_windows)
    with ExitStack() as stack:
        if joins(cluster) or schedule.num_windows > WINDOWS_HERE:
            demand = stack.enter_context(connected(cluster))
            decoded = clips_on_ray(schedule, numbers, num_decoders=max(1, demand.num_decoders))
            stack.callback(decoded.close)
            found: Iterator[object] = decoded
        else:
            found = clips_here(schedule, numbers, num_decoders=THREADS_HERE)
        for pairs in found:
            assert isinstance(pairs, ClipPairs)
            yield pairs


@torch.no_grad()
def _embed(learner: Learner, index: VideoIndex, pairs: ClipPairs) -> LibraryPairs:
    """Embed the pairs of one window; a clip that is an x and an x+ is encoded once."""
    assert pairs.frames is not None
    assert pairs.next_frames is not None
    method, num_pairs = learner.method, len(pairs)
    starts = np.concatenate([pairs.start, pairs.start + pairs.gap])
    _, first, place = np.unique(starts, return_index=True, return_inverse=True)
    clips = [pairs.frames[i] if i < num_pairs else pairs.next_frames[i - num_pairs] for i in first]
    parts = [
        _encode(learner, np.stack(clips[at : at + ENCODED_AT_ONCE]))
        for at in range(0, len(clips), ENCODED_AT_ONCE)
    ]
    online, destination = (torch.cat(part) for part in zip(*parts, strict=True))
    context, target = online[place[:num_pairs]], destination[place[num_pairs:]]
    last, came = (
        part.astype(np.float32) for part in (pairs.frames[:, -1], pairs.next_frames[:, 0])
    )
    latent = None
    if method.latent is not None:
        latent = most_likely_latent(method, context, target).cpu()
    unit = normalize(online, dim=-1)
    moved = unit[place[:num_pairs]] - unit[place[num_pairs:]]
    return LibraryPairs(
        index=index,
        video=np.full(num_pairs, pairs.video, np.int64),
        start=pairs.start,
        gap=np.full(num_pairs, pairs.gap, np.int64),
        context=context.cpu(),
        target=normalize(target, dim=-1).cpu(),
        distance=moved.norm(dim=-1).cpu().numpy(),
        difference=np.abs(last - came).mean(axis=(1, 2, 3)),
        latent=latent,
    )


def _encode(learner: Learner, clips: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """Z of clips by the online encoder, and by the one that makes targets; float32."""
    samples = learner.to_input(clips)
    online = learner.method.encode(samples).embedding.float()
    network = learner.method.target_encoder
    return online, online if network is None else network(samples).embedding.float()


def _joined(parts: list[LibraryPairs]) -> LibraryPairs:
    """The parts of one library as one."""
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("video", "start", "gap", "distance", "difference")
    }
    latents = [part.latent for part in parts if part.latent is not None]
    return replace(
        parts[0],
        **arrays,
        context=torch.cat([part.context for part in parts]),
        target=torch.cat([part.target for part in parts]),
        latent=torch.cat(latents) if latents else None,
    )


def _finite(pairs: LibraryPairs, skipped: dict[str, str]) -> LibraryPairs:
    """Without the moments whose embeddings are not finite.

    Raises:
        ConfigError: if none is left.
    """
    good = torch.isfinite(pairs.context).all(dim=1) & torch.isfinite(pairs.target).all(dim=1)
    kept = np.flatnonzero(good.numpy())
    if not len(kept):
        raise ConfigError(
            f"no embedding of {len(pairs)} moments is finite: the run's weights are not sound; "
            "try --checkpoint best, or train again with a lower optim.learning_rate"
        )
    parts: dict[str, Any] = {
        name: getattr(pairs, name)[kept]
        for name in ("video", "start", "gap", "context", "target", "distance", "difference")
    }
    return replace(
        pairs,
        **parts,
        latent=None if pairs.latent is None else pairs.latent[kept],
        skipped=skipped,
        num_not_finite=len(pairs) - len(kept),
    )
