"""Embeddings of pairs of a split by a trained encoder, decoded through the same stream."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adassl.backbones import Backbone
from adassl.latents import LatentSample
from adassl.method import Method
from pipelines.config.data import DataConfig
from pipelines.config.run import RunConfig
from pipelines.pairs.plan import Index, Rows, decoded_here, find, rows_of, stream_of
from pipelines.training.learner import Learner
from pipelines.video.batch import PairBatch
from pipelines.video.schedule import Schedule
from pipelines.video.stream import Share

_SEED = 2_000_003
_AT_ONCE = 250
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Pairs of moments: the video of each, the first frame of x, and how far x+ is.

    `gap` is how many frames later x+ begins, 0 where that is not known. Of a table of pairs: the
    group, the row of x in the table, and by how many rows x+ stands after it.
    """

    path: NDArray[np.object_]
    start: NDArray[np.int64]
    gap: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.start)


@dataclass(frozen=True, kw_only=True)
class EmbeddedPairs(Moments):
    """Pairs of one split, one entry of each field a pair.

    `representation` is h of x; `context`, `target` and `edited` are unit embeddings; `clips` and
    `next_clips` are the uint8 frames of x and x+, or the int32 token ids of texts.
    """

    representation: Floats
    context: Floats
    target: Floats
    edited: Floats
    clips: NDArray[Any]
    next_clips: NDArray[Any]
    latent: LatentSample | None


@dataclass(frozen=True, kw_only=True)
class DecodedPairs:
    """Batches of pairs of one split, the last one with more than are asked for."""

    rows: Rows
    num_pairs: int
    batches: Iterable[PairBatch]


def pairs_to_embed(
    config: RunConfig, videos: Index, num_pairs: int, *, num_decoders: int
) -> DecodedPairs:
    """`num_pairs` pairs or all there are, every video once before any is used twice.

    The actors of the Ray cluster decode them on demand.
    """
    rows = _rows(config.data, videos, config.train.global_batch_size)
    num_pairs, batches = _batches(rows, num_pairs)
    stream = stream_of(rows, batches, Share(num_decoders=num_decoders))
    return DecodedPairs(rows=rows, num_pairs=num_pairs, batches=stream)


@lru_cache(maxsize=8)
def pairs_at_hand(data: DataConfig, split: str, num_pairs: int) -> DecodedPairs:
    """The same pairs decoded in this process and kept for the next trial that it runs.

    No other process has to start for a few small videos.
    """
    videos = find(data).select(split=split)
    rows = _rows(data, videos, _AT_ONCE)
    num_pairs, batches = _batches(rows, num_pairs)
    decoded = decoded_here(rows, batches, Share(num_decoders=1))
    return DecodedPairs(rows=rows, num_pairs=num_pairs, batches=decoded)


def _rows(data: DataConfig, videos: Index, at_once: int) -> Rows:
    crop = "none" if data.crop == "none" else "center"
    views = "both" if data.views == "both" else "time"  # x and x+ in any case, not augmented here
    data = data.model_copy(update={"crop": crop, "views": views})
    return rows_of(videos, data, seed=_SEED, global_batch_size=at_once, pairs_per_visit=1)


def _batches(rows: Rows, num_pairs: int) -> tuple[int, range]:
    num_pairs = min(num_pairs, rows.num_starts)
    return num_pairs, range(-(-num_pairs // rows.global_batch_size))


@torch.no_grad()
def embed(learner: Learner, pairs: DecodedPairs) -> EmbeddedPairs:
    """Embed pairs by a trained encoder."""
    num_pairs, paths = pairs.num_pairs, np.asarray(pairs.rows.index.path)
    learner.method.eval()
    noise = learner.generator(_SEED)
    parts: list[dict[str, Tensor]] = []
    latents: list[LatentSample] = []
    seen: list[PairBatch] = []
    for batch in pairs.batches:
        views = learner.views(batch)
        output = learner.method(views, step=learner.step, generator=noise)
        named = {name: getattr(output, name) for name in ("context", "target", "edited")}
        parts.append({"representation": learner.method.embed(views.context), **named})
        if output.latent is not None:
            latents.append(output.latent.map(Tensor.cpu))
        seen.append(replace(batch, surrogate=None, further=None))
    return EmbeddedPairs(
        **{
            name: torch.cat([part[name] for part in parts])[:num_pairs].float().cpu().numpy()
            for name in parts[0]
        },
        path=np.concatenate([paths[batch.video] for batch in seen])[:num_pairs],
        start=np.concatenate([batch.start for batch in seen])[:num_pairs],
        gap=gaps(pairs.rows, np.concatenate([batch.row for batch in seen])[:num_pairs]),
        clips=np.concatenate([batch.context for batch in seen])[:num_pairs],
        next_clips=np.concatenate([batch.target for batch in seen])[:num_pairs],
        latent=joined(latents, num_pairs),
    )


@torch.no_grad()
def context_embeddings(learner: Learner, clips: NDArray[Any]) -> Tensor:
    """Z of clips, or texts, by the online encoder, not normalised, on the CPU [clips, dim]."""
    learner.method.eval()
    parts = [
        learner.method.encode(learner.to_input(clips[at : at + _AT_ONCE])).embedding.float().cpu()
        for at in range(0, len(clips), _AT_ONCE)
    ]
    return torch.cat(parts)


@torch.no_grad()
def most_likely_latent(method: Method, context: Tensor, evidence: Tensor) -> Tensor:
    """R of pairs by a posterior without its noise [pairs, latent]; the method has a latent."""
    assert method.latent is not None
    noise = torch.zeros(len(context), method.latent.latent_dim, device=context.device)
    sample: LatentSample = method.latent(context, evidence, noise)
    return sample.value.float()


@torch.no_grad()
def represent(learner: Learner, backbone: Backbone, clips: NDArray[Any]) -> Floats:
    """Representations of clips, or texts, by a backbone in evaluation mode."""
    backbone.eval()
    parts = [
        backbone(learner.to_input(clips[at : at + 256])).float().cpu()
        for at in range(0, len(clips), 256)
    ]
    return np.asarray(torch.cat(parts).numpy())


def gaps(rows: Rows, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The gap of each row; 0 for a pair that stands in for another, which has no row.

    Of videos in frames: row i is the only pair of window i. Of a table, by how many rows x+ stands
    after x in it.
    """
    found = [_gap(rows, row) if row >= 0 else 0 for row in numbers.tolist()]
    return np.asarray(found, np.int64)


def _gap(rows: Rows, row: int) -> int:
    if isinstance(rows, Schedule):
        return int(rows.window(row).gaps[0])
    pair = rows.pair(row)
    number = rows.index.number
    return int(number[pair.target] - number[pair.context])


def joined(latents: list[LatentSample], rows: int | None = None) -> LatentSample | None:
    """Samples of successive batches as one, its first rows; None where there are none."""
    if not latents:
        return None
    masks = [latent.mask for latent in latents if latent.mask is not None]
    return LatentSample(
        value=torch.cat([latent.value for latent in latents]),
        penalty=torch.cat([latent.penalty for latent in latents]),
        penalty_per_dimension=torch.cat([latent.penalty_per_dimension for latent in latents]),
        mask=torch.cat(masks) if masks else None,
    ).first(rows)
