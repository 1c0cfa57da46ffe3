"""Clips, or texts, to embeddings, by the encoder of a run, on one device."""

import copy
import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from adassl.encoder import Encoder
from pipelines.training.learner import Learner

What = Literal["h", "z", "both"]
Vectors = NDArray[np.float32]
MOST_CLIPS = {"cpu": 64, "cuda": 256}
"""Encoded at once: on a CPU no more than its caches hold."""
MOST_BYTES = 2**28
"""Of the floats of the clips that are encoded at once."""


class ClipEncoder:
    """The frozen encoder of a run.

    Args:
        encoder: the run's; it is put into evaluation mode, on the device.
        what: "h", the representations; "z", the embeddings as unit vectors; or both.
        device: None: a GPU where this process has one.
    """

    def __init__(self, encoder: Encoder, what: What, device: torch.device | None = None) -> None:
        chosen = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = device or torch.device(chosen)
        self.what = what
        self._encoder = encoder.to(self.device).eval()

    @torch.inference_mode()
    def __call__(self, clips: Sequence[NDArray[Any]]) -> dict[str, Vectors]:
        """Embeddings by "h" and "z".

        Args:
            clips: each uint8 [frames, height, width, channels]; or texts, each int32 [tokens].
        """
        step = max(1, min(MOST_CLIPS[self.device.type], MOST_BYTES // (4 * clips[0].nbytes)))
        parts = [self._encode(np.stack(clips[at : at + step])) for at in range(0, len(clips), step)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _encode(self, clips: NDArray[Any]) -> dict[str, Vectors]:
        samples = torch.from_numpy(clips).to(self.device)  # as Learner.to_input
        if clips.dtype == np.uint8:
            samples = samples.permute(0, 4, 1, 2, 3).float().div_(127.5).sub_(1.0)
        else:
            samples = samples.long()
        if self.what == "h":
            return {"h": _array(self._encoder.backbone(samples))}
        found = self._encoder(samples)
        vectors = {"z": _array(normalize(found.embedding.float(), dim=-1))}
        return {"h": _array(found.representation), **vectors} if self.what == "both" else vectors


def encoder_of(learner: Learner) -> Encoder:
    """A copy of a learner's online encoder on the CPU, to be sent to other processes."""
    return encoders_of(learner)[0]


def encoders_of(learner: Learner) -> list[Encoder]:
    """Copies of a learner's online encoder, and of its second one where it has one, on the CPU."""
    method = learner.method
    found = [method.encoder, *([method.second_encoder] if method.second_encoder else [])]
    return [copy.deepcopy(encoder).cpu().eval().requires_grad_(False) for encoder in found]


def weights_digest(*encoders: Encoder) -> str:
    """BLAKE2 of the weights of encoders, most often one: the same for the same function."""
    digest = hashlib.blake2b(digest_size=16)
    for encoder in encoders:
        for name, value in sorted(encoder.state_dict().items()):
            digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _array(vectors: torch.Tensor) -> Vectors:
    found: Vectors = vectors.float().cpu().numpy()
    return found
