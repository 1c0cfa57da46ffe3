"""Short trainings of the objectives that keep the embeddings apart by their statistics."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from adassl.diagnostics import centre_norm, rankme, residual_norm
from adassl.method import Method
from adassl.optim import build_adamw
from adassl.step_output import StepOutput
from adassl.views import Views

MakeViews = Callable[..., Views]
MakeMethod = Callable[..., Method]


def trained(
    make_method: MakeMethod, make_views: MakeViews, settings: dict[str, Any]
) -> list[StepOutput]:
    method = make_method(**settings)
    optimizer = build_adamw(method, lr=3e-3, weight_decay=0.0)
    outputs = []
    for step in range(150):
        generator = torch.Generator().manual_seed(step)
        output = method(make_views(64, seed=step), step=step, generator=generator)
        optimizer.zero_grad()
        torch.autograd.backward(output.loss)
        optimizer.step()
        outputs.append(output)
    return outputs


FULL: list[dict[str, Any]] = [
    {"objective": "lejepa", "num_projections": 32},
    {"objective": "visreg", "num_projections": 32},
    {"objective": "frossl"},
    {"objective": "mmcr"},
]


@pytest.mark.parametrize("r", [False, True], ids=["plain", "r"])
@pytest.mark.parametrize("settings", FULL, ids=lambda settings: settings["objective"])
def test_a_full_objective_trains_and_does_not_collapse(
    settings: dict[str, Any], r: bool, make_method: MakeMethod, make_views: MakeViews
) -> None:
    latent = {"latent": "variational", "editor": "mlp", "beta": 0.001} if r else {}
    outputs = trained(make_method, make_views, settings | latent)
    first, last = outputs[0], outputs[-1]
    assert last.terms["ssl"] < first.terms["ssl"]
    views = torch.stack([last.context, last.target])
    # With all directions alike FroSSL and MMCR still allow a centre of 8^-1/2.
    assert centre_norm(views.flatten(0, 1)) < 0.45
    assert residual_norm(views) > 0.7
    assert rankme(last.context) > 6, "of 8 dimensions"


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"objective": "lejepa", "sigreg_weight": 0.0},
        {"objective": "frossl", "frobenius_weight": 0.0},
        {"objective": "mmcr", "nuclear": False},
    ],
    ids=lambda settings: settings["objective"],
)
def test_without_what_spreads_it_an_objective_collapses(
    settings: dict[str, Any], make_method: MakeMethod, make_views: MakeViews
) -> None:
    last = trained(make_method, make_views, settings)[-1]
    views = torch.stack([last.context, last.target])
    assert centre_norm(views.flatten(0, 1)) > 0.9
    assert residual_norm(views) < 0.4


@pytest.mark.slow
def test_visreg_without_its_centre_term_has_a_longer_centre(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    centres = []
    for weight in (1.0, 0.0):
        settings = {"objective": "visreg", "centre_weight": weight, "num_projections": 32}
        last = trained(make_method, make_views, settings)[-1]
        centres.append(centre_norm(torch.cat([last.context, last.target])))
    assert centres[0] < centres[1]
