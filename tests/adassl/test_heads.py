import torch
from torch import nn

from adassl.heads import build_mlp


def test_hidden_layers_are_normalised_and_the_output_is_linear() -> None:
    mlp = build_mlp(5, (7, 9), 3)
    kinds = [type(layer) for layer in mlp]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear]
    assert mlp(torch.randn(4, 5)).shape == (4, 3)


def test_without_hidden_layers_it_is_one_linear() -> None:
    assert [type(layer) for layer in build_mlp(5, (), 3)] == [nn.Linear]
