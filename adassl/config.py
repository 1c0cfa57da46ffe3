"""The settings of the method, checked before anything is built. Imports no torch."""

import difflib
from dataclasses import dataclass
from typing import Any, Literal, get_args

BackboneName = Literal["mlp", "conv3d", "conv3d_pooled", "resnet18", "resnet50"]
ObjectiveName = Literal["infonce", "aninfonce", "hinfonce", "byol"]
LatentName = Literal["none", "variational", "sparse", "given"]
EditorName = Literal["identity", "mlp", "residual", "additive", "low_rank"]


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """Which objective, latent and editor, and their numbers.

    `latent="none"` with `editor="identity"` is the plain baseline (SimCLR or BYOL);
    `latent="none"` with any editor but "additive" is the no-r control: the same editor, fed
    with the context alone.

    Attributes:
        objective: "infonce" (NT-Xent), "aninfonce" (one learnt weight a dimension), "hinfonce"
            (weights predicted from the context) or "byol" (regression onto an EMA target, a
            predictor).
        latent: "none", "variational" (AdaSSL-V), "sparse" (AdaSSL-S) or "given" (r comes with the
            views and costs nothing: what the true r would reach).
        editor: t(f(x), r): "identity", "mlp", "residual", "additive" or "low_rank".
        latent_dim: dimensions of r; also the rank of the low-rank editor.
        beta: final weight of the regulariser of r, in nats of loss per nat of KL (per active
            dimension for "sparse"). 0.1 to 0.8 with infonce, far less with byol.
        beta_warmup_steps: optimiser steps over which beta rises linearly from 0.
        free_nats: nats of mean KL below which a variational r costs nothing: free bits.
        prior_components: Gaussians in the prior of a variational r; above 1 they are a mixture.
        use_entropy_weight: nats of loss taken off per nat of H(rho), the entropy of the shares in
            which a sparse r uses its dimensions; not warmed up as beta is.
        temperature: divides the similarities of infonce, aninfonce and hinfonce.
        same_video_negative_weight: weight of negatives from the anchor's own video in those three;
            1 = as any other, 0 = left out.
        ema_momentum: momentum of byol's target network at step 0; it reaches 1 at the last.
        embedding_dim: dimensions of z, where r is inferred, the edit is done and the loss is taken.
        projector_hidden_dims: hidden layer sizes from representation to embedding.
        predictor_hidden_dims: hidden layer sizes of byol's predictor.
        latent_hidden_dims: hidden layer sizes of the posterior, the prior and the sparse module,
            and of the weights of hinfonce.
        editor_hidden_dims: hidden layer sizes of the mlp and residual editors.

    Raises:
        ValueError: a value breaks its rule; the message says the value, the rule and the remedy.
    """

    objective: ObjectiveName = "infonce"
    latent: LatentName = "variational"
    editor: EditorName = "mlp"
    latent_dim: int = 16
    beta: float = 0.1
    beta_warmup_steps: int = 1_000
    free_nats: float = 0.0
    prior_components: int = 1
    use_entropy_weight: float = 0.0
    temperature: float = 0.1
    same_video_negative_weight: float = 1.0
    ema_momentum: float = 0.996
    embedding_dim: int = 128
    projector_hidden_dims: tuple[int, ...] = (256,)
    predictor_hidden_dims: tuple[int, ...] = (256,)
    latent_hidden_dims: tuple[int, ...] = (128,)
    editor_hidden_dims: tuple[int, ...] = (256,)

    def __post_init__(self) -> None:
        _check_choice("objective", self.objective, get_args(ObjectiveName))
        _check_choice("latent", self.latent, get_args(LatentName))
        _check_choice("editor", self.editor, get_args(EditorName))
        self._check_numbers()
        self._check_editor()
        self._check_regulariser()

    def _check_numbers(self) -> None:
        for name in ("latent_dim", "embedding_dim", "prior_components"):
            _require(getattr(self, name) >= 1, self, name, "must be at least 1")
        for name in (
            *("beta", "beta_warmup_steps", "free_nats", "use_entropy_weight"),
            "same_video_negative_weight",
        ):
            _require(getattr(self, name) >= 0, self, name, "must not be negative")
        _require(
            self.temperature > 0, self, "temperature", "must be positive; 0.05 to 0.2 is usual"
        )
        _require(
            0 <= self.ema_momentum <= 1,
            self,
            "ema_momentum",
            "must lie in [0, 1]; 0.99 to 0.999 is usual",
        )
        for name in ("projector", "predictor", "latent", "editor"):
            field = f"{name}_hidden_dims"
            sizes: Any = getattr(self, field)
            # A string such as "256-256" iterates too, so the type is looked at and not only >= 1.
            good = isinstance(sizes, tuple) and all(isinstance(s, int) and s >= 1 for s in sizes)
            _require(good, self, field, "must be a tuple of positive integers, such as (256, 256)")

    def _check_editor(self) -> None:
        if self.latent != "none" and self.editor == "identity":
            raise ValueError(
                f"latent={self.latent!r} with editor='identity': the identity ignores r; choose "
                "editor='mlp', 'additive' or 'low_rank', or latent='none' for the plain baseline"
            )
        if self.editor == "additive" and self.latent == "none":
            raise ValueError(
                "editor='additive' with latent='none': without r there is nothing to add; choose "
                "editor='identity' for the plain baseline, or 'mlp' or 'low_rank' for the control"
            )
        if self.editor == "additive" and self.latent_dim != self.embedding_dim:
            raise ValueError(
                f"latent_dim={self.latent_dim} with editor='additive': t = f(x) + r needs "
                f"latent_dim to equal embedding_dim={self.embedding_dim}; set "
                f"latent_dim={self.embedding_dim}, or choose editor='mlp' or 'low_rank'"
            )

    def _check_regulariser(self) -> None:
        if self.latent == "none":
            return  # as beta, so that the control is a recipe with this one setting changed
        variational, sparse = self.latent == "variational", self.latent == "sparse"
        rules = (
            ("free_nats", 0.0, variational, "variational", "a KL"),
            ("prior_components", 1, variational, "variational", "a prior"),
            ("use_entropy_weight", 0.0, sparse, "sparse", "probabilities of being active"),
        )
        for name, off, allowed, latent, what in rules:
            if getattr(self, name) != off and not allowed:
                raise ValueError(
                    f"{name}={getattr(self, name)} with latent={self.latent!r}: only "
                    f"latent={latent!r} has {what}; choose it, or leave {name}={off}"
                )


def _require(condition: bool, config: MethodConfig, name: str, rule: str) -> None:
    if not condition:
        raise ValueError(f"{name}={getattr(config, name)!r}: {rule}")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        nearest = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.4)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"{name}={value!r}: must be one of {', '.join(choices)}{hint}")
