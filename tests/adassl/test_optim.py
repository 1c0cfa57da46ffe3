import pytest
import torch
from torch import nn

from adassl.optim import build_adamw, parameter_groups, set_learning_rate


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.conv = nn.Conv3d(1, 2, 3)
        self.norm = nn.BatchNorm3d(2)
        self.linear = nn.Linear(4, 2)
        self.frozen = nn.Linear(4, 2).requires_grad_(False)


def test_only_matrices_and_kernels_are_decayed_and_each_parameter_is_in_one_group() -> None:
    module = Scaled()
    decayed, rest = parameter_groups(module, 0.1)
    assert decayed["weight_decay"] == 0.1
    assert rest["weight_decay"] == 0.0
    assert {id(p) for p in decayed["params"]} == {id(module.conv.weight), id(module.linear.weight)}
    expected = {module.scale, module.conv.bias, module.linear.bias, *module.norm.parameters()}
    assert {id(p) for p in rest["params"]} == {id(p) for p in expected}


def test_a_step_without_a_gradient_moves_only_what_is_decayed() -> None:
    module = Scaled()
    before = {name: p.clone() for name, p in module.named_parameters()}
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    build_adamw(module, lr=0.1, weight_decay=0.5).step()
    moved = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"conv.weight", "linear.weight"}


def test_nothing_to_train_is_an_error() -> None:
    with pytest.raises(ValueError, match="no parameter that needs a gradient"):
        parameter_groups(nn.Linear(2, 2).requires_grad_(False), 0.1)


def test_a_part_gets_its_own_learning_rate_and_the_rest_the_plain_one() -> None:
    module = nn.ModuleDict({"slow": nn.Linear(3, 2), "fast": nn.Linear(3, 2)})
    optimizer = build_adamw(module, lr=0.5, weight_decay=0.1, multipliers=[(module["slow"], 0.1)])
    assert [len(g["params"]) for g in optimizer.param_groups] == [1, 1, 1, 1]
    set_learning_rate(optimizer, 0.2)
    rates = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    assert [rates[id(p)] for p in module["slow"].parameters()] == pytest.approx([0.02] * 2)
    assert [rates[id(p)] for p in module["fast"].parameters()] == [0.2] * 2
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    slow, fast = module["slow"], module["fast"]
    assert isinstance(slow, nn.Linear)
    assert isinstance(fast, nn.Linear)
    assert decays[id(slow.weight)] == decays[id(fast.weight)] == 0.1
    assert decays[id(slow.bias)] == decays[id(fast.bias)] == 0.0
    with pytest.raises(ValueError, match="part of another"):
        build_adamw(module, lr=0.5, weight_decay=0.1, multipliers=[(module, 2.0), (slow, 2.0)])
