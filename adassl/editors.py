"""Editors t(f(x), r): move the context's embedding by what r says about the target.

AdaSSL (arXiv 2602.02381). Each takes `latent=None` where it can work without r: that is the control
which shows what r itself contributes, apart from the editor's own capacity.
"""

import math
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


def check_given(latent: Tensor | None, latent_dim: int) -> None:
    """Refuse an editor that was built for r without one.

    Raises:
        ValueError: names the size and the remedy.
    """
    if latent is None and latent_dim:
        raise ValueError(
            f"latent=None: this editor was built for an r of latent_dim={latent_dim}; "
            "pass r, or build the control without r with latent_dim=0"
        )


def start_at_zero(mlp: nn.Sequential) -> None:
    """Set the last layer of an MLP to zero, so that a residual around it is the identity."""
    last = cast(nn.Linear, mlp[-1])
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)


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
        check_given(latent, self.latent_dim)
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
        start_at_zero(self.mlp)

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


class PartsEditor(nn.Module):
    """t_i = z_i + MLP([z_i, a_i]) for each part i of z: one MLP for all parts.

    z and r are cut into as many equal parts. What a_i is that is read for a part, `read` says. The
    MLP's last layer starts at zero, so a fresh editor is the identity.

    Args:
        embedding_dim: size of an embedding.
        latent_dim: size of r; 0 for the control without r.
        num_slots: parts of either.

    Raises:
        ValueError: a size cannot be cut into so many equal parts.
    """

    mlp: nn.Sequential

    def __init__(self, embedding_dim: int, latent_dim: int, num_slots: int) -> None:
        super().__init__()
        for name, size in (("embedding_dim", embedding_dim), ("latent_dim", latent_dim)):
            if num_slots < 1 or size % num_slots:
                raise ValueError(
                    f"{name}={size} with num_slots={num_slots}: an embedding and r are cut into so "
                    "many equal parts; choose sizes that it divides, or another num_slots"
                )
        self.embedding_dim, self.latent_dim, self.num_slots = embedding_dim, latent_dim, num_slots
        self.slot_dim, self.latent_slot_dim = embedding_dim // num_slots, latent_dim // num_slots

    def make_mlp(self, read_dim: int, hidden_dims: Sequence[int]) -> nn.Sequential:
        """The MLP over a part of z and what is read for it, of that size."""
        mlp = build_mlp(self.slot_dim + read_dim, hidden_dims, self.slot_dim)
        start_at_zero(mlp)
        return mlp

    def read(
        self,
        slots: Float[Tensor, "batch slots part"],
        of_latent: Float[Tensor, "batch slots latent_part"] | None,
    ) -> Float[Tensor, "batch slots read"] | None:
        """What the MLP reads beside each part of z; None: nothing."""
        raise NotImplementedError

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
        check_given(latent, self.latent_dim)
        shape = (self.num_slots, -1)
        slots = embedding.unflatten(1, shape)
        read = self.read(slots, None if latent is None else latent.unflatten(1, shape))
        inputs = slots if read is None else torch.cat([slots, read], dim=-1)
        edit: Tensor = self.mlp(inputs.flatten(0, 1))
        return embedding + edit.reshape(embedding.shape)


class SlotsEditor(PartsEditor):
    """Each part of z is moved by its own part of r: a_i = r_i.

    What changes on its own can so be edited on its own: part i of the edit depends on part i of z
    and of r alone.

    Args:
        embedding_dim: size of an embedding.
        latent_dim: size of r; 0 for the control without r.
        num_slots: parts of either.
        hidden_dims: hidden layer sizes of the MLP.

    Raises:
        ValueError: a size cannot be cut into so many equal parts.
    """

    def __init__(
        self,
        embedding_dim: int,
        latent_dim: int,
        num_slots: int = 4,
        hidden_dims: Sequence[int] = (256,),
    ) -> None:
        super().__init__(embedding_dim, latent_dim, num_slots)
        self.mlp = self.make_mlp(self.latent_slot_dim, hidden_dims)

    def read(
        self,
        slots: Float[Tensor, "batch slots part"],
        of_latent: Float[Tensor, "batch slots latent_part"] | None,
    ) -> Float[Tensor, "batch slots read"] | None:
        """The part of r."""
        return of_latent


class AttentionEditor(PartsEditor):
    """Part i of z attends to all parts of z and of r: a_i is what it attends to.

    The parts are tokens with a learnt place each, r's parts are brought to the size of z's, and a
    is `torch.nn.MultiheadAttention` over all of them after a LayerNorm, with up to four heads.
    Which part of r moves which part of z is learnt.

    Args:
        embedding_dim: size of an embedding.
        latent_dim: size of r; 0 for the control without r.
        num_slots: parts of either.
        hidden_dims: hidden layer sizes of the MLP.

    Raises:
        ValueError: a size cannot be cut into so many equal parts.
    """

    def __init__(
        self,
        embedding_dim: int,
        latent_dim: int,
        num_slots: int = 4,
        hidden_dims: Sequence[int] = (256,),
    ) -> None:
        super().__init__(embedding_dim, latent_dim, num_slots)
        dim = self.slot_dim
        num_tokens = num_slots * (2 if latent_dim else 1)
        self.lift = nn.Linear(self.latent_slot_dim, dim) if latent_dim else None
        self.place = nn.Parameter(torch.randn(num_tokens, dim))
        self.norm = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, math.gcd(4, dim), batch_first=True)
        self.mlp = self.make_mlp(dim, hidden_dims)

    def read(
        self,
        slots: Float[Tensor, "batch slots part"],
        of_latent: Float[Tensor, "batch slots latent_part"] | None,
    ) -> Float[Tensor, "batch slots read"] | None:
        """What each part of z attends to."""
        tokens = slots
        if self.lift is not None and of_latent is not None:
            tokens = torch.cat([slots, self.lift(of_latent)], dim=1)
        tokens = self.norm(tokens) + self.place
        read: Tensor
        read, _ = self.attention(tokens[:, : self.num_slots], tokens, tokens, need_weights=False)
        return read


Editor = IdentityEditor | MLPEditor | AdditiveEditor | LowRankEditor | SlotsEditor | AttentionEditor
