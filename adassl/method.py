"""AdaSSL in one step: encode the views, infer r, edit the context, compare with the target.

    L = L_ssl(t(f(x), r), f(x+)) + beta * L_reg(r),   r ~ q(r | f(x), f(x+ or x++))

f is backbone and projector; r and the editor t act on its embeddings (arXiv 2602.02381).
"""

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from adassl.backbones import Backbone
from adassl.collectives import rank, world_size
from adassl.config import MethodConfig
from adassl.directions import Directions, encode_local, encode_online, encode_with_network
from adassl.editors import Editor, build_editor
from adassl.ema import update_ema
from adassl.encoder import Embeddings, Encoder
from adassl.heads import build_mlp
from adassl.latents import GivenLatent, Latent, LatentSample, build_latent
from adassl.objectives.aninfonce import Weights, build_weights
from adassl.objectives.build import build_objective
from adassl.objectives.objective import Comparison, Objective
from adassl.regularisers import free_bits, use_entropy
from adassl.schedules import beta_warmup, ema_momentum
from adassl.traits import TRAITS
from adassl.views import Views

__all__ = ["Embeddings", "Method", "MethodConfig", "StepOutput", "build_method"]


@dataclass(frozen=True, kw_only=True)
class StepOutput:
    """One forward pass of `Method`. All but the loss is detached and of this worker's rows.

    Attributes:
        loss: what to differentiate; a mean over this worker's rows, for DDP to average.
        terms: float32 scalars: "loss", "ssl", "beta", and "kl" (variational, nats, whether free or
            not) or "l0" (sparse, active dimensions), before beta; with a `use_entropy_weight` also
            "use_entropy" (nats, of the global batch), before it.
        context: unit embeddings of x by the online encoder.
        target: unit embeddings of x+ that `prediction` is held against: the target network's for
            byol and dino, else the online encoder's.
        edited: unit vectors of t(f(x), r), before the predictor where there is one.
        prediction: the unit vectors held against the target: the predictor's answer to
            t(f(x), r) where there is one (byol, simsiam), else `edited`.
        latent: r of the forward direction, None without one.
    """

    loss: Float[Tensor, ""]
    terms: dict[str, Tensor]
    context: Float[Tensor, "batch dim"]
    target: Float[Tensor, "batch dim"]
    edited: Float[Tensor, "batch dim"]
    prediction: Float[Tensor, "batch dim"]
    latent: LatentSample | None


class Method(nn.Module):
    """The objective with its latent and editor. The loss is computed in `forward`, so DDP wraps it.

    Every trainable parameter takes part in every step, at beta = 0 too, so DDP needs no
    `find_unused_parameters`. No counter hides in it: the step number and the noise come from
    outside.

    Use `build_method` to make one.
    """

    def __init__(
        self,
        *,
        config: MethodConfig,
        encoder: Encoder,
        editor: Editor,
        latent: Latent | None,
        weights: Weights | None,
        predictor: nn.Module,
        target_encoder: Encoder | None,
        objective: Objective,
    ) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.editor = editor
        self.latent = latent
        self.weights = weights
        self.predictor = predictor
        self.target_encoder = target_encoder
        self.objective = objective

    @property
    def has_futures(self) -> bool:
        """Whether `futures` can answer; a sparse or a given latent has no prior to draw from."""
        return self.latent is None or self.latent.has_prior

    def forward(
        self, views: Views, *, step: int, generator: torch.Generator | None = None
    ) -> StepOutput:
        """Loss of one batch.

        Without a surrogate both directions, x to x+ and x+ to x, are averaged. With one only the
        forward direction is used: x has no surrogate of its own, so in reverse r could copy it.

        Args:
            views: the pairs; every worker the same number of them. With latent="given" they bring
                r, which the reverse direction takes as -r.
            step: optimiser steps done so far; beta depends on it.
            generator: source of all noise. Seed it alike on every worker: the noise of the global
                batch is drawn and each worker takes every n-th row of it, from its rank on. Where
                the pairs are dealt out so too, a pair's noise is the same on any number of
                workers. None: torch's global generator.

        Raises:
            ValueError: `views.latent` is missing, of the wrong size, or not asked for, or
                `views.local` is not.
        """
        batch = views.context.shape[0]
        self._check(views)
        directions = self._encode_pairs(views)
        latent = self._sample_latent(directions, views, generator)
        edited = self.editor(directions.source, None if latent is None else latent.value)
        prediction = self.predictor(edited)
        comparison = Comparison(
            prediction=prediction,
            source=directions.source,
            destination=directions.destination,
            weights=None if self.weights is None else self.weights(directions.source),
            local=encode_local(self.encoder, views),
            group=views.group,
        )
        ssl: Tensor = self.objective(comparison, step=step)
        loss, terms = self._total(ssl, latent, step)
        return StepOutput(
            loss=loss,
            terms=terms,
            context=_unit(directions.source[:batch].detach()),
            target=_unit(directions.destination[:batch].detach()),
            edited=_unit(edited[:batch].detach()),
            prediction=_unit(prediction[:batch].detach()),
            latent=None if latent is None else latent.first(batch),
        )

    def _check(self, views: Views) -> None:
        if isinstance(self.latent, GivenLatent):
            self.latent.check(views.latent, len(views.group))
        elif views.latent is not None:
            raise ValueError(
                f"views.latent is set with latent={self.config.latent!r}, which would ignore it; "
                "choose latent='given', or leave views.latent=None"
            )
        if views.local is not None and not TRAITS[self.config.objective].assigns:
            raise ValueError(
                f"views.local is set with objective={self.config.objective!r}, which compares "
                "pairs alone; choose swav or dino, or leave views.local=None"
            )

    def _encode_pairs(self, views: Views) -> Directions:
        if self.target_encoder is not None:
            return encode_with_network(self.encoder, self.target_encoder, views)
        directions = encode_online(self.encoder, views)
        return directions.stopped() if self.config.stops_gradient else directions

    def _sample_latent(
        self, directions: Directions, views: Views, generator: torch.Generator | None
    ) -> LatentSample | None:
        if self.latent is None:
            return None
        num_directions = len(directions.source) // len(views.group)
        sample: LatentSample
        if isinstance(self.latent, GivenLatent):
            sample = self.latent(views.latent, both=num_directions == 2)
            return sample
        shape = (num_directions, world_size() * len(views.group))
        noise = self.latent.draw_noise(shape, generator=generator, device=directions.source.device)
        local = noise[:, rank() :: world_size()].flatten(0, 1)
        sample = self.latent(directions.source, directions.evidence, local)
        return sample

    def _total(
        self, ssl: Tensor, latent: LatentSample | None, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        beta = beta_warmup(step, config.beta, config.beta_warmup_steps)
        terms = {"ssl": ssl.detach(), "beta": torch.full_like(ssl, beta)}
        loss = ssl
        if latent is not None and config.latent != "given":
            penalty = latent.penalty.mean()
            terms["l0" if latent.mask is not None else "kl"] = penalty.detach()
            # Also at beta = 0, and below the free nats: the penalty alone reaches the prior, and
            # DDP waits for the prior, if only for a gradient of zero.
            loss = ssl + beta * free_bits(penalty, config.free_nats)
        if latent is not None and config.use_entropy_weight > 0:
            entropy = use_entropy(latent.penalty_per_dimension)
            terms["use_entropy"] = entropy.detach()
            loss = loss - config.use_entropy_weight * entropy
        return loss, {"loss": loss.detach(), **terms}

    def after_step(self, step: int, *, total_steps: int) -> None:
        """Moves the target network of byol and dino; call it after the optimiser's step.

        For any other objective it does nothing.

        Args:
            step: the same number that `forward` was given.
            total_steps: optimiser steps of the whole run; at its end the target stands still, if
                `ema_schedule` is "cosine".
        """
        if self.target_encoder is not None:
            momentum = self.config.ema_momentum
            if self.config.ema_schedule == "cosine":
                momentum = ema_momentum(step, momentum, total_steps)
            update_ema(self.target_encoder, self.encoder, momentum)
            self.objective.move_target(momentum)

    def encode(self, clips: Float[Tensor, "batch channels frames height width"]) -> Embeddings:
        """Representation h and embedding z by the online encoder, not normalised."""
        embeddings: Embeddings = self.encoder(clips)
        return embeddings

    def embed(
        self, clips: Float[Tensor, "batch channels frames height width"]
    ) -> Float[Tensor, "batch representation"]:
        """Representation h: what downstream tasks use."""
        representation: Tensor = self.encoder.backbone(clips)
        return representation

    def encode_target(
        self, clips: Float[Tensor, "batch channels frames height width"]
    ) -> Float[Tensor, "batch dim"]:
        """Unit embeddings that futures are compared with: by the target network, else by f."""
        encoder = self.target_encoder or self.encoder
        return _unit(encoder(clips).embedding)

    def edit(
        self,
        context_embedding: Float[Tensor, "batch dim"],
        latent: Float[Tensor, "batch latent"] | None,
    ) -> Float[Tensor, "batch dim"]:
        """t(f(x), r), not normalised, before the predictor."""
        edited: Tensor = self.editor(context_embedding, latent)
        return edited

    @torch.no_grad()
    def futures(
        self,
        clips: Float[Tensor, "batch channels frames height width"],
        num_samples: int,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "samples batch dim"]:
        """What may follow each clip: unit vectors to hold against `encode_target` of other clips.

        r ~ p(r | x), then edited (and predicted, where there is a predictor). A method without r
        has one future, which is repeated. Call it in evaluation mode.

        Raises:
            NotImplementedError: the latent has no prior (see `has_futures`).
        """
        context = self.encode(clips).embedding
        if self.latent is None:
            only = _unit(self.predictor(self.edit(context, None)))
            return only.expand(num_samples, -1, -1)
        latents = self.latent.sample_prior(context, num_samples, generator)
        edited = self.edit(context.repeat(num_samples, 1), latents.flatten(0, 1))
        return _unit(self.predictor(edited)).reshape(num_samples, *context.shape)


def build_method(config: MethodConfig, backbone: Backbone) -> Method:
    """The method of a config around a backbone, initialised from torch's global generator.

    The target network of byol and dino is a copy that needs no gradient; it is in the state dict,
    and no optimiser of `adassl.optim` takes it.
    """
    dim = config.embedding_dim
    projector = build_mlp(backbone.output_dim, config.projector_hidden_dims, dim)
    encoder = Encoder(backbone, projector)
    predictor: nn.Module = nn.Identity()
    if config.has_predictor:
        predictor = build_mlp(dim, config.predictor_hidden_dims, dim)
    target_encoder = None
    if TRAITS[config.objective].target == "network":
        target_encoder = copy.deepcopy(encoder).requires_grad_(False)
    return Method(
        config=config,
        encoder=encoder,
        editor=build_editor(config),
        latent=build_latent(config),
        weights=build_weights(config),
        predictor=predictor,
        target_encoder=target_encoder,
        objective=build_objective(config),
    )


def _unit(embedding: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
    return normalize(embedding.float(), dim=-1)
