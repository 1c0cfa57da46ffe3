"""Heads that are trained by gradient: the attentive probe, and the supervised upper bound.

Both answer one question from the clips themselves, in minutes: AdamW with a warm-up and cosine
decay, the pairs in an order drawn by a seed. The attentive probe is that of V-JEPA (arXiv
2404.08471): a learnt query that attends to the tokens of the frozen encoder, then a linear layer.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from adassl.backbones import Backbone
from adassl.optim import build_adamw, set_learning_rate
from adassl.schedules import cosine_with_warmup
from pipelines.evaluation.probes import ProbeScore
from pipelines.evaluation.questions import Question

BATCH = 64
AsInput = Callable[[NDArray[Any]], Tensor]
"""uint8 frames [batch, frames, height, width, channels] to what an encoder takes."""


class AttentivePool(nn.Module):
    """One learnt query that attends to tokens; the norm in front and the output are learnt too."""

    def __init__(self, dim: int, num_outputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Parameter(torch.randn(dim) * 0.02)
        self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.output = nn.Linear(dim, num_outputs)

    def forward(self, tokens: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch outputs"]:
        """The outputs of each clip."""
        tokens = self.norm(tokens)
        # The query's product with the key of each token, and the mean of their values, each as one
        # product with the tokens themselves: a fifteenth of the time. The key's bias is alike for
        # every token, which attention does not see.
        query = self.key.weight.T @ self.query / len(self.query) ** 0.5
        shares = (tokens @ query).softmax(dim=1)
        seen = (shares[:, None] @ tokens)[:, 0]
        outputs: Tensor = self.output(self.value(seen))
        return outputs


class AttentiveProbe(nn.Module):
    """An attentive pool over the tokens of an encoder that stays as it is."""

    def __init__(self, backbone: Backbone, example: Tensor, num_outputs: int) -> None:
        super().__init__()
        self.backbone = backbone.eval().requires_grad_(False)
        with torch.no_grad():
            dim = backbone.tokens(example).shape[2]
        self.pool = AttentivePool(dim, num_outputs).to(example.device)

    def forward(self, clips: Tensor) -> Tensor:
        """The outputs of each clip."""
        with torch.no_grad():
            tokens = self.backbone.tokens(clips)
        outputs: Tensor = self.pool(tokens)
        return outputs

    def train(self, mode: bool = True) -> "AttentiveProbe":
        """As of any module, but the encoder stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self


class Supervised(nn.Module):
    """An encoder with a linear layer, trained as one."""

    def __init__(self, backbone: Backbone, num_outputs: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.output = nn.Linear(backbone.output_dim, num_outputs)

    def forward(self, clips: Tensor) -> Tensor:
        """The outputs of each clip."""
        outputs: Tensor = self.output(self.backbone(clips))
        return outputs


def num_outputs(question: Question) -> int:
    """Classes, or values."""
    return len(np.unique(question.train)) if question.is_class else len(question.names)


def answer(
    network: nn.Module,
    question: Question,
    train_clips: NDArray[np.uint8],
    test_clips: NDArray[np.uint8],
    as_input: AsInput,
    *,
    epochs: int,
    learning_rate: float,
    seed: int,
    weight_decay: float = 1e-2,
) -> ProbeScore:
    """Train a network on a question's training pairs and score it on its test pairs.

    Args:
        network: from clips to `num_outputs` outputs, on the device of `as_input`.
        question: what is asked.
        train_clips: of all training pairs.
        test_clips: of all test pairs.
        as_input: makes the network's input.
        epochs: passes over the training pairs.
        learning_rate: at its highest, after a tenth of the steps.
        seed: of the order.
        weight_decay: of AdamW.
    """
    clips = train_clips[question.train_rows]
    targets, restored = _targets(question)
    train_head(
        network,
        clips,
        targets,
        as_input,
        epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
        weight_decay=weight_decay,
    )
    shown = test_clips[question.test_rows]
    with torch.no_grad():
        parts = [network(as_input(part)).cpu() for part in _parts(shown)]
    return question.score(restored(torch.cat(parts).float()))


def train_head(
    network: nn.Module,
    inputs: NDArray[Any],
    targets: Tensor,
    as_input: AsInput,
    *,
    epochs: int,
    learning_rate: float,
    seed: int,
    weight_decay: float = 1e-2,
) -> None:
    """Train a network, and leave it in evaluation mode.

    Args:
        network: from what `as_input` makes to outputs.
        inputs: clips, or what else `as_input` takes.
        targets: numbers of classes [inputs], or values [inputs, outputs].
        as_input: makes the network's input.
        epochs: passes over the inputs.
        learning_rate: at its highest, after a tenth of the steps.
        seed: of the order.
        weight_decay: of AdamW.
    """
    loss = mse_loss if targets.is_floating_point() else cross_entropy
    optimizer = build_adamw(network, lr=learning_rate, weight_decay=weight_decay)
    rng = np.random.default_rng(seed)
    at_once = min(BATCH, len(inputs))
    steps = epochs * (len(inputs) // at_once)
    step = 0
    network.train()
    for _ in range(epochs):
        order = rng.permutation(len(inputs))
        for at in range(0, len(inputs) - at_once + 1, at_once):
            rows = order[at : at + at_once]
            rate = cosine_with_warmup(step, learning_rate, max(1, steps // 10), steps)
            set_learning_rate(optimizer, rate)
            outputs = network(as_input(inputs[rows]))
            optimizer.zero_grad(set_to_none=True)
            loss(outputs, targets[rows].to(outputs.device)).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            step += 1
    network.eval()


def _parts(clips: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [clips[at : at + 4 * BATCH] for at in range(0, len(clips), 4 * BATCH)]


def _targets(question: Question) -> tuple[Tensor, Callable[[Tensor], NDArray[np.generic]]]:
    """Targets of the loss, and the way from outputs back to answers."""
    if question.is_class:
        classes, numbers = np.unique(question.train, return_inverse=True)
        return torch.from_numpy(numbers), lambda outputs: classes[outputs.argmax(dim=1).numpy()]
    mean, std = question.train.mean(axis=0), question.train.std(axis=0)
    std = np.where(std > 0, std, 1)
    scaled = torch.from_numpy((question.train - mean) / std).float()
    return scaled, lambda outputs: outputs.numpy() * std + mean
