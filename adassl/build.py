"""From a `MethodConfig` to a `Method`: the one place where a config becomes arguments."""

import torch
from torch import nn

from adassl.config import MethodConfig
from adassl.editors import (
    AdditiveEditor,
    AttentionEditor,
    Editor,
    IdentityEditor,
    LowRankEditor,
    MLPEditor,
    ResidualEditor,
    SlotsEditor,
)
from adassl.encoder import Encoder
from adassl.heads import build_mlp
from adassl.latents import GivenLatent, Latent, MixtureLatent, SparseLatent, VariationalLatent
from adassl.method import Method
from adassl.objectives.aninfonce import AnInfoNCE, HInfoNCE
from adassl.objectives.barlow_twins import BarlowTwins
from adassl.objectives.byol import BYOL
from adassl.objectives.dino import DINO
from adassl.objectives.frossl import FroSSL
from adassl.objectives.infonce import InfoNCE
from adassl.objectives.lejepa import LeJEPA
from adassl.objectives.mmcr import MMCR
from adassl.objectives.objective import Objective
from adassl.objectives.simple import Simple
from adassl.objectives.simsiam import SimSiam
from adassl.objectives.swav import SwAV
from adassl.objectives.triplet import Triplet
from adassl.objectives.vicreg import VICReg
from adassl.objectives.visreg import VISReg
from adassl.variational import PosteriorLatent


def build_method(
    encoder: nn.Module,
    *,
    output_dim: int,
    config: MethodConfig,
    objective: Objective | None = None,
    second_encoder: nn.Module | None = None,
    second_output_dim: int | None = None,
) -> Method:
    """The method of a config around any encoder, initialised from torch's global generator.

    Args:
        encoder: from a batch of samples to representations [batch, output_dim].
        output_dim: size of a representation.
        config: the settings.
        objective: takes the place of the one that the config names, which then gives the predictor
            alone.
        second_encoder: of the targets, with encoders="separate".
        second_output_dim: size of its representations; None: as of the first.

    Raises:
        ValueError: there is a second encoder where it is not asked for, or none where it is.
    """
    if (second_encoder is not None) != (config.encoders == "separate"):
        state = "without" if second_encoder is None else "with"
        raise ValueError(
            f"encoders={config.encoders!r} {state} a second encoder: 'separate' needs one, and "
            "'shared' takes none"
        )
    dim = config.embedding_dim
    projector = build_mlp(output_dim, config.projector_hidden_dims, dim)
    predictor = None
    if config.has_predictor:
        predictor = build_mlp(dim, config.predictor_hidden_dims, dim)
    second = None
    if second_encoder is not None:
        size = second_output_dim or output_dim
        of_second = build_mlp(size, config.projector_hidden_dims, dim)
        second = Encoder(second_encoder, of_second, output_dim=size)
    return Method(
        Encoder(encoder, projector, output_dim=output_dim),
        second_encoder=second,
        editor=_editor(config),
        latent=_latent(config),
        predictor=predictor,
        objective=objective or _objective(config),
        beta=config.beta,
        beta_warmup_steps=config.beta_warmup_steps,
        free_nats=config.free_nats,
        active_rate=config.active_rate,
        surrogate_form=config.surrogate_form,
        reverse=config.reverse,
        ema_momentum=config.ema_momentum,
        ema_schedule=config.ema_schedule,
    )


def _editor(config: MethodConfig) -> Editor:
    dim = config.embedding_dim
    latent_dim = 0 if config.latent == "none" else config.latent_size
    match config.editor:
        case "identity":
            return IdentityEditor()
        case "mlp" | "residual":
            make = MLPEditor if config.editor == "mlp" else ResidualEditor
            return make(dim, latent_dim, config.editor_hidden_dims)
        case "additive":
            return AdditiveEditor(dim, config.latent_size)
        case "low_rank":
            return LowRankEditor(dim, config.latent_size)
        case "slots":
            return SlotsEditor(dim, latent_dim, config.editor_slots, config.editor_hidden_dims)
        case "attention":
            return AttentionEditor(dim, latent_dim, config.editor_slots, config.editor_hidden_dims)


def _latent(config: MethodConfig) -> Latent | None:
    latent = _whole_latent(config)
    if config.latent_dim == "auto" and isinstance(latent, PosteriorLatent | SparseLatent):
        latent.kept = torch.ones(config.latent_size)
    return latent


def _whole_latent(config: MethodConfig) -> Latent | None:
    sizes = config.embedding_dim, config.latent_size, config.latent_hidden_dims
    match config.latent:
        case "none":
            return None
        case "variational" if config.prior_components > 1:
            return MixtureLatent(*sizes, config.prior_components)
        case "variational":
            return VariationalLatent(*sizes)
        case "sparse":
            return SparseLatent(*sizes)
        case "given":
            return GivenLatent(config.latent_size)


def _objective(config: MethodConfig) -> Objective:
    dim, temperature = config.embedding_dim, config.temperature
    same_video = config.same_video_negative_weight
    match config.objective:
        case "infonce":
            return InfoNCE(temperature, same_video_negative_weight=same_video)
        case "aninfonce":
            return AnInfoNCE(dim, temperature, same_video_negative_weight=same_video)
        case "hinfonce":
            hidden_dims = config.latent_hidden_dims
            return HInfoNCE(dim, hidden_dims, temperature, same_video_negative_weight=same_video)
        case "triplet":
            return Triplet(config.triplet_margin, same_video_negative_weight=same_video)
        case "byol":
            return BYOL()
        case "simsiam":
            return SimSiam(stop_gradient=config.stop_gradient)
        case "swav":
            return SwAV(
                dim,
                config.num_prototypes,
                temperature=temperature,
                epsilon=config.sinkhorn_epsilon,
                iterations=config.sinkhorn_iterations,
                queue_size=config.queue_size,
            )
        case "dino":
            return DINO(
                dim,
                config.num_prototypes,
                temperature=temperature,
                teacher_temperature=config.teacher_temperature,
                teacher_temperature_start=config.teacher_temperature_start,
                teacher_temperature_warmup_steps=config.teacher_temperature_warmup_steps,
                centre_momentum=config.centre_momentum,
                centring=config.centring,
            )
        case "barlow_twins":
            return BarlowTwins(config.off_diagonal_weight)
        case "vicreg":
            return VICReg(
                config.invariance_weight, config.variance_weight, config.covariance_weight
            )
        case "simple":
            return Simple(config.centre_weight)
        case "lejepa":
            return LeJEPA(config.sigreg_weight, config.num_projections)
        case "visreg":
            return VISReg(
                config.scale_weight,
                config.shape_weight,
                config.centre_weight,
                num_projections=config.num_projections,
            )
        case "frossl":
            return FroSSL(config.frobenius_weight)
        case "mmcr":
            return MMCR(nuclear=config.nuclear)
