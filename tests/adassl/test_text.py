"""The text transformer: padding does not count, and dropout makes two views of one text."""

import torch

from adassl.backbones import build_backbone


def test_dropout_differs_from_view_to_view_in_training_alone() -> None:
    torch.manual_seed(0)
    network, without = (
        build_backbone(
            "text_transformer",
            input_shape=(8,),
            hidden_dims=(32, 32),
            vocabulary=50,
            dropout=dropout,
        )
        for dropout in (0.1, 0.0)
    )
    ids = torch.randint(2, 50, (3, 8))
    both = network(torch.cat([ids, ids]))
    assert (both[:3] - both[3:]).abs().mean() > 0.01
    still = network.eval()(torch.cat([ids, ids]))
    assert torch.equal(still[:3], still[3:])
    without.load_state_dict(network.state_dict())
    assert torch.equal(without(ids), network(ids)), "the same weights, and none of its own"


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    network = build_backbone(
        "text_transformer", input_shape=(8,), hidden_dims=(32,), vocabulary=50
    ).eval()
    ids = torch.randint(2, 50, (2, 5))
    padded = torch.cat([ids, torch.zeros(2, 3, dtype=torch.long)], dim=1)
    assert torch.allclose(network(ids), network(padded), atol=1e-6)
