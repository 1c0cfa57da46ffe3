"""What the rest of the method has to know about each objective. Imports no torch."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Traits:
    """How an objective is fed.

    Attributes:
        target: whose embedding of x+ the edited context is compared with: that of the "online"
            encoder, with its gradient; the same one "stopped", as a constant; or that of a
            "network" of its own, an EMA of the encoder. The posterior of r reads that very one.
        predictor: whether an MLP between the edit and the comparison is part of it.
        assigns: whether it compares assignments to prototypes. There is then no edited context, and
            so nothing for r to edit; but small crops may be compared with the views: multi-crop.
        chains: whether it can compare each step of a chain (`adassl.chains`).
        triplets: whether a pair may bring its own negative, x-.
        negatives: whether x+ is told from that of other pairs: its loss is then near 0 where all
            are told apart.
        least_pairs: fewest pairs in a global batch that teach it anything.
    """

    target: Literal["online", "stopped", "network"] = "online"
    predictor: bool = False
    assigns: bool = False
    chains: bool = True
    triplets: bool = False
    negatives: bool = False
    least_pairs: int = 2


TRAITS = {
    "infonce": Traits(negatives=True),
    "aninfonce": Traits(negatives=True),
    "hinfonce": Traits(negatives=True, chains=False),
    "triplet": Traits(negatives=True, triplets=True),
    "byol": Traits(target="network", predictor=True, least_pairs=1),
    "simsiam": Traits(target="stopped", predictor=True, least_pairs=1),
    "swav": Traits(target="stopped", assigns=True, chains=False),
    "dino": Traits(target="network", assigns=True, chains=False, least_pairs=1),
    "barlow_twins": Traits(),
    "vicreg": Traits(),
    "simple": Traits(),
    "lejepa": Traits(),
    "visreg": Traits(),
    "frossl": Traits(),
    "mmcr": Traits(),
}
"""By the name of the objective."""
