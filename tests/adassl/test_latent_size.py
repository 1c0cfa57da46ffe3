from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adassl.build import build_method
from adassl.config import LARGEST_LATENT, MethodConfig
from adassl.latent_size import FROM, ROUNDS, UNTIL, is_round, num_kept, switch_off_idle
from adassl.latents import SparseLatent
from adassl.method import Method
from adassl.optim import build_adamw
from adassl.variational import PosteriorLatent
from adassl.views import Views

DIM, STEPS = 6, 400


def make(**settings: Any) -> Method:
    config = MethodConfig(
        latent_dim="auto",
        embedding_dim=DIM,
        projector_hidden_dims=(),
        beta_warmup_steps=0,
        **settings,
    )
    return build_method(nn.Identity(), output_dim=DIM, config=config)


def pairs(seed: int, *, batch: int = 128, changes: int = 2) -> Views:
    """x+ differs from x in some of its numbers, by twice their deviation."""
    generator = torch.Generator().manual_seed(seed)
    context, change = torch.randn(2, batch, DIM, generator=generator)
    change[:, changes:] = 0
    return Views(context=context, target=context + 2 * change)


def kept_of(method: Method) -> Tensor:
    assert isinstance(method.latent, PosteriorLatent | SparseLatent)
    assert method.latent.kept is not None
    return method.latent.kept


def trained(method: Method, steps: int = STEPS) -> Method:
    optimizer = build_adamw(method, lr=3e-3, weight_decay=0.0)
    for step in range(steps):
        method.train()
        views = pairs(step)
        output = method(views, step=step)
        optimizer.zero_grad()
        torch.autograd.backward(output.loss)
        optimizer.step()
        if is_round(step, steps):
            switch_off_idle(method, views, step=step)
    return method


@pytest.mark.parametrize(
    "settings",
    [
        {"latent": "variational", "beta": 0.1},
        # Free bits: all dimensions share the change, though two could say it.
        pytest.param(
            {"latent": "variational", "beta": 0.1, "free_nats": 20.0}, marks=pytest.mark.slow
        ),
        pytest.param(
            {"latent": "sparse", "beta": 0.01, "editor": "low_rank"}, marks=pytest.mark.slow
        ),
        pytest.param(
            {"latent": "variational", "beta": 0.1, "editor": "slots", "editor_slots": 2},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["paid", "free", "sparse", "slots"],
)
def test_few_dimensions_are_left_and_those_are_needed(settings: dict[str, Any]) -> None:
    method = trained(make(**settings, temperature=0.05))
    assert 2 <= num_kept(method.latent) <= LARGEST_LATENT // 4
    method.eval()
    with torch.no_grad():
        output = method(pairs(10_000), step=STEPS)
        without = method.objective(
            method.edit(method.encode(pairs(10_000).context).embedding, torch.zeros(128, 32)),
            method.encode_target(pairs(10_000).target),
            context=output.context,
            step=STEPS,
        )
    assert output.terms["ssl"] < 0.5 * without


def test_what_is_switched_off_is_zero_costs_nothing_and_stays_off() -> None:
    method = make(latent="variational").eval()
    kept_of(method)[3:] = 0
    latent = method.latent
    assert isinstance(latent, PosteriorLatent)
    context, target = torch.randn(2, 9, DIM)
    sample = latent(context, target)
    assert (sample.value[:, :3] != 0).all()
    assert (sample.value[:, 3:] == 0).all()
    assert (sample.penalty_per_dimension[:, 3:] == 0).all()
    torch.testing.assert_close(sample.penalty, sample.penalty_per_dimension.sum(dim=1))
    assert (latent.sample_prior(context, 5)[..., 3:] == 0).all()
    switch_off_idle(method, pairs(0), step=1)
    assert (kept_of(method)[3:] == 0).all()


def test_dimensions_that_the_editor_does_not_read_are_found_at_once() -> None:
    method = make(latent="variational", editor="low_rank", temperature=0.05)
    method = trained(method, 100)  # r is of use
    kept_of(method).fill_(1)
    write = method.editor.get_parameter("write.weight")
    with torch.no_grad():
        write[:, 5:] = 0
    switch_off_idle(method, pairs(1), step=1)
    assert kept_of(method)[5:].sum() == 0
    assert kept_of(method)[:5].sum() >= 1


def test_an_r_of_no_worth_is_left_alone() -> None:
    method = make(latent="sparse", editor="low_rank")  # a fresh one edits nothing
    switch_off_idle(method, pairs(0), step=1)
    assert num_kept(method.latent) == LARGEST_LATENT


def test_one_at_least_stays_and_evaluation_mode_too() -> None:
    method = trained(make(latent="variational", temperature=0.05), 100).eval()
    kept_of(method)[1:] = 0
    kept_of(method)[0] = 1
    switch_off_idle(method, pairs(0), step=1)
    assert num_kept(method.latent) == 1
    assert not method.training


def test_it_is_part_of_the_state_and_only_where_it_is_asked_for() -> None:
    method = make(latent="variational")
    kept_of(method)[1:] = 0
    again = make(latent="variational")
    again.load_state_dict(method.state_dict())
    assert num_kept(again.latent) == 1
    fixed = build_method(nn.Identity(), output_dim=DIM, config=MethodConfig(embedding_dim=DIM))
    assert not [name for name in fixed.state_dict() if "kept" in name]
    switch_off_idle(fixed, pairs(0), step=1)
    assert num_kept(fixed.latent) == 16


def test_additive_r_starts_with_the_size_of_an_embedding() -> None:
    assert num_kept(make(latent="variational", editor="additive").latent) == DIM


@pytest.mark.parametrize("total", [10, 150, 200, 1500, 80_000])
def test_rounds_lie_in_the_middle_half_and_are_few(total: int) -> None:
    rounds = [step for step in range(1, total + 1) if is_round(step, total)]
    assert FROM * total <= rounds[0] <= rounds[-1] <= UNTIL * total
    assert len(rounds) <= 2 * ROUNDS
    if total >= 2 * ROUNDS:
        assert len(rounds) >= ROUNDS - 1


def test_a_given_r_has_its_own_size() -> None:
    with pytest.raises(ValueError, match=r"latent_dim='auto' with latent='given'.*set latent_dim"):
        MethodConfig(latent="given", latent_dim="auto")


@pytest.mark.parametrize("wrong", [0, -1, "many", 2.5])
def test_other_sizes_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="must be at least 1, or 'auto'"):
        MethodConfig(latent_dim=wrong)
