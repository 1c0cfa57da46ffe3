from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from adassl.objectives.infonce import info_nce

Arrays = dict[str, Any]


def embeddings(batch: int = 7, dim: int = 5) -> Arrays:
    names = ("edited", "edited_target", "context", "target")
    return {name: torch.randn(batch, dim) * 3 for name in names}


def slow_nt_xent(
    arrays: Arrays, group: torch.Tensor, temperature: float, weight: float, both: bool
) -> float:
    """NT-Xent as SimCLR's pseudocode has it, one anchor and one candidate at a time."""
    unit = {k: (v / v.norm(dim=1, keepdim=True)).double().numpy() for k, v in arrays.items()}
    batch = len(group)
    directions = [("edited", "context", "target")]
    if both:
        directions.append(("edited_target", "target", "context"))
    losses = []
    for edited, _, positive in directions:
        for i in range(batch):
            anchor = unit[edited][i]
            hit = np.exp(anchor @ unit[positive][i] / temperature)
            denominator = hit
            for j in range(batch):
                if j == i:
                    continue
                times = weight if group[i] == group[j] else 1.0
                for view in ("context", "target"):
                    denominator += times * np.exp(anchor @ unit[view][j] / temperature)
            losses.append(-np.log(hit / denominator))
    return float(np.mean(losses))


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_it_equals_the_slow_loop(temperature: float, weight: float, both: bool) -> None:
    arrays, group = embeddings(), torch.tensor([0, 0, 1, 2, 2, 2, 3])
    expected = slow_nt_xent(arrays, group, temperature, weight, both)
    inputs = arrays if both else arrays | {"edited_target": None}
    loss = info_nce(
        **inputs, group=group, temperature=temperature, same_video_negative_weight=weight
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_weight_one_ignores_the_videos() -> None:
    arrays = embeddings()
    apart = info_nce(**arrays, group=torch.arange(7), temperature=0.1)
    together = info_nce(**arrays, group=torch.zeros(7, dtype=torch.long), temperature=0.1)
    assert torch.equal(apart, together)


def test_a_batch_of_one_video_without_its_negatives_is_zero_and_has_a_gradient_of_zero() -> None:
    arrays = {name: value.requires_grad_() for name, value in embeddings().items()}
    group = torch.zeros(7, dtype=torch.long)
    loss = info_nce(**arrays, group=group, temperature=0.1, same_video_negative_weight=0.0)
    torch.autograd.backward(loss)
    assert loss.item() == 0
    for value in arrays.values():
        assert value.grad is not None
        assert torch.equal(value.grad, torch.zeros_like(value))


def test_no_logit_is_clamped_at_small_temperatures() -> None:
    # Cosines of 0.9 and 0.8 at temperature 0.02 are logits of 45 and 40: a clamp at 20 would make
    # them equal and stop their gradients.
    context = normalize(torch.eye(3, 8), dim=1)
    target = context * 0.9
    target[:, 3:6] = torch.eye(3) * 0.19**0.5
    edited = (context + 0.7 * context.roll(1, 0)).requires_grad_()
    loss = info_nce(
        edited=edited,
        edited_target=None,
        context=context,
        target=target,
        group=torch.arange(3),
        temperature=0.02,
    )
    torch.autograd.backward(loss)
    assert torch.isfinite(loss)
    assert edited.grad is not None
    assert (edited.grad.norm(dim=1) > 1e-3).all()


def test_it_is_computed_in_float32_under_bfloat16_autocast() -> None:
    arrays, group = embeddings(), torch.arange(7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = info_nce(**arrays, group=group, temperature=0.05)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, info_nce(**arrays, group=group, temperature=0.05))
