import pytest
import torch

from adassl.objectives.byol import byol


def test_it_is_the_squared_distance_of_the_unit_vectors() -> None:
    prediction, target = torch.randn(6, 4), torch.randn(6, 4)
    unit = [v / v.norm(dim=1, keepdim=True) for v in (prediction, target)]
    expected = (unit[0] - unit[1]).square().sum(dim=1).mean()
    torch.testing.assert_close(byol(prediction, target), expected)


@pytest.mark.parametrize(("factor", "expected"), [(2.0, 0.0), (-0.5, 4.0)])
def test_its_range(factor: float, expected: float) -> None:
    target = torch.randn(6, 4)
    assert byol(factor * target, target).item() == pytest.approx(expected, abs=1e-6)


def test_no_gradient_reaches_the_target_and_half_precision_is_left() -> None:
    prediction = torch.randn(6, 4, dtype=torch.bfloat16, requires_grad=True)
    target = torch.randn(6, 4, dtype=torch.bfloat16, requires_grad=True)
    loss = byol(prediction, target)
    torch.autograd.backward(loss)
    assert loss.dtype == torch.float32
    assert prediction.grad is not None
    assert target.grad is None
