import runpy
import subprocess
import sys
from typing import Any

import pytest

import adassl.config
from adassl.traits import TRAITS

# Without the tests' run-time type checks, which would refuse a wrong word before the config can.
MethodConfig = runpy.run_path(adassl.config.__file__)["MethodConfig"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"surrogate_form": "both", "reverse": False}, "reverse=False.*leave reverse=True"),
        ({"surrogate_form": "bot"}, "surrogate_form='bot'.*did you mean 'both'"),
        ({"objective": "infonec"}, "objective='infonec'.*did you mean 'infonce'"),
        ({"latent": "gaussian"}, "latent='gaussian'.*none, variational, sparse, given"),
        ({"editor": "lowrank"}, "editor='lowrank'.*did you mean 'low_rank'"),
        ({"editor": "identity"}, "ignores r.*choose editor='mlp'"),
        ({"editor": "additive"}, "latent_dim=16.*embedding_dim=128.*set latent_dim=128"),
        ({"editor": "additive", "latent": "none"}, "nothing to add.*editor='identity'"),
        (
            {"editor": "slots", "editor_slots": 3, "latent_dim": 12},
            "embedding_dim=128 with editor='slots'.*editor_slots=3.*a multiple of 3.*slots to 4",
        ),
        (
            {"editor": "attention", "latent_dim": 6},
            "latent_dim=6 with editor='attention'.*multiple of 4, or editor_slots to 2",
        ),
        (
            {"editor": "slots", "latent_dim": "auto", "embedding_dim": 120, "editor_slots": 5},
            "latent_dim=32 with editor='slots'.*editor_slots to 8",
        ),
        ({"editor_slots": 0}, "editor_slots=0: must be at least 1"),
        ({"latent_dim": 0}, "latent_dim=0: must be at least 1"),
        ({"beta": -0.1}, "beta=-0.1: must not be negative"),
        ({"temperature": 0.0}, "temperature=0.0: must be positive"),
        ({"ema_momentum": 1.5}, r"ema_momentum=1.5: must lie in \[0, 1\]"),
        ({"editor_hidden_dims": "256-256"}, "editor_hidden_dims='256-256'.*tuple of positive"),
        ({"free_nats": -1.0}, "free_nats=-1.0: must not be negative"),
        ({"prior_components": 0}, "prior_components=0: must be at least 1"),
        ({"active_rate": 1.0, "latent": "sparse"}, r"active_rate=1.0: must lie in \[0, 1\)"),
        ({"free_nats": 2.0, "latent": "sparse"}, "free_nats=2.0.*'sparse'.*'variational' has a KL"),
        (
            {"prior_components": 3, "latent": "sparse", "editor": "low_rank"},
            "prior_components=3 with latent='sparse'.*has a prior; choose it, or leave",
        ),
        ({"active_rate": 0.1}, "active_rate=0.1.*only latent='sparse' has"),
        ({"latent": "given", "editor": "identity"}, "ignores r.*choose editor='mlp'"),
        ({"objective": "barlow"}, "objective='barlow'.*did you mean 'barlow_twins'"),
        ({"objective": "swav"}, "latent='variational' with objective='swav'.*latent='none'"),
        (
            {"objective": "dino", "latent": "none"},
            "editor='mlp' with objective='dino'.*assignments to prototypes.*editor='identity'",
        ),
        ({"predictor": False}, "predictor=False.*'infonce'.*only byol and simsiam can"),
        ({"objective": "byol", "stop_gradient": False}, "stop_gradient=False.*only simsiam can"),
        ({"centring": False}, "centring=False.*only dino can.*leave centring=True"),
        ({"ema_schedule": "cosin"}, "ema_schedule='cosin'.*did you mean 'cosine'"),
        ({"centre_momentum": -0.1}, r"centre_momentum=-0.1: must lie in \[0, 1\]"),
        ({"num_prototypes": 1}, "num_prototypes=1: must be at least 2"),
        ({"sinkhorn_iterations": 0}, "sinkhorn_iterations=0: must be at least 1"),
        ({"sinkhorn_epsilon": 0.0}, "sinkhorn_epsilon=0.0: must be positive"),
        ({"teacher_temperature": 0.0}, "teacher_temperature=0.0: must be positive"),
        ({"triplet_margin": 0.0}, "triplet_margin=0.0: must be positive"),
        ({"queue_size": -1}, "queue_size=-1: must not be negative"),
        ({"centre_weight": -1.0}, "centre_weight=-1.0: must not be negative"),
        ({"sigreg_weight": -1.0}, "sigreg_weight=-1.0: must not be negative"),
        ({"shape_weight": -1.0}, "shape_weight=-1.0: must not be negative"),
        ({"frobenius_weight": -1.0}, "frobenius_weight=-1.0: must not be negative"),
        ({"num_projections": 0}, "num_projections=0: must be at least 1"),
        ({"nuclear": False}, "nuclear=False.*only mmcr can.*leave nuclear=True"),
        ({"variance_weight": -1.0}, "variance_weight=-1.0: must not be negative"),
        ({"off_diagonal_weight": -1.0}, "off_diagonal_weight=-1.0: must not be negative"),
        ({"latent_hidden_dims": (64, 0)}, r"latent_hidden_dims=\(64, 0\).*tuple of positive"),
    ],
)
def test_a_bad_value_is_refused_with_value_rule_and_remedy(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MethodConfig(**changes)


@pytest.mark.parametrize("editor", ["identity", "mlp", "low_rank", "slots", "attention"])
def test_the_baseline_and_the_controls_without_r_are_allowed(editor: Any) -> None:
    assert MethodConfig(latent="none", editor=editor).editor == editor


def test_importing_the_config_does_not_import_torch() -> None:
    code = "import sys, adassl.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_ablations_are_settings_of_their_own() -> None:
    byol = MethodConfig(
        objective="byol", ema_momentum=0.0, ema_schedule="constant", predictor=False
    )
    assert not byol.has_predictor
    simsiam = MethodConfig(objective="simsiam", stop_gradient=False)
    assert simsiam.has_predictor
    plain = {"latent": "none", "editor": "identity"}
    assert not MethodConfig(objective="dino", centring=False, **plain).centring
    assert MethodConfig(objective="simple", centre_weight=0.0).centre_weight == 0


def test_changing_the_objective_is_all_it_takes() -> None:
    for objective, traits in TRAITS.items():
        plain = {"latent": "none", "editor": "identity"} if traits.assigns else {}
        assert MethodConfig(objective=objective, **plain).objective == objective


def test_without_r_its_size_need_not_be_cut() -> None:
    assert MethodConfig(editor="slots", latent="none", latent_dim=5).latent_dim == 5
    assert MethodConfig(editor="mlp", latent_dim=5).editor_slots == 4
