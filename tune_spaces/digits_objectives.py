"""`digits_byol`, `digits_vicreg`, …: each objective on moving digits, with its own parameters.

Around the recipes of the same names; what is tried first was the best value found by hand.
"""

from tune_spaces import Choice, LogUniform, Range, Space, Value

_RATES = LogUniform(3e-4, 1e-2, "a short run wants more than the 1e-4 of long ones")
_FAR_LONGER = "the paper's 0.996 is for runs a thousand times longer"


def _space(objective: str, own: dict[str, Range], *first: Value) -> Space:
    """`first` has a value for each parameter in their order, and the learning rate."""
    sampled = {**own, "optim.learning_rate": _RATES}
    return Space(
        title=f"{objective} on moving digits",
        recipe=f"digits-{objective}",
        sampled=sampled,
        metric="val/sweep_score",
        first=(dict(zip(sampled, first, strict=True)),),
    )


def _temperature(why: str) -> dict[str, Range]:
    return {"method.temperature": LogUniform(0.03, 0.5, why)}


INFONCE = _temperature("from where close negatives are all to where all count alike")
ANINFONCE = _temperature("its weights of the dimensions scale it further, once learnt")
HINFONCE = _temperature("its predicted weights scale it further, once learnt")
TRIPLET: dict[str, Range] = {
    "method.triplet_margin": Choice(
        (0.1, 0.2, 0.5, 1.0, 2.0), "FaceNet's 0.2, up to half the widest distance"
    )
}
VICREG: dict[str, Range] = {
    "method.invariance_weight": Choice(
        (5.0, 25.0, 50.0), "the paper's 25; only the ratios to the others matter"
    ),
    "method.covariance_weight": Choice((0.1, 1.0, 10.0), "the paper's 1, and ten times either way"),
}
BARLOW_TWINS: dict[str, Range] = {
    "method.off_diagonal_weight": LogUniform(
        5e-4, 0.1, "ten times below and twenty above the paper's 0.005"
    )
}
SIMPLE: dict[str, Range] = {
    "method.centre_weight": LogUniform(
        0.03, 30.0, "from where it nearly collapses to where alignment is small"
    )
}
LEJEPA: dict[str, Range] = {
    "method.sigreg_weight": LogUniform(
        0.005, 1.0, "ten times below and twenty above the paper's 0.05"
    )
}
VISREG: dict[str, Range] = {
    "method.scale_weight": Choice((0.3, 1.0, 3.0), "the authors' 1.5, and around it"),
    "method.shape_weight": Choice((0.3, 1.0, 3.0, 10.0), "the authors' 1.5, and around it"),
    "method.centre_weight": Choice((0.3, 1.0, 3.0), "the authors' 1.5, and around it"),
}
FROSSL: dict[str, Range] = {
    "method.frobenius_weight": LogUniform(
        0.03, 10.0, "from where it nearly collapses to where alignment is small"
    )
}
MMCR: dict[str, Range] = {
    "optim.weight_decay": LogUniform(1e-5, 1e-1, "the objective itself has nothing to set")
}
SIMSIAM: dict[str, Range] = {
    "optim.weight_decay": LogUniform(
        1e-5, 1e-1, "the predictor's decay keeps what it passes on balanced"
    )
}
BYOL: dict[str, Range] = {
    "method.ema_momentum": Choice((0.9, 0.97, 0.99, 0.996), _FAR_LONGER),
    "method.ema_schedule": Choice(
        ("cosine", "constant"), "the paper's rise to 1, or none in a short run"
    ),
}
DINO: dict[str, Range] = {
    "method.teacher_temperature": Choice(
        (0.04, 0.07), "the paper's range of how sharp the teacher is"
    ),
    "method.ema_momentum": Choice((0.97, 0.99, 0.996), _FAR_LONGER),
    "method.centre_momentum": Choice(
        (0.5, 0.9, 0.99), "the paper's 0.9, and a faster and a slower centre"
    ),
}
SWAV: dict[str, Range] = {
    "method.num_prototypes": Choice(
        (30, 100, 300, 1000), "the paper's 3000 are ten for each of its classes"
    ),
    "method.sinkhorn_epsilon": Choice(
        (0.03, 0.05, 0.1), "the paper's 0.05, and sharper and softer codes"
    ),
    "method.queue_size": Choice((0, 1024), "none, or some batches more to balance the codes over"),
}

SPACES = {
    "digits_infonce": _space("infonce", INFONCE, 0.1, 0.002),
    "digits_aninfonce": _space("aninfonce", ANINFONCE, 0.1, 0.002),
    "digits_hinfonce": _space("hinfonce", HINFONCE, 0.1, 0.002),
    "digits_triplet": _space("triplet", TRIPLET, 0.5, 0.002),
    "digits_vicreg": _space("vicreg", VICREG, 25.0, 10.0, 0.002),
    "digits_barlow_twins": _space("barlow-twins", BARLOW_TWINS, 0.02, 0.002),
    "digits_simple": _space("simple", SIMPLE, 10.0, 0.002),
    "digits_lejepa": _space("lejepa", LEJEPA, 0.05, 0.002),
    "digits_visreg": _space("visreg", VISREG, 1.0, 1.0, 1.0, 0.002),
    "digits_frossl": _space("frossl", FROSSL, 0.2, 0.002),
    "digits_mmcr": _space("mmcr", MMCR, 0.0001, 0.005),
    "digits_simsiam": _space("simsiam", SIMSIAM, 0.0001, 0.005),
    "digits_byol": _space("byol", BYOL, 0.9, "cosine", 0.002),
    "digits_dino": _space("dino", DINO, 0.04, 0.97, 0.9, 0.002),
    "digits_swav": _space("swav", SWAV, 300, 0.05, 0, 0.002),
}
