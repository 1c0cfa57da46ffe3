"""A method over several steps: what after_step moves, what a state dict keeps, what is learned."""

import copy
from typing import Any

import pytest
import torch

from adassl.method import Method
from adassl.optim import build_adamw
from tests.adassl.test_method import ALL_METHODS, MakeMethod, MakeViews, name, run


def test_byol_s_target_starts_as_a_copy_and_follows_by_its_momentum(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(objective="byol", ema_momentum=0.9)
    assert method.target_encoder is not None
    pairs = list(zip(method.encoder.parameters(), method.target_encoder.parameters(), strict=True))
    assert all(torch.equal(online, target) for online, target in pairs)
    assert not any(target.requires_grad for _, target in pairs)
    before = [target.clone() for _, target in pairs]
    optimizer = build_adamw(method, lr=0.1, weight_decay=0.0)
    optimised = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert not optimised & {id(target) for _, target in pairs}
    torch.autograd.backward(run(method, make_views()).loss)
    optimizer.step()
    method.after_step(50, total_steps=100)
    for (online, target), old in zip(pairs, before, strict=True):
        torch.testing.assert_close(target, 0.95 * old + 0.05 * online)


@pytest.mark.parametrize("settings", ALL_METHODS, ids=name)
def test_a_state_dict_continues_exactly(
    settings: dict[str, Any], make_method: MakeMethod, make_views: MakeViews
) -> None:
    changes = settings | {"beta_warmup_steps": 4}

    def train(method: Method, optimizer: torch.optim.Optimizer, steps: range) -> list[float]:
        losses = []
        for step in steps:
            output = run(method, make_views(seed=step), step=step, seed=step)
            optimizer.zero_grad()
            torch.autograd.backward(output.loss)
            optimizer.step()
            method.after_step(step, total_steps=6)
            losses.append(output.loss.item())
        return losses

    straight = make_method(**changes)
    optimizer = build_adamw(straight, lr=0.01, weight_decay=0.01)
    train(straight, optimizer, range(3))
    saved = copy.deepcopy((straight.state_dict(), optimizer.state_dict()))
    expected = train(straight, optimizer, range(3, 6))

    resumed = make_method(seed=1, **changes)
    other_optimizer = build_adamw(resumed, lr=0.01, weight_decay=0.01)
    resumed.load_state_dict(saved[0])
    other_optimizer.load_state_dict(saved[1])
    assert train(resumed, other_optimizer, range(3, 6)) == expected
    for parameter_name, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[parameter_name], value), parameter_name


def test_the_state_dict_holds_no_counter_of_steps(make_method: MakeMethod) -> None:
    method = make_method(objective="byol", latent="variational", editor="mlp")
    scalars = {n for n, value in method.state_dict().items() if value.ndim == 0}
    assert all(n.endswith("num_batches_tracked") for n in scalars)


def test_training_lowers_the_loss_and_r_is_used(
    make_method: MakeMethod, make_views: MakeViews
) -> None:
    method = make_method(latent="variational", editor="mlp", beta=0.05)
    optimizer = build_adamw(method, lr=3e-3, weight_decay=1e-4)
    losses = []
    for step in range(150):
        output = run(method, make_views(64, seed=step), step=step, seed=step)
        optimizer.zero_grad()
        torch.autograd.backward(output.loss)
        optimizer.step()
        losses.append(output.terms["ssl"].item())
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    assert output.terms["kl"].item() > 0.5
