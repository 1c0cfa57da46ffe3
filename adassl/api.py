"""Every public name of the library; `adassl` offers them without importing torch before it must."""

from adassl.augmentations import Augmentation, augment
from adassl.backbones import Backbone, build_backbone
from adassl.build import build_method
from adassl.chains import chain_futures
from adassl.config import MethodConfig
from adassl.diagnostics import (
    LatentUse,
    alignment,
    alpha_req,
    centre_norm,
    dimension_std,
    latent_use,
    lidar,
    rankme,
    residual_norm,
    residual_spread,
    sample_mean_norm,
    uniformity,
)
from adassl.editors import (
    AdditiveEditor,
    AttentionEditor,
    IdentityEditor,
    LowRankEditor,
    MLPEditor,
    ResidualEditor,
    SlotsEditor,
)
from adassl.encoder import Embeddings, Encoder
from adassl.forecaster import Forecaster
from adassl.gaussians import DiagonalGaussian, gaussian_kl
from adassl.heads import build_mlp
from adassl.latents import GivenLatent, LatentSample, SparseLatent, VariationalLatent
from adassl.loaded import LoadedEncoder, Preprocessing, load
from adassl.method import Method
from adassl.next_clip import next_clip_nats, sample_futures
from adassl.objectives.aninfonce import AnInfoNCE, HInfoNCE, an_info_nce
from adassl.objectives.barlow_twins import BarlowTwins, barlow_twins
from adassl.objectives.byol import BYOL, byol
from adassl.objectives.dino import DINO, dino
from adassl.objectives.frossl import FroSSL, frossl
from adassl.objectives.infonce import InfoNCE, info_nce
from adassl.objectives.lejepa import LeJEPA, lejepa, sigreg
from adassl.objectives.mmcr import MMCR, mmcr
from adassl.objectives.objective import Objective
from adassl.objectives.projections import draw_projections
from adassl.objectives.simple import Simple, simple
from adassl.objectives.simsiam import SimSiam, simsiam
from adassl.objectives.swav import SwAV, sinkhorn, swav
from adassl.objectives.triplet import Triplet, triplet
from adassl.objectives.vicreg import VICReg, vicreg
from adassl.objectives.visreg import VISReg, visreg
from adassl.optim import build_adamw
from adassl.schedules import beta_warmup, cosine_with_warmup, ema_momentum, linear_warmup
from adassl.step_output import StepOutput
from adassl.traits import Traits
from adassl.views import Views

__all__ = [
    "BYOL",
    "DINO",
    "MMCR",
    "AdditiveEditor",
    "AnInfoNCE",
    "AttentionEditor",
    "Augmentation",
    "Backbone",
    "BarlowTwins",
    "DiagonalGaussian",
    "Embeddings",
    "Encoder",
    "Forecaster",
    "FroSSL",
    "GivenLatent",
    "HInfoNCE",
    "IdentityEditor",
    "InfoNCE",
    "LatentSample",
    "LatentUse",
    "LeJEPA",
    "LoadedEncoder",
    "LowRankEditor",
    "MLPEditor",
    "Method",
    "MethodConfig",
    "Objective",
    "Preprocessing",
    "ResidualEditor",
    "SimSiam",
    "Simple",
    "SlotsEditor",
    "SparseLatent",
    "StepOutput",
    "SwAV",
    "Traits",
    "Triplet",
    "VICReg",
    "VISReg",
    "VariationalLatent",
    "Views",
    "alignment",
    "alpha_req",
    "an_info_nce",
    "augment",
    "barlow_twins",
    "beta_warmup",
    "build_adamw",
    "build_backbone",
    "build_method",
    "build_mlp",
    "byol",
    "centre_norm",
    "chain_futures",
    "cosine_with_warmup",
    "dimension_std",
    "dino",
    "draw_projections",
    "ema_momentum",
    "frossl",
    "gaussian_kl",
    "info_nce",
    "latent_use",
    "lejepa",
    "lidar",
    "linear_warmup",
    "load",
    "mmcr",
    "next_clip_nats",
    "rankme",
    "residual_norm",
    "residual_spread",
    "sample_futures",
    "sample_mean_norm",
    "sigreg",
    "simple",
    "simsiam",
    "sinkhorn",
    "swav",
    "triplet",
    "uniformity",
    "vicreg",
    "visreg",
]
