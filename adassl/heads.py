"""The multilayer perceptron: the projector, the predictor, every head on embeddings."""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn


def build_mlp(input_dim: int, hidden_dims: Sequence[int], output_dim: int) -> nn.Sequential:
    """An MLP [batch, input_dim] -> [batch, output_dim].

    Hidden layers are Linear, BatchNorm1d, ReLU, as in SimCLR and BYOL. The output layer is a plain
    Linear: a BatchNorm there would hold the centre of the embeddings near zero by force, and with
    it hide the collapse that `adassl.diagnostics.centre_norm` is there to show.

    Args:
        input_dim: size of the input.
        hidden_dims: sizes of the hidden layers; empty for a single Linear.
        output_dim: size of the output.
    """
    layers: list[nn.Module] = []
    for hidden_dim in hidden_dims:
        layers += [
            nn.Linear(input_dim, hidden_dim, bias=False),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(inplace=True),
        ]
        input_dim = hidden_dim
    layers.append(nn.Linear(input_dim, output_dim))
    return nn.Sequential(*layers)


def initialise_xavier(module: nn.Module) -> None:
    """Xavier weights and biases of 0 for one linear layer, for `nn.Module.apply`."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(cast(Tensor, module.bias))
