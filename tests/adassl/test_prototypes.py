import numpy as np
import torch

from adassl.objectives.prototypes import Prototypes


def test_scores_are_cosines_in_float32_under_autocast_too() -> None:
    prototypes, embedding = Prototypes(5, 7), torch.randn(4, 5) * 3
    rows = embedding.double().numpy()
    weights = prototypes.weight.detach().double().numpy()
    expected = [[z @ w / np.sqrt((z @ z) * (w @ w)) for w in weights] for z in rows]
    scores = prototypes(embedding)
    torch.testing.assert_close(scores, torch.tensor(expected).float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(prototypes(embedding), scores)


def test_the_length_of_a_prototype_plays_no_part() -> None:
    prototypes, embedding = Prototypes(5, 7), torch.randn(4, 5)
    scores = prototypes(embedding)
    with torch.no_grad():
        prototypes.weight.mul_(torch.linspace(0.1, 9, 7)[:, None])
    torch.testing.assert_close(prototypes(embedding), scores)
