"""AdaSSL in a plain PyTorch loop: your encoder, pairs of images [batch, channels, height, width].

The pairs here are made on the spot: a bright square, and the same square moved left or right. The
first image cannot say which; r can. Needs torch and jaxtyping only.

    python docs/examples/image_pairs.py --steps 150
"""

import argparse
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from adassl import (
    Encoder,
    InfoNCE,
    Method,
    MLPEditor,
    VariationalLatent,
    Views,
    build_adamw,
    build_mlp,
    next_clip_nats,
)

SIZE, OUTPUT_DIM, EMBEDDING_DIM, LATENT_DIM = 24, 64, 32, 4


def pairs(num_batches: int, batch_size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of images of a square, and of the same square four pixels to the left or right."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(num_batches):
        corner = torch.randint(4, SIZE - 8, (batch_size, 2), generator=generator)
        side = torch.randint(0, 2, (batch_size,), generator=generator) * 2 - 1
        moved = corner + torch.stack([torch.zeros_like(side), 4 * side], dim=1)
        yield squares(corner), squares(moved)


def squares(corner: Tensor) -> Tensor:
    """Images [batch, 1, SIZE, SIZE] of a 4 x 4 square whose upper left corner is (row, column)."""
    row, column = (corner[:, i, None] for i in (0, 1))
    pixels = torch.arange(SIZE)
    rows = (pixels >= row) & (pixels < row + 4)
    columns = (pixels >= column) & (pixels < column + 4)
    return (rows[:, :, None] & columns[:, None, :]).float()[:, None]


def build() -> Method:
    """Your encoder, then the parts of the method around it."""
    encoder = nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * (SIZE // 2) ** 2, OUTPUT_DIM),
    )
    projector = build_mlp(OUTPUT_DIM, (64,), EMBEDDING_DIM)
    return Method(
        Encoder(encoder, projector, output_dim=OUTPUT_DIM),
        objective=InfoNCE(temperature=0.1),
        latent=VariationalLatent(EMBEDDING_DIM, LATENT_DIM),
        editor=MLPEditor(EMBEDDING_DIM, LATENT_DIM),
        beta=0.1,
        beta_warmup_steps=50,
    )


def main() -> None:
    """Train, and print the next-clip log-likelihood of sampled futures on new pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=150)
    steps = parser.parse_args().steps
    torch.manual_seed(0)
    method = build()
    optimizer = build_adamw(method, lr=2e-3, weight_decay=1e-4)
    for step, (image, next_image) in enumerate(pairs(steps, 64, seed=0)):
        output = method(Views(context=image, target=next_image), step=step)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            terms = "  ".join(f"{name} {value:.3f}" for name, value in output.terms.items())
            print(f"step {step + 1}/{steps}  {terms}")
    method.eval()
    ((image, next_image),) = pairs(1, 64, seed=1)
    futures = method.futures(image, 16, torch.Generator().manual_seed(0))
    nats = next_clip_nats(futures, method.encode_target(next_image).detach())
    print(f"next-clip log-likelihood {nats:.2f} nats above chance, of at most {4.16:.2f}")


if __name__ == "__main__":
    main()
