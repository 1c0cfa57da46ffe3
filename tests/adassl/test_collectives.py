import pytest
import torch

from adassl import collectives
from adassl.collectives import all_gather, all_reduce_mean, dealt_order, rank, world_size


def test_one_process_is_its_own_world() -> None:
    tensor = torch.randn(3, 2, requires_grad=True)
    assert (rank(), world_size()) == (0, 1)
    assert all_gather(tensor) is tensor
    assert torch.equal(dealt_order(tensor), tensor)
    mean = all_reduce_mean(tensor)
    assert torch.equal(mean, tensor)
    assert not mean.requires_grad


def test_gathered_rows_come_back_in_the_order_they_were_dealt_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collectives, "world_size", lambda: 3)
    batch = torch.arange(24).reshape(12, 2)
    gathered = torch.cat([batch[worker::3] for worker in range(3)])
    assert torch.equal(dealt_order(gathered), batch)
