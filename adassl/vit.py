"""A video transformer over tubelets.

Dosovitskiy et al., "An Image is Worth 16x16 Words", arXiv 2010.11929, sizes Ti and S of DeiT (arXiv
2012.12877); tubelets as in ViViT (arXiv 2103.15691); fixed sine and cosine positions and tokens
that are left out in training as in VideoMAE (arXiv 2203.12602).
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from adassl.resnet import SMALL_INPUT

ViTName = Literal["vit_ti", "vit_s", "vit_b"]
SIZES: dict[str, tuple[int, int, int]] = {
    "vit_ti": (192, 12, 3),
    "vit_s": (384, 12, 6),
    "vit_b": (768, 12, 12),
}
"""Width, depth, heads."""


class VideoTransformer(nn.Module):
    """Clips to the mean of their tokens after the last norm.

    Args:
        input_shape: channels, frames, height, width of a clip.
        width: of a token.
        depth: number of blocks.
        num_heads: of the attention; divides the width.
        tubelet: frames and pixels (height and width alike) of a token.
        token_drop: share of the tokens that are left out in training. Which ones depends on the
            clip's pixels alone: no generator is drawn from, and every number of workers leaves out
            the same.

    Raises:
        ValueError: if clips do not divide into tubelets, or no token would be left.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int, int],
        *,
        width: int,
        depth: int,
        num_heads: int,
        tubelet: tuple[int, int],
        token_drop: float = 0.0,
    ) -> None:
        super().__init__()
        channels, frames, height, image_width = input_shape
        deep, side = tubelet
        if frames % deep or height % side or image_width % side:
            raise ValueError(
                f"tubelet={tubelet}: clips of {frames} frames of {height} x {image_width} pixels "
                "do not divide into it; choose divisors of the frames and of the pixels"
            )
        grid = frames // deep, height // side, image_width // side
        num_tokens = grid[0] * grid[1] * grid[2]
        self.num_kept = round(num_tokens * (1 - token_drop))
        if not 1 <= self.num_kept <= num_tokens:
            raise ValueError(
                f"token_drop={token_drop:g} leaves {self.num_kept} of {num_tokens} tokens: it must "
                "leave at least one; 0.5 is usual"
            )
        kernel = (deep, side, side)
        self.embed = nn.Conv3d(channels, width, kernel_size=kernel, stride=kernel)
        self.blocks = nn.ModuleList(TransformerBlock(width, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.register_buffer("positions", sine_positions(grid, width), persistent=False)
        self.apply(initialise)

    def tokens(
        self, clips: Float[Tensor, "batch channels frames height width"]
    ) -> Float[Tensor, "batch tokens dim"]:
        """The tokens after the last norm; in training those that were kept."""
        tokens = self.embed(clips).flatten(2).transpose(1, 2) + self.positions
        if self.training and self.num_kept < tokens.shape[1]:
            kept = kept_tokens(clips, tokens.shape[1], self.num_kept)
            tokens = tokens.gather(1, kept[..., None].expand(-1, -1, tokens.shape[2]))
        for block in self.blocks:
            tokens = block(tokens)
        normed: Tensor = self.norm(tokens)
        return normed

    def forward(
        self, clips: Float[Tensor, "batch channels frames height width"]
    ) -> Float[Tensor, "batch dim"]:
        """The mean of the tokens."""
        return self.tokens(clips).mean(dim=1)


def default_tubelet(input_shape: tuple[int, int, int, int]) -> tuple[int, int]:
    """Two frames where they are even, else one; 8 pixels up to 64 x 64, else 16."""
    _, frames, height, width = input_shape
    return 2 - frames % 2, 8 if max(height, width) <= SMALL_INPUT else 16


def sine_positions(grid: tuple[int, int, int], width: int) -> Float[Tensor, "tokens width"]:
    """Sines and cosines of each token's frame, row and column, side by side, to the width."""
    per_axis = 2 * (-(-width // 6))
    rates = 10_000.0 ** (-torch.arange(per_axis // 2) / (per_axis // 2))
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in grid), indexing="ij")
    angles = [axis.flatten()[:, None] * rates for axis in axes]
    parts = [f(angle) for angle in angles for f in (torch.sin, torch.cos)]
    return torch.cat(parts, dim=1)[:, :width]


def kept_tokens(
    clips: Float[Tensor, "batch channels frames height width"], num_tokens: int, num_kept: int
) -> Int[Tensor, "batch kept"]:
    """Which tokens of each clip stay, in order: as good as random, a function of its pixels.

    Whole numbers are added and mixed, so that no rounding changes the choice.
    """
    levels = (clips.detach().float() * 127.5).round().long().flatten(1)
    places = torch.arange(1, levels.shape[1] + 1, device=clips.device)
    seeds = (levels * places).sum(dim=1, keepdim=True)
    mixed = seeds * 0x2545F4914F6CDD1D + torch.arange(num_tokens, device=clips.device)
    for _ in range(2):  # wraps around, as hashes do
        mixed = (mixed ^ (mixed >> 29)) * 0x3F58476D1CE4E5B9
    return (mixed ^ (mixed >> 32)).argsort(dim=1)[:, :num_kept].sort(dim=1).values


class TransformerBlock(nn.Module):
    """Attention and an MLP, each behind a LayerNorm and added to its input.

    Args:
        width: of a token.
        num_heads: of the attention; divides the width.
        dropout: share of what attention and MLP add that is left out in training.
    """

    def __init__(self, width: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.num_heads = num_heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(
        self, tokens: Float[Tensor, "batch tokens width"], mask: Tensor | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        """The tokens after the block; where `mask` is false, a token is not attended to."""
        heads = self.qkv(self.norm_1(tokens)).unflatten(2, (3, self.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        tokens = tokens + self.dropout(self.project(seen.transpose(1, 2).flatten(2)))
        output: Tensor = tokens + self.dropout(self.mlp(self.norm_2(tokens)))
        return output


def initialise(module: nn.Module) -> None:
    """Weights of a transformer's layers, as DeiT has them."""
    if isinstance(module, nn.Linear | nn.Conv3d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
