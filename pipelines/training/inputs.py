"""From batches of frames or tokens to what the method takes: floats on the device, augmented."""

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adassl import collectives
from adassl.augmentations import LOCAL_AREA, Augmentation, augment
from adassl.views import Views
from pipelines.config.data import DataConfig
from pipelines.video.batch import PairBatch

Batch = PairBatch | Views
"""Frames of videos, or views that are ready for the method."""


class Inputs:
    """What a batch becomes on its way to the method.

    Args:
        data: what a view of a pair is, and how it is augmented.
        device: of the method.
        reads_evidence: whether a posterior of the method reads views of their own.
    """

    def __init__(self, data: DataConfig, device: torch.device, *, reads_evidence: bool) -> None:
        self._data, self._device, self._reads_evidence = data, device, reads_evidence
        self._augmentation = Augmentation(**data.augment.model_dump())

    def views(self, batch: Batch) -> Views:
        """A batch of frames as the method's input: floats around 0 on the device.

        Views, which a source that has no pixels gives, are as the method wants them already.
        """
        if isinstance(batch, Views):
            given = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
            moved = {name: self._moved(x) for name, x in given.items() if x is not None}
            return dataclasses.replace(batch, **moved)
        batch = without_padding(batch)
        data, context = self._data, self.to_input(batch.context)
        target = context if batch.target is batch.context else self.to_input(batch.target)
        extra = (batch.surrogate, batch.context_surrogate, batch.negative)
        surrogate, context_surrogate, negative = (
            None if x is None else self.to_input(x) for x in extra
        )
        if data.views == "both" and self._reads_evidence:
            # The same two moments, to be augmented once more.
            surrogate = target if data.surrogate else None
            context_surrogate = context if data.context_surrogate else None
        return Views(
            context=context,
            target=target,
            surrogate=surrogate,
            context_surrogate=context_surrogate,
            further=None if batch.further is None else self._moments(batch.further),
            negative=negative,
            group=self._moved(torch.from_numpy(batch.video)),
        )

    def _moments(self, moments: NDArray[Any]) -> Tensor:
        """[moments, batch, frames, …] → [moments, batch, channels, …]."""
        every = self.to_input(moments.reshape(-1, *moments.shape[2:]))
        return every.reshape(*moments.shape[:2], *every.shape[1:])

    def augmented(self, views: Views, generator: torch.Generator) -> Views:
        """The views that are trained on, by the noise of the step.

        Those of a pair do not depend on the number of workers.
        """
        data = self._data
        if data.views == "time" or not views.context.is_floating_point():
            return views  # two views of one text differ by the dropout of the encoder
        names = ["context", "target"] + ["surrogate"] * data.surrogate
        names += ["context_surrogate"] * data.context_surrogate
        names += data.further
        later = {} if views.further is None else dict(zip(data.further, views.further, strict=True))
        workers, rank = collectives.world_size(), collectives.rank()
        chosen = self._augmentation
        shape = len(names) + data.local_crops, workers * len(views), chosen.num_draws
        noise = torch.rand(shape, generator=generator, device=self._device)[:, rank::workers]
        whole, small = noise[: len(names)], noise[len(names) :]
        seen = {}
        for name, draws in zip(names, whole, strict=True):
            moment = later.get(name)
            if moment is None:
                moment = views.context if data.views == "augmentation" else getattr(views, name)
            if moment is not None:  # nothing reads it where there is no r
                seen[name] = augment(moment, draws, chosen)
        if later:
            seen["further"] = torch.stack([seen.pop(name) for name in later])
        if data.local_crops:
            part = dataclasses.replace(chosen, area=LOCAL_AREA)
            seen["local"] = torch.stack([augment(views.context, draws, part) for draws in small])
        return dataclasses.replace(views, **seen)

    def to_input(self, frames: NDArray[Any]) -> Tensor:
        """uint8 [batch, frames, height, width, channels] → [batch, channels, frames, …] in ±1.

        Token ids, int32 [batch, tokens], stay what they are.
        """
        if frames.dtype != np.uint8:
            return self._moved(torch.from_numpy(np.ascontiguousarray(frames))).long()
        pixels = self._moved(torch.from_numpy(np.ascontiguousarray(frames)))
        return pixels.permute(0, 4, 1, 2, 3).float().div_(127.5).sub_(1.0)

    def _moved(self, tensor: Tensor) -> Tensor:
        if self._device.type == "cuda" and not tensor.is_cuda:  # else the copy would wait
            tensor = tensor.pin_memory()
        return tensor.to(self._device, non_blocking=True)


def without_padding(batch: PairBatch) -> PairBatch:
    """A batch whose texts end where the longest of them does; one of clips as it is."""
    names = ("context", "target", "surrogate", "context_surrogate", "negative")
    views = {name: getattr(batch, name) for name in names}
    texts = {n: v for n, v in views.items() if v is not None and v.dtype != np.uint8}
    if not texts:
        return batch
    longest = max(int((ids != 0).any(axis=0).nonzero()[0].max(initial=0)) for ids in texts.values())
    cut = {name: ids[:, : longest + 1] for name, ids in texts.items()}
    if batch.target is batch.context and "context" in cut:
        cut["target"] = cut["context"]
    return dataclasses.replace(batch, **cut)
