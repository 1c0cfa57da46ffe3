"""The settings of the method, checked before anything is built. Imports no torch."""

import difflib
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from adassl.traits import TRAITS

BackboneName = Literal[
    "mlp",
    "conv3d",
    "conv3d_pooled",
    "resnet18",
    "resnet50",
    "frames_resnet18",
    "r2plus1d_18",
    "vit_ti",
    "vit_s",
    "vit_b",
    "transformers",
    "text_transformer",
]
ObjectiveName = Literal[
    "infonce",
    "aninfonce",
    "hinfonce",
    "triplet",
    "byol",
    "simsiam",
    "swav",
    "dino",
    "barlow_twins",
    "vicreg",
    "simple",
    "lejepa",
    "visreg",
    "frossl",
    "mmcr",
]
LatentName = Literal["none", "variational", "sparse", "given"]
EditorName = Literal["identity", "mlp", "residual", "additive", "low_rank", "slots", "attention"]
EmaSchedule = Literal["cosine", "constant"]
SurrogateForm = Literal["target_only", "both"]
Encoders = Literal["shared", "separate"]
LatentDim = int | Literal["auto"]
LARGEST_LATENT = 32
"""Dimensions of r at the start of a training that finds their number."""
PartName = Literal["backbone", "projector", "editor", "latent", "predictor", "objective"]


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """Which objective, latent and editor, and their numbers.

    `latent="none"` with `editor="identity"` is the plain baseline, the objective as published;
    `latent="none"` with any editor but "additive" is the no-r control: the same editor, fed
    with the context alone. A number that the objective does not use is ignored, so that changing
    `objective` is all it takes; an ablation switch that it does not have is refused.

    Attributes:
        objective: negatives: "infonce" (NT-Xent), "aninfonce" (one learnt weight a dimension),
            "hinfonce" (weights predicted from the context), "triplet"; distillation: "byol"
            (regression onto an EMA target, a predictor), "simsiam" (no EMA), "dino"; assignment to
            prototypes: "swav"; statistics of the batch: "barlow_twins", "vicreg", "simple",
            "lejepa" (prediction and SIGReg), "visreg", "frossl", "mmcr".
        latent: "none", "variational" (AdaSSL-V), "sparse" (AdaSSL-S) or "given" (r comes with the
            views and costs nothing: what the true r would reach).
        editor: t(f(x), r): "identity", "mlp", "residual", "additive" or "low_rank"; "slots" and
            "attention" cut z and r into parts: each part of z is moved by its own part of r, or by
            what it attends to of all of them.
        latent_dim: dimensions of r; also the rank of the low-rank editor. "auto": it starts with 32
            (with the additive editor `embedding_dim`), and those that carry nothing are switched
            off while it trains (`adassl.latent_size`).
        beta: final weight of the regulariser of r, in nats of loss per nat of KL (per active
            dimension for "sparse"). 0.1 to 0.8 with infonce, far less with byol.
        beta_warmup_steps: optimiser steps over which beta rises linearly from 0.
        free_nats: nats of mean KL below which a variational r costs nothing: free bits.
        active_rate: share of the pairs in which each dimension of a sparse r should be active: beta
            then weighs, in nats, how far each is from that; 0: the expected number of active ones,
            as the paper has it. With byol, which leaves most off, 0.25.
        prior_components: Gaussians in the prior of a variational r; above 1 they are a mixture.
        surrogate_form: what is done with x++ where the views bring it: "target_only": the posterior
            reads it in the place of x+, in the forward direction only; "both": extra views of x and
            x+, each read in its own direction, with a gradient and by the online encoder, as in the
            authors' code.
        reverse: False: the forward direction only, x to x+, as x++ brings it with
            surrogate_form="target_only"; the control without x++ (ablation).
        encoders: "shared": one for context and target; "separate": the target has an encoder of its
            own, with its own projector, such as a caption beside an image; for objectives that
            compare with the online encoder.
        temperature: divides the similarities of infonce, aninfonce and hinfonce, and with
            prototypes those of swav and of dino's student.
        same_video_negative_weight: weight of negatives from the anchor's own video in infonce,
            aninfonce, hinfonce and triplet; 1 = as any other, 0 = left out.
        ema_momentum: momentum of the target network of byol and dino, at step 0 or throughout; 0
            throughout: no EMA, the target is the online encoder behind a stop-gradient.
        ema_schedule: "cosine": it reaches 1 at the last step; "constant": it stays.
        triplet_margin: by how much a negative must be further off than the positive, in squared
            distance of unit vectors (0 to 4).
        num_prototypes: directions that swav and dino sort embeddings by; dino's authors have
            65536 on ImageNet.
        sinkhorn_epsilon: smoothness of swav's codes; the smaller, the nearer to one prototype.
        sinkhorn_iterations: rounds of balancing swav's codes.
        queue_size: latest pairs of the global batch that help balance swav's codes; 0 = none.
        teacher_temperature: divides the similarities of dino's teacher once warmed up.
        teacher_temperature_start: the same at step 0.
        teacher_temperature_warmup_steps: optimiser steps on the linear way between the two.
        centre_momentum: momentum of the centre that is taken off the scores of dino's teacher.
        off_diagonal_weight: weight of barlow_twins's off-diagonal correlations, its lambda.
        invariance_weight: weight of vicreg's mean squared difference of the two views.
        variance_weight: weight of vicreg's hinge on each dimension's standard deviation.
        covariance_weight: weight of vicreg's squared covariances.
        centre_weight: weight of the squared length of the centre in simple, where 0 leaves the
            alignment alone, which collapses; and of the squared mean in visreg.
        sigreg_weight: weight of lejepa's SIGReg beside its prediction, the authors' lambda /
            (1 - lambda); 0 = prediction alone, which collapses.
        scale_weight: weight of visreg's standard deviations beside its prediction.
        shape_weight: weight of visreg's sketched shape, its sliced Wasserstein distance.
        num_projections: random directions of lejepa and visreg in a step.
        frobenius_weight: weight of frossl's norms beside its alignment; 0 = alignment alone, which
            collapses.
        predictor: False: byol or simsiam without their predictor (ablation).
        stop_gradient: False: simsiam with a gradient through its target too (ablation).
        centring: False: dino without its centre (ablation).
        nuclear: False: mmcr by the Frobenius norm, alignment alone (ablation).
        embedding_dim: dimensions of z, where r is inferred, the edit is done and the loss is taken.
        projector_hidden_dims: hidden layer sizes from representation to embedding.
        predictor_hidden_dims: hidden layer sizes of the predictor of byol and simsiam.
        latent_hidden_dims: hidden layer sizes of the posterior, the prior and the sparse module,
            and of the weights of hinfonce.
        editor_hidden_dims: hidden layer sizes of the MLP of every editor but identity, additive and
            low_rank.
        editor_slots: parts into which the slots and attention editors cut z and r, whose sizes it
            must divide.

    Raises:
        ValueError: a value breaks its rule; the message says the value, the rule and the remedy.
    """

    objective: ObjectiveName = "infonce"
    latent: LatentName = "variational"
    editor: EditorName = "mlp"
    latent_dim: LatentDim = 16
    beta: float = 0.1
    beta_warmup_steps: int = 1_000
    free_nats: float = 0.0
    active_rate: float = 0.0
    prior_components: int = 1
    surrogate_form: SurrogateForm = "target_only"
    reverse: bool = True
    encoders: Encoders = "shared"
    temperature: float = 0.1
    same_video_negative_weight: float = 1.0
    ema_momentum: float = 0.996
    ema_schedule: EmaSchedule = "cosine"
    triplet_margin: float = 0.2
    num_prototypes: int = 3_000
    sinkhorn_epsilon: float = 0.05
    sinkhorn_iterations: int = 3
    queue_size: int = 0
    teacher_temperature: float = 0.07
    teacher_temperature_start: float = 0.04
    teacher_temperature_warmup_steps: int = 1_000
    centre_momentum: float = 0.9
    off_diagonal_weight: float = 0.005
    invariance_weight: float = 25.0
    variance_weight: float = 25.0
    covariance_weight: float = 1.0
    centre_weight: float = 1.0
    sigreg_weight: float = 0.05
    scale_weight: float = 1.0
    shape_weight: float = 1.0
    num_projections: int = 256
    frobenius_weight: float = 1.0
    predictor: bool = True
    stop_gradient: bool = True
    centring: bool = True
    nuclear: bool = True
    embedding_dim: int = 128
    projector_hidden_dims: tuple[int, ...] = (256,)
    predictor_hidden_dims: tuple[int, ...] = (256,)
    latent_hidden_dims: tuple[int, ...] = (128,)
    editor_hidden_dims: tuple[int, ...] = (256,)
    editor_slots: int = 4

    @property
    def latent_size(self) -> int:
        """Dimensions of r at the start of a training, which all of its modules have."""
        if self.latent_dim != "auto":
            return self.latent_dim
        return self.embedding_dim if self.editor == "additive" else LARGEST_LATENT

    @property
    def has_predictor(self) -> bool:
        """Whether an MLP answers between the edit and the comparison."""
        return TRAITS[self.objective].predictor and self.predictor

    def __post_init__(self) -> None:
        _check_choice("objective", self.objective, get_args(ObjectiveName))
        _check_choice("latent", self.latent, get_args(LatentName))
        _check_choice("editor", self.editor, get_args(EditorName))
        _check_choice("ema_schedule", self.ema_schedule, get_args(EmaSchedule))
        _check_choice("surrogate_form", self.surrogate_form, get_args(SurrogateForm))
        _check_choice("encoders", self.encoders, get_args(Encoders))
        self._check_numbers()
        self._check_objective()
        if not self.reverse and self.surrogate_form == "both":
            raise ValueError(
                "reverse=False with surrogate_form='both': both surrogates serve both directions; "
                "leave reverse=True, or choose surrogate_form='target_only'"
            )
        self._check_editor()
        self._check_regulariser()

    def check_chains(self) -> None:
        """See that chains of more than two moments can be trained (`adassl.chains`).

        Raises:
            ValueError: they cannot; the message says why and the remedy.
        """
        named = f"chains with objective={self.objective!r}"
        if TRAITS[self.objective].assigns:
            raise ValueError(
                f"{named}: it compares assignments to prototypes, so nothing is edited that could "
                "be edited again; choose another objective, or pairs"
            )
        if not TRAITS[self.objective].chains:
            raise ValueError(
                f"{named}: its weights are predicted from an embedding that is not edited, which "
                "after the first step there is none of; choose infonce or aninfonce, or pairs"
            )
        if self.editor == "identity":
            raise ValueError(
                "chains with editor='identity': it would leave x_1 as it is at every step; choose "
                "another editor, with latent='none' for the control without r, or pairs"
            )
        if self.latent == "given":
            raise ValueError(
                "chains with latent='given': the views bring the r of one step; choose another "
                "latent, or pairs"
            )
        if self.encoders == "separate":
            raise ValueError(
                "chains with encoders='separate': the moments of a chain are of one kind; set "
                "encoders='shared', or choose pairs"
            )
        if self.surrogate_form == "both":
            raise ValueError(
                "chains with surrogate_form='both': chains have no surrogates; choose "
                "surrogate_form='target_only', or pairs"
            )

    def _check_numbers(self) -> None:
        dim: Any = self.latent_dim
        good = dim == "auto" or (isinstance(dim, int) and dim >= 1)
        _require(good, self, "latent_dim", "must be at least 1, or 'auto'")
        for name in (
            *("embedding_dim", "prior_components", "sinkhorn_iterations", "num_projections"),
            "editor_slots",
        ):
            _require(getattr(self, name) >= 1, self, name, "must be at least 1")
        for name in (
            *("beta", "beta_warmup_steps", "free_nats"),
            *("same_video_negative_weight", "queue_size", "teacher_temperature_warmup_steps"),
            *("off_diagonal_weight", "centre_weight"),
            *("invariance_weight", "variance_weight", "covariance_weight"),
            *("sigreg_weight", "scale_weight", "shape_weight", "frobenius_weight"),
        ):
            _require(getattr(self, name) >= 0, self, name, "must not be negative")
        for name, usual in (
            ("temperature", "0.05 to 0.2"),
            ("teacher_temperature", "0.04 to 0.07"),
            ("teacher_temperature_start", "0.04"),
            ("sinkhorn_epsilon", "0.03 to 0.05"),
            ("triplet_margin", "0.2"),
        ):
            rule = f"must be positive; {usual} is usual"
            _require(getattr(self, name) > 0, self, name, rule)
        for name, usual in (("ema_momentum", "0.99 to 0.999"), ("centre_momentum", "0.9")):
            rule = f"must lie in [0, 1]; {usual} is usual"
            _require(0 <= getattr(self, name) <= 1, self, name, rule)
        rule = "must lie in [0, 1); 0.25 is usual, 0 turns it off"
        _require(0 <= self.active_rate < 1, self, "active_rate", rule)
        rule = "must be at least 2; with one all pairs are assigned alike"
        _require(self.num_prototypes >= 2, self, "num_prototypes", rule)
        for name in ("projector", "predictor", "latent", "editor"):
            field = f"{name}_hidden_dims"
            sizes: Any = getattr(self, field)
            # A string such as "256-256" iterates too, so the type is checked too, not only >= 1.
            good = isinstance(sizes, tuple) and all(isinstance(s, int) and s >= 1 for s in sizes)
            _require(good, self, field, "must be a tuple of positive integers, such as (256, 256)")

    def _check_objective(self) -> None:
        if self.encoders == "separate":
            if TRAITS[self.objective].target != "online":
                online = ", ".join(n for n, traits in TRAITS.items() if traits.target == "online")
                raise ValueError(
                    f"encoders='separate' with objective={self.objective!r}: its target is a copy "
                    "or a constant of one encoder, of which there would be two; choose "
                    f"objective={online}, or leave encoders='shared'"
                )
            if self.surrogate_form == "both":
                raise ValueError(
                    "encoders='separate' with surrogate_form='both': not built; choose "
                    "surrogate_form='target_only', or leave encoders='shared'"
                )
        if TRAITS[self.objective].assigns:
            for name, plain in (("latent", "none"), ("editor", "identity")):
                if getattr(self, name) != plain:
                    raise ValueError(
                        f"{name}={getattr(self, name)!r} with objective={self.objective!r}: it "
                        "compares assignments to prototypes, not an edited context with a target; "
                        "set latent='none' and editor='identity', or choose another objective"
                    )
        for name, owners in (
            ("predictor", tuple(n for n, traits in TRAITS.items() if traits.predictor)),
            ("stop_gradient", ("simsiam",)),
            ("centring", ("dino",)),
            ("nuclear", ("mmcr",)),
        ):
            if not getattr(self, name) and self.objective not in owners:
                raise ValueError(
                    f"{name}=False with objective={self.objective!r}: only "
                    f"{' and '.join(owners)} can be without; leave {name}=True, or choose "
                    f"objective={owners[0]!r}"
                )

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
        if self.editor == "additive" and self.latent_size != self.embedding_dim:
            raise ValueError(
                f"latent_dim={self.latent_dim} with editor='additive': t = f(x) + r needs "
                f"latent_dim to equal embedding_dim={self.embedding_dim}; set "
                f"latent_dim={self.embedding_dim} or 'auto', or choose editor='mlp' or 'low_rank'"
            )
        if self.editor in ("slots", "attention"):
            self._check_slots()

    def _check_slots(self) -> None:
        sizes = {"embedding_dim": self.embedding_dim}
        if self.latent != "none":
            sizes["latent_dim"] = self.latent_size
        for name, size in sizes.items():
            if size % self.editor_slots:
                raise ValueError(
                    f"{name}={size} with editor={self.editor!r}: it is cut into "
                    f"editor_slots={self.editor_slots} equal parts; set {name} to a multiple of "
                    f"{self.editor_slots}, or editor_slots to {math.gcd(*sizes.values())}"
                )

    def _check_regulariser(self) -> None:
        if self.latent == "none":
            return  # as beta, so that the control is a recipe with this one setting changed
        if self.latent == "given" and self.latent_dim == "auto":
            raise ValueError(
                "latent_dim='auto' with latent='given': the views bring an r of one size; set "
                "latent_dim to that"
            )
        variational, sparse = self.latent == "variational", self.latent == "sparse"
        rules = (
            ("free_nats", 0.0, variational, "variational", "a KL"),
            ("prior_components", 1, variational, "variational", "a prior"),
            ("active_rate", 0.0, sparse, "sparse", "probabilities of being active"),
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
