import torch

from adassl.collectives import all_gather, all_reduce_mean, rank, world_size


def test_one_process_is_its_own_world() -> None:
    tensor = torch.randn(3, 2, requires_grad=True)
    assert (rank(), world_size()) == (0, 1)
    assert all_gather(tensor) is tensor
    mean = all_reduce_mean(tensor)
    assert torch.equal(mean, tensor)
    assert not mean.requires_grad
