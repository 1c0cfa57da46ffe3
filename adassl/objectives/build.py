"""From the name of an objective to the objective."""

from adassl.config import MethodConfig
from adassl.objectives.barlow_twins import BarlowTwins
from adassl.objectives.byol import BYOL
from adassl.objectives.dino import DINO
from adassl.objectives.infonce import InfoNCE
from adassl.objectives.objective import Objective
from adassl.objectives.simple import Simple
from adassl.objectives.simsiam import SimSiam
from adassl.objectives.swav import SwAV
from adassl.objectives.triplet import Triplet
from adassl.objectives.vicreg import VICReg


def build_objective(config: MethodConfig) -> Objective:
    """The objective that a config names."""
    match config.objective:
        case "infonce" | "aninfonce" | "hinfonce":
            return InfoNCE(config)
        case "triplet":
            return Triplet(config)
        case "byol":
            return BYOL()
        case "simsiam":
            return SimSiam()
        case "swav":
            return SwAV(config)
        case "dino":
            return DINO(config)
        case "barlow_twins":
            return BarlowTwins(config)
        case "vicreg":
            return VICReg(config)
        case "simple":
            return Simple(config)
