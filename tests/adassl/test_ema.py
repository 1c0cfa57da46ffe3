import copy

import pytest
import torch

from adassl.ema import update_ema
from adassl.heads import build_mlp


def test_parameters_are_averaged_and_buffers_left_alone() -> None:
    source, target = build_mlp(3, (4,), 2), build_mlp(3, (4,), 2).requires_grad_(False)
    source(torch.randn(8, 3) + 5)
    before = copy.deepcopy(target)
    update_ema(target, source, 0.9)
    for average, old, new in zip(
        target.parameters(), before.parameters(), source.parameters(), strict=True
    ):
        torch.testing.assert_close(average, 0.9 * old + 0.1 * new)
    assert not any(p.requires_grad for p in target.parameters())
    for kept, old_buffer in zip(target.buffers(), before.buffers(), strict=True):
        assert torch.equal(kept, old_buffer)


@pytest.mark.parametrize(("momentum", "kept"), [(1.0, True), (0.0, False)])
def test_the_two_ends(momentum: float, kept: bool) -> None:
    source, target = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    expected = copy.deepcopy(target if kept else source)
    update_ema(target, source, momentum)
    assert torch.equal(target.weight, expected.weight)


def test_a_half_precision_target_is_refused() -> None:
    source = torch.nn.Linear(3, 2)
    with pytest.raises(TypeError, match=r"bfloat16.*needs float32"):
        update_ema(copy.deepcopy(source).bfloat16(), source, 0.99)
