"""A second device without a GPU: its tensors refuse to mix with the CPU's, 0-dimensional ones too.

Its tensors say that they are on `DEVICE` (torch's "meta", which autograd runs as it runs the CPU),
but hold a CPU tensor and really compute. An operator that meets one of them beside a plain CPU
tensor raises, which CUDA does too, but for 0-dimensional tensors in some operators and not in
others (`torch.stack`). Copies from one device to the other are allowed. What makes the host wait
for the device is counted.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from pipelines.training.learner import Learner

DEVICE = torch.device("meta")
aten = torch.ops.aten
_COPIES = {aten._to_copy.default, aten.copy_.default}
_WAITS = {
    aten._local_scalar_dense.default,  # item(), float(), bool()
    aten.equal.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.repeat_interleave.Tensor,
}


class MixedDevicesError(RuntimeError):
    """An operator met tensors of two devices."""


class OnDevice(torch.Tensor):
    """A tensor on the second device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "OnDevice":
        made: OnDevice = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        return made

    def __init__(self, held: Tensor) -> None:
        self.held = held

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.detach().cpu().__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch has it as an attribute
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise AssertionError(f"{func} outside of StrictDevice")


class StrictDevice(TorchDispatchMode):
    """Computes for tensors on the second device, and refuses what mixes two devices."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waits: list[str] = []
        """The operators for which the host had to wait for the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        device = kwargs.get("device")
        leaves = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        own = [x for x in leaves if isinstance(x, OnDevice)]
        makes_own = device is not None and torch.device(device) == DEVICE
        if not own and not makes_own:
            return func(*args, **kwargs)
        if len(own) < len(leaves) and own and func not in _COPIES:
            shapes = [
                (tuple(x.shape), "device" if isinstance(x, OnDevice) else "cpu") for x in leaves
            ]
            raise MixedDevicesError(f"{func} met tensors of two devices: {shapes}")
        to_host = bool(own) and (
            (func is aten._to_copy.default and device is not None and not makes_own)
            or (func is aten.copy_.default and not isinstance(args[0], OnDevice))
        )
        if to_host or func in _WAITS or _indexes_by_mask(func, args):
            self.waits.append(str(func))
        if makes_own:
            kwargs["device"] = torch.device("cpu")
        held_args, held_kwargs = tree_map(_held, (args, kwargs))
        made = func(*held_args, **held_kwargs)
        if to_host:
            return made if func is aten._to_copy.default else args[0]
        made = tree_map(lambda x: OnDevice(x) if isinstance(x, Tensor) else x, made)
        return return_and_correct_aliasing(func, args, kwargs, made)


def _held(x: Any) -> Any:
    return x.held if isinstance(x, OnDevice) else x


def _indexes_by_mask(func: Any, args: Any) -> bool:
    if func not in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default):
        return False
    return any(index is not None and index.dtype == torch.bool for index in args[1])


@pytest.fixture
def strict_device(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The mode, in force, with the parts of torch that know no such device led to the CPU's."""
    autocast = torch.autocast

    def of_cpu(device_type: str, **options: Any) -> Any:
        return autocast("cpu" if device_type == DEVICE.type else device_type, **options)

    monkeypatch.setattr(torch, "autocast", of_cpu)
    monkeypatch.setattr(Learner, "generator", lambda _, seed: torch.Generator().manual_seed(seed))
    with StrictDevice() as mode:
        yield mode
