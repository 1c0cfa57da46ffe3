"""A small transformer over the tokens of a text."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from adassl.vit import TransformerBlock, initialise

PADDING = 0
"""The id that stands where a text has ended."""
WIDTHS = (256, 256, 256, 256)


class TextTransformer(nn.Module):
    """Token ids to the mean of the tokens after the last norm; padding neither attends nor counts.

    The first place is always read, so that an empty text has a representation, too.

    Args:
        vocabulary: ids are below it; 0 is padding.
        max_tokens: of a text.
        width: of a token.
        depth: number of blocks.
        num_heads: of the attention; divides the width.
        dropout: share of the embeddings, and of what attention and MLP add, that is left out in
            training: what makes two views of one text differ.
    """

    def __init__(
        self,
        vocabulary: int,
        max_tokens: int,
        *,
        width: int,
        depth: int,
        num_heads: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.positions = nn.Parameter(torch.empty(max_tokens, width))
        self.blocks = nn.ModuleList(
            TransformerBlock(width, num_heads, dropout) for _ in range(depth)
        )
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)
        self.apply(initialise)
        nn.init.trunc_normal_(self.positions, std=0.02)
        with torch.no_grad():
            nn.init.trunc_normal_(self.embed.weight, std=0.02)[PADDING] = 0

    def tokens(self, ids: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch tokens dim"]:
        """The tokens after the last norm, padding among them."""
        tokens = self.dropout(self.embed(ids) + self.positions[: ids.shape[1]])
        mask = _is_read(ids)[:, None, None]
        for block in self.blocks:
            tokens = block(tokens, mask)
        normed: Tensor = self.norm(tokens)
        return normed

    def forward(self, ids: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch dim"]:
        """The mean of the tokens that are no padding."""
        read = _is_read(ids)[..., None]
        tokens = self.tokens(ids)
        return (tokens * read).sum(dim=1) / read.sum(dim=1)


def _is_read(ids: Tensor) -> Tensor:
    first = torch.arange(ids.shape[1], device=ids.device) == 0
    return (ids != PADDING) | first
