"""Embeddings of pairs of a split by a trained encoder, decoded through the same stream."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adassl.latents import LatentSample
from pipelines.learner import Learner
from pipelines.plan import schedule
from pipelines.video.index import VideoIndex
from pipelines.video.stream import PairStream, Share, pairs_here

_SEED = 2_000_003
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class EmbeddedPairs:
    """Pairs of one split, one entry of each field a pair.

    `representation` is h of x; `context`, `target` and `edited` are unit embeddings; `clips` and
    `next_clips` the uint8 frames of x and x+; `video` numbers the rows of the index given.
    """

    representation: Floats
    context: Floats
    target: Floats
    edited: Floats
    path: NDArray[np.object_]
    start: NDArray[np.int64]
    clips: NDArray[np.uint8]
    next_clips: NDArray[np.uint8]
    latent: LatentSample | None

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.start)


@torch.no_grad()
def embed_pairs(
    learner: Learner,
    videos: VideoIndex,
    num_pairs: int,
    *,
    num_decoders: int,
    in_process: bool = False,
) -> EmbeddedPairs:
    """Embed `num_pairs` pairs or all there are, every video once before any comes twice.

    In process, threads decode: no other process has to start for a few small videos.
    """
    config = learner.config
    data = config.data.model_copy(
        update={"pairs_per_window": 1, "starts_per_window": 1, "crop": "center"}
    )
    rows = schedule(videos, config.model_copy(update={"data": data}), seed=_SEED, capped=False)
    num_pairs = min(num_pairs, rows.num_starts)
    batches = range(-(-num_pairs // rows.global_batch_size))
    learner.method.eval()
    noise = torch.Generator(learner.device).manual_seed(_SEED)
    parts: list[dict[str, Tensor]] = []
    latents: list[LatentSample] = []
    paths, starts, clips, next_clips = [], [], [], []
    stream = pairs_here if in_process else PairStream
    for batch in stream(rows, batches, Share(num_decoders=num_decoders)):
        views = learner.views(batch)
        output = learner.method(views, step=learner.step, generator=noise)
        named = {name: getattr(output, name) for name in ("context", "target", "edited")}
        parts.append({"representation": learner.method.embed(views.context), **named})
        if output.latent is not None:
            latents.append(output.latent)
        paths.append(np.asarray(rows.index.path)[batch.video])
        starts.append(batch.start)
        clips.append(batch.context)
        next_clips.append(batch.target)
    return EmbeddedPairs(
        **{
            name: torch.cat([part[name] for part in parts])[:num_pairs].float().cpu().numpy()
            for name in parts[0]
        },
        path=np.concatenate(paths)[:num_pairs],
        start=np.concatenate(starts)[:num_pairs],
        clips=np.concatenate(clips)[:num_pairs],
        next_clips=np.concatenate(next_clips)[:num_pairs],
        latent=joined(latents, num_pairs),
    )


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
