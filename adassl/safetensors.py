"""Tensors from a safetensors file, by torch alone: nothing in such a file can run code.

Eight bytes of the header's length, the header as JSON (dtype, shape and place of each tensor), then
the numbers, little-endian, one tensor after another (github.com/huggingface/safetensors).
"""

import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
_MOST_HEADER_BYTES = 100_000_000
"""As the library of the format has it."""


def read_safetensors(file: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no safetensors file, or was cut off or changed.
    """
    path = Path(file)
    num_bytes = path.stat().st_size
    with path.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        if num_bytes < 8 or length > min(num_bytes - 8, _MOST_HEADER_BYTES):
            raise ValueError(f"{path}: no safetensors file, or cut off: fetch it again")
        try:
            header = json.loads(content.read(length))
            entries = [_Entry(n, e) for n, e in header.items() if n != "__metadata__"]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path}: its header is not that of safetensors ({error})") from None
        entries.sort(key=lambda entry: (entry.begin, entry.end))
        edges = [0, *(entry.end for entry in entries)]
        tiled = all(e.begin == edge for e, edge in zip(entries, edges, strict=False))
        if not tiled or edges[-1] != num_bytes - 8 - length:
            raise ValueError(f"{path}: its tensors do not fill it: cut off or changed")
        return {entry.name: entry.read(content) for entry in entries}


class _Entry:
    """A tensor as the header describes it."""

    def __init__(self, name: str, said: Any) -> None:
        self.name, self.dtype = name, _DTYPES[said["dtype"]]
        self.shape = [_count(n) for n in said["shape"]]
        self.begin, self.end = map(_count, said["data_offsets"])
        if self.end - self.begin != math.prod(self.shape) * self.dtype.itemsize:
            raise ValueError(f"{name} has another size than its shape says")

    def read(self, content: Any) -> Tensor:
        """The tensor from where the file stands."""
        if self.begin == self.end:
            return torch.empty(self.shape, dtype=self.dtype)
        numbers = bytearray(self.end - self.begin)
        content.readinto(numbers)
        return torch.frombuffer(numbers, dtype=self.dtype).reshape(self.shape)


def _count(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise ValueError(f"{number!r} is no count")
    return number
