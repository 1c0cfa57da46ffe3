"""AdaSSL in one step: encode the views, infer r, edit the context, compare with the target.

    L = L_ssl(t(f(x), r), f(x+)) + beta * L_reg(r),   r ~ q(r | f(x), f(x+ or x++))

A chain of moments is the same step again and again, from the edited embedding: `adassl.chains`.
f is backbone and projector; r and the editor t act on its embeddings (arXiv 2602.02381).
"""

import copy
from typing import Any, Literal

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.nn.functional import normalize

from adassl.collectives import rank, world_size
from adassl.config import PartName, SurrogateForm
from adassl.editors import Editor, IdentityEditor
from adassl.ema import update_ema
from adassl.encoder import Embeddings, Encoder
from adassl.latents import GivenLatent, Latent, LatentSample
from adassl.objectives.objective import Objective
from adassl.pairs import EncodedPairs, Encoding, Step, encode_pairs
from adassl.regularisers import free_bits, rate_divergence
from adassl.schedules import beta_warmup, ema_momentum
from adassl.step_output import StepOutput, mean_of
from adassl.views import Views


class Method(nn.Module):
    """The objective with its latent and editor. The loss is computed in `forward`, so DDP wraps it.

    Every trainable parameter takes part in every step, at beta = 0 too, so DDP needs no
    `find_unused_parameters`. No counter hides in it: the step number and the noise come from
    outside.

    `adassl.build_method` makes one from a `MethodConfig`.

    Args:
        encoder: backbone and projector; its embeddings are those that all other parts take.
        objective: compares the edited context with the target. Where its traits ask for a target
            network, that is a copy of the encoder without gradients; it is in the state dict, and
            no optimiser of `adassl.optim` takes it.
        latent: infers r; None: there is none.
        editor: t(f(x), r); None: the identity.
        predictor: between the edit and the comparison, as byol and simsiam need it; None: none.
        beta: final weight of the regulariser of r.
        beta_warmup_steps: optimiser steps over which beta rises linearly from 0.
        free_nats: nats of mean KL below which a variational r costs nothing.
        active_rate: share of the pairs in which each dimension of a sparse r should be active, of
            which beta is then the weight; 0: as few as can be.
        reverse: whether the reverse direction, x+ to x, is used where the views allow it.
        surrogate_form: how surrogates are used; see `adassl.pairs.Encoding`.
        ema_momentum: momentum of the target network at step 0, or throughout.
        ema_schedule: "cosine": the momentum reaches 1 at the last step; "constant": it stays.
        second_encoder: encodes x+ where it is of another kind than x, such as a caption of an
            image, to embeddings of the same size; None: `encoder` does. In the reverse direction,
            one and the same editor and latent lead from its embeddings to those of `encoder`.

    Raises:
        ValueError: there is a second encoder, and the objective compares with a target network or
            a constant.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        objective: Objective,
        latent: Latent | None = None,
        editor: Editor | None = None,
        predictor: nn.Module | None = None,
        beta: float = 0.1,
        beta_warmup_steps: int = 0,
        free_nats: float = 0.0,
        active_rate: float = 0.0,
        surrogate_form: SurrogateForm = "target_only",
        reverse: bool = True,
        ema_momentum: float = 0.996,
        ema_schedule: Literal["cosine", "constant"] = "cosine",
        second_encoder: Encoder | None = None,
    ) -> None:
        super().__init__()
        if second_encoder is not None and objective.traits.target != "online":
            raise ValueError(
                f"{type(objective).__name__} with a second encoder: its target is a copy or a "
                "constant of one encoder; choose an objective that compares with the online one"
            )
        self.encoder = encoder
        self.second_encoder = second_encoder
        self.editor = editor or IdentityEditor()
        self.latent = latent
        self.predictor = predictor or nn.Identity()
        self.target_encoder: Encoder | None = None
        if objective.traits.target == "network":
            self.target_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.objective = objective
        self.beta, self.beta_warmup_steps = beta, beta_warmup_steps
        self.free_nats, self.active_rate = free_nats, active_rate
        self.ema_momentum, self.ema_schedule = ema_momentum, ema_schedule
        self.encoding = Encoding(
            stop_gradient=objective.traits.target == "stopped",
            reads_evidence=latent is not None and not isinstance(latent, GivenLatent),
            surrogate_form=surrogate_form,
            reverse=reverse,
        )
        self._frozen: tuple[PartName, ...] = ()
        self.register_load_state_dict_pre_hook(_rename_weights)  # type: ignore[no-untyped-call]

    @property
    def has_futures(self) -> bool:
        """Whether `futures` can answer; a sparse or a given latent has no prior to draw from."""
        return self.latent is None or self.latent.has_prior

    def forward(
        self, views: Views, *, step: int, generator: torch.Generator | None = None
    ) -> StepOutput:
        """Loss of one batch.

        Without a surrogate both directions, x to x+ and x+ to x, are averaged, unless `reverse` is
        False. With one it depends on `surrogate_form`.

        Args:
            views: the pairs, chains or triplets; every worker the same number of them. With a
                `GivenLatent` they bring r, which the reverse direction takes as -r.
            step: optimiser steps done so far; beta depends on it.
            generator: source of all noise. Seed it alike on every worker: the noise of the global
                batch is drawn and each worker takes every n-th row of it, from its rank on. Where
                the pairs are dealt out so too, a pair's noise is the same on any number of
                workers. None: torch's global generator.

        Raises:
            ValueError: shapes that do not fit; `views.latent` is missing, of the wrong size, or not
                used; or another view is not used, as `MethodConfig.check_chains` says of chains.
        """
        pairs = self.encode_views(views)
        edited, outputs = pairs.source, []
        for each in pairs.steps:
            latent = self._sample_latent(edited, each, views, generator)
            edited = self.editor(edited, None if latent is None else latent.value)
            ssl, prediction = self.compare(each, edited, step=step, generator=generator)
            loss, terms = self._total(ssl, latent, step)
            output = StepOutput(
                loss=loss,
                terms=terms,
                context=_unit(pairs.source[: len(views)].detach()),
                target=_unit(each.target.detach()),
                edited=_unit(edited[: len(views)].detach()),
                prediction=_unit(prediction[: len(views)].detach()),
                latent=None if latent is None else latent.first(len(views)),
            )
            outputs.append(output)
        return mean_of(outputs)

    def encode_views(self, views: Views) -> EncodedPairs:
        """The embeddings of a batch that fits the method; for errors see `forward`."""
        self._check(views)
        encoders, second = (self.encoder, self.target_encoder), self.second_encoder
        return encode_pairs(*encoders, views, self.encoding, second_encoder=second)

    def compare(
        self, each: Step, edited: Tensor, *, step: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """The loss of the edited rows of a step, and what the predictor makes of them."""
        prediction: Tensor = self.predictor(edited)
        pairs, batch = each.pairs, each.pairs.num_pairs
        ssl: Tensor = self.objective(
            prediction[:batch],
            each.target,
            context=each.context,
            edited_target=prediction[batch:] if pairs.num_directions == 2 else None,
            negative=pairs.negative,
            group=pairs.group,
            local=pairs.local,
            step=step,
            generator=generator,
        )
        return ssl, prediction

    def _check(self, views: Views) -> None:
        if self.second_encoder is None and views.target.ndim != views.context.ndim:
            raise ValueError(
                f"target of shape {tuple(views.target.shape)} beside context of shape "
                f"{tuple(views.context.shape)}: one encoder cannot read both; give the method a "
                "second_encoder, encoders='separate'"
            )
        if isinstance(self.latent, GivenLatent):
            self.latent.check(views.latent, len(views))
        elif views.latent is not None:
            name = "None" if self.latent is None else type(self.latent).__name__
            raise ValueError(
                f"views.latent is set, but the method's latent is {name}, which would ignore it; "
                "use GivenLatent, latent='given', or leave views.latent=None"
            )
        if views.further is not None:
            self._check_chains()
        if views.negative is not None and not self.objective.traits.triplets:
            raise ValueError(
                f"views.negative is set with {type(self.objective).__name__}, which takes its "
                "negatives from the batch, if any; choose triplet, or leave views.negative=None"
            )
        if views.local is not None and not self.objective.traits.assigns:
            raise ValueError(
                f"views.local is set with {type(self.objective).__name__}, which compares pairs "
                "alone; choose swav or dino, or leave views.local=None"
            )
        self.encoding.check(views)

    def _check_chains(self) -> None:
        parts = self.objective, self.editor, self.latent
        if (
            self.second_encoder is not None
            or not self.objective.traits.chains
            or isinstance(self.editor, IdentityEditor)
            or isinstance(self.latent, GivenLatent)
        ):
            names = ", ".join(type(part).__name__ for part in parts)
            raise ValueError(
                f"views.further is set with {names}: chains need an editor that edits, a latent "
                "that is inferred or None, one encoder, and an objective other than hinfonce, swav "
                "and dino; MethodConfig.check_chains says why. Or leave views.further=None"
            )

    def _sample_latent(
        self, edited: Tensor, step: Step, views: Views, generator: torch.Generator | None
    ) -> LatentSample | None:
        if self.latent is None:
            return None
        sample: LatentSample
        directions = len(edited) // len(views)
        if isinstance(self.latent, GivenLatent):
            sample = self.latent(views.latent, both=directions == 2)
            return sample
        shape = (directions, world_size() * len(views))
        noise = self.latent.draw_noise(shape, generator=generator, device=edited.device)
        local = noise[:, rank() :: world_size()].flatten(0, 1)
        sample = self.latent(edited, step.evidence, local)
        return sample

    def _total(
        self, ssl: Tensor, latent: LatentSample | None, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        beta = beta_warmup(step, self.beta, self.beta_warmup_steps)
        terms = {"ssl": ssl.detach(), "beta": torch.full_like(ssl, beta)}
        loss = ssl
        if latent is not None and not isinstance(self.latent, GivenLatent):
            penalty = latent.penalty.mean()
            terms["l0" if latent.mask is not None else "kl"] = penalty.detach()
            # Also at beta = 0, and below the free nats: the penalty alone reaches the prior, and
            # DDP waits for the prior, if only for a gradient of zero.
            if self.active_rate > 0:
                penalty = rate_divergence(latent.penalty_per_dimension, self.active_rate)
                terms["rate"] = penalty.detach()
            loss = ssl + beta * free_bits(penalty, self.free_nats)
        return loss, {"loss": loss.detach(), **terms}

    def parts(self) -> dict[str, list[nn.Module]]:
        """The modules of each part; none where the method lacks the part.

        Of backbone and projector also those of the target network and of the second encoder.
        """
        every = (self.encoder, self.target_encoder, self.second_encoder)
        encoders = [e for e in every if e is not None]
        return {
            "backbone": [encoder.backbone for encoder in encoders],
            "projector": [encoder.projector for encoder in encoders],
            "editor": [self.editor],
            "latent": [] if self.latent is None else [self.latent],
            "predictor": [self.predictor],
            "objective": [self.objective],
        }

    def freeze(self, *names: PartName) -> None:
        """Stop the training of parts: no gradient, and evaluation mode for good.

        So their BatchNorms keep their statistics. To be called before an optimiser is made.

        Args:
            names: of `parts`; not "objective", whose own buffers have to move.

        Raises:
            ValueError: there is no such part to freeze.
        """
        for name in names:
            if name == "objective" or name not in self.parts():
                known = ", ".join(part for part in self.parts() if part != "objective")
                raise ValueError(f"freeze({name!r}): only {known} can be frozen")
            for module in self.parts()[name]:
                module.requires_grad_(False)
        self._frozen = (*self._frozen, *names)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Method":
        """As of any module, but frozen parts stay in evaluation mode."""
        super().train(mode)
        for name in self._frozen:
            for module in self.parts()[name]:
                module.eval()
        return self

    def after_step(self, step: int, *, total_steps: int) -> None:
        """Moves the target network of byol and dino; call it after the optimiser's step.

        For any other objective it does nothing.

        Args:
            step: the same number that `forward` was given.
            total_steps: optimiser steps of the whole run; at its end the target stands still, if
                `ema_schedule` is "cosine".
        """
        if self.target_encoder is not None:
            momentum = self.ema_momentum
            if self.ema_schedule == "cosine":
                momentum = ema_momentum(step, momentum, total_steps)
            update_ema(self.target_encoder, self.encoder, momentum)
            self.objective.move_target(momentum)

    def encode(self, samples: Num[Tensor, "batch ..."]) -> Embeddings:
        """Representation h and embedding z by the online encoder, not normalised."""
        embeddings: Embeddings = self.encoder(samples)
        return embeddings

    def embed(self, samples: Num[Tensor, "batch ..."]) -> Float[Tensor, "batch representation"]:
        """Representation h: what downstream tasks use."""
        representation: Tensor = self.encoder.backbone(samples)
        return representation

    def encode_target(self, samples: Num[Tensor, "batch ..."]) -> Float[Tensor, "batch dim"]:
        """Unit embeddings that futures are compared with.

        By the target network, else by the second encoder, else by f.
        """
        encoder = self.target_encoder or self.second_encoder or self.encoder
        return _unit(encoder(samples).embedding)

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
        samples: Num[Tensor, "batch ..."],
        num_samples: int,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "samples batch dim"]:
        """What may follow each sample: unit vectors to compare with `encode_target` of others.

        r ~ p(r | x), then edited (and predicted, where there is a predictor). A method without r
        has one future, which is repeated. Call it in evaluation mode.

        Raises:
            NotImplementedError: the latent has no prior (see `has_futures`).
        """
        return self.futures_of(self.encode(samples).embedding, num_samples, generator)

    @torch.no_grad()
    def futures_of(
        self,
        context_embedding: Float[Tensor, "batch dim"],
        num_samples: int,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "samples batch dim"]:
        """As `futures`, of contexts that are embedded already: z as `encode` gives it."""
        if self.latent is None:
            only = _unit(self.predictor(self.edit(context_embedding, None)))
            return only.expand(num_samples, -1, -1)
        latents = self.latent.sample_prior(context_embedding, num_samples, generator)
        return self.edited_futures(context_embedding, latents)

    @torch.no_grad()
    def edited_futures(
        self,
        context_embedding: Float[Tensor, "batch dim"],
        latents: Float[Tensor, "samples batch latent"],
    ) -> Float[Tensor, "samples batch dim"]:
        """The futures that given latents lead to: edited, and predicted where there is a predictor.

        Call it in evaluation mode.
        """
        edited = self.edit(context_embedding.repeat(len(latents), 1), latents.flatten(0, 1))
        return _unit(self.predictor(edited)).reshape(len(latents), *context_embedding.shape)


def _rename_weights(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """In checkpoints of version 0.1 the weights of aninfonce and hinfonce stood in the method."""
    old = f"{prefix}weights."
    for key in [key for key in state if key.startswith(old)]:
        state[f"{prefix}objective.weights." + key.removeprefix(old)] = state.pop(key)


def _unit(embedding: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
    return normalize(embedding.float(), dim=-1)
