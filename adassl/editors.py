"""Editors t(f(x), r): move the context's embedding by what r says about the target.

AdaSSL (arXiv 2602.02381). Each takes `latent=None` where it can work without r: that is the control
which shows what r itself contributes, apart from the editor's own capacity.
"""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adassl.heads import build_mlp
from adassl.shapes import require_shape


class IdentityEditor(nn.Module):
    """t = f(x): no edit. With it the method is its plain baseline."""

    def forward(
        self,
        embedding: Float[Tensor, "batch dim"],
        latent: Float[Tensor, "batch latent"] | None,
    ) -> Float[Tensor, "batch dim"]:
        """The embedding itself.

        Raises:
            ValueError: a latent is given, which would be ignored.
        """
        if latent is not None:
            raise ValueError(
                "the identity editor ignores r: pass latent=None or use another editor"
            )
        return embedding


def check(embedding: Tensor, latent: Tensor | None, embedding_dim: int, latent_dim: int) -> None:
    """Refuse shapes that do not fit an editor.

    Raises:
        ValueError: names what came and the remedy.
    """
    remedy = "pass embeddings of that size, or build the editor with theirs as embedding_dim"
    require_shape(embedding, (None, embedding_dim), name="embedding", remedy=remedy)
    if latent is not None:
        remedy = "pass an r of that size, or build the editor with its size as latent_dim"
        require_shape(latent, (len(embedding), latent_dim), name="latent", remedy=remedy)


class MLPEditor(nn.Module):
    """t = MLP([f(x), r]), or MLP(f(x)) as the control without r.

    Not residual, as in the paper. On a numerical toy (one seed each) residual ones, initialised
    at zero or not, came to nearly the same loss and KL.

    Args:
        embedding_dim: size of an embedding.
        latent_dim: size of r; 0 for the control.
        hidden_dims: hidden layer sizes.
    """

    def __init__(
        self, embedding_dim: int, latent_dim: int, hidden_dims: Sequence[int] = (256,)
    ) -> None:
        super().__init__()
        self.embedding_dim, self.latent_dim = embedding_dim, latent_dim
        self.mlp = build_mlp(embedding_dim + latent_dim, hidden_dims, embedding_dim)

    def forward(
        self,
        embedding: Float[Tensor, "batch dim"],
        latent: Float[Tensor, "batch latent"] | None,
    ) -> Float[Tensor, "batch dim"]:
        """The edited embedding.

        Raises:
            ValueError: shapes that do not fit.
        """
        check(embedding, latent, self.embedding_dim, self.latent_dim)
        if latent is None and self.latent_dim:
            raise ValueError(
                f"latent=None: this editor was built for an r of latent_dim={self.latent_dim}; "
                "pass r, or build the control without r with latent_dim=0"
            )
        inputs = embedding if latent is None else torch.cat([embedding, latent], dim=-1)
        edited: Tensor = self.mlp(inputs)
        return edited


class ResidualEditor(MLPEditor):
    """t = f(x) + MLP([f(x), r]), or f(x) + MLP(f(x)) as the control without r.

    The MLP's last layer starts at zero, so a fresh editor is the identity. What x and x+ share then
    need not pass through the MLP: on moving digits (InfoNCE, single runs) the encoder knew the
    digit better than with `MLPEditor`.
    """

    def __init__(
        self, embedding_dim: int, latent_dim: int, hidden_dims: Sequence[int] = (256,)
    ) -> None:
        super().__init__(embedding_dim, latent_dim, hidden_dims)
        last = cast(nn.Linear, self.mlp[-1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(
        self,
        embedding: Float[Tensor, "batch dim"],
        latent: Float[Tensor, "batch latent"] | None,
    ) -> Float[Tensor, "batch dim"]:
        """The edited embedding."""
        return embedding + super().forward(embedding, latent)


class AdditiveEditor(nn.Module):
    """t = f(x) + r, with r as large as the embedding.

    Args:
        embedding_dim: size of an embedding.
        latent_dim: size of r.

    Raises:
        ValueError: the two differ.
    """

    def __init__(self, embedding_dim: int, latent_dim: int) -> None:
        super().__init__()
        if latent_dim != embedding_dim:
            raise ValueError(
                f"latent_dim={latent_dim}: the additive editor needs latent_dim to equal "
                f"embedding_dim={embedding_dim}; change one, or use the mlp or low_rank editor"
            )
        self.embedding_dim = embedding_dim

    def forward(
        self,
        embedding: Float[Tensor, "batch dim"],
        latent: Float[Tensor, "batch dim"] | None,
    ) -> Float[Tensor, "batch dim"]:
        """The edited embedding.

        Raises:
            ValueError: no latent, so nothing to add, or shapes that do not fit.
        """
        if latent is None:
            raise ValueError("the additive editor needs r; without one use the identity editor")
        check(embedding, latent, self.embedding_dim, self.embedding_dim)
        return embedding + latent


class LowRankEditor(nn.Module):
    """t = f + B (tanh(r) * (A f + a)): one rank-1 module for each dimension of r.

    B starts at zero, so a fresh editor is the identity and a fresh model the plain baseline. B has
    no bias of its own: what r switches off stays off. Without r (the control) tanh(r) is replaced
    by 1, a fixed edit of the same rank.

    Args:
        embedding_dim: size of an embedding.
        latent_dim: size of r, the rank of the edit.
    """

    def __init__(self, embedding_dim: int, latent_dim: int) -> None:
        super().__init__()
        self.embedding_dim, self.latent_dim = embedding_dim, latent_dim
        self.read = nn.Linear(embedding_dim, latent_dim)
        self.write = nn.Linear(latent_dim, embedding_dim, bias=False)
        nn.init.zeros_(self.write.weight)

    def forward(
        self,
        embedding: Float[Tensor, "batch dim"],
        latent: Float[Tensor, "batch latent"] | None,
    ) -> Float[Tensor, "batch dim"]:
        """The edited embedding.

        Raises:
            ValueError: shapes that do not fit.
        """
        check(embedding, latent, self.embedding_dim, self.latent_dim)
        strength = self.read(embedding)
        if latent is not None:
            strength = torch.tanh(latent) * strength
        edited: Tensor = embedding + self.write(strength)
        return edited


Editor = IdentityEditor | MLPEditor | AdditiveEditor | LowRankEditor
