"""The reader of safetensors files, against the library of the format and files that are damaged."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from adassl.safetensors import read_safetensors


def saved(folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    tensors = {
        "weight": torch.randn(3, 4),
        "half": torch.randn(5).to(torch.bfloat16),
        "steps": torch.tensor(7),
        "mask": torch.tensor([True, False]),
        "none": torch.empty(0, 3),
        "double": torch.randn(2, 1, 2, dtype=torch.float64),
    }
    save_file(tensors, folder / "a.safetensors", metadata={"made": "here"})
    return folder / "a.safetensors", tensors


def test_it_reads_what_the_library_of_the_format_wrote(tmp_path: Path) -> None:
    file, tensors = saved(tmp_path)
    found = read_safetensors(file)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize("kept", [0, 5, 8, 40, -1])
def test_a_file_that_was_cut_is_refused(kept: int, tmp_path: Path) -> None:
    file, _ = saved(tmp_path)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match="cut off"):
        read_safetensors(file)


def test_a_file_with_more_at_its_end_is_refused(tmp_path: Path) -> None:
    file, _ = saved(tmp_path)
    file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(ValueError, match="do not fill it"):
        read_safetensors(file)


def entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry(dtype="PICKLE")},
        {"a": entry(data_offsets=[0, 400])},
        {"a": entry(data_offsets=[-8, 0])},
        {"a": entry(shape=[-2], data_offsets=[8, 0])},
        {"a": entry(shape=[2**40])},
        {"a": entry(shape=[True, 2])},
        {"a": entry(), "b": entry()},
        {"a": entry(data_offsets=[8, 16])},
        {"a": [1, 2]},
        {"a": {"dtype": "F32"}},
        [1],
    ],
)
def test_a_header_that_lies_is_refused(header: Any, tmp_path: Path) -> None:
    text = json.dumps(header).encode()
    file = tmp_path / "a.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(ValueError, match=r"header is not|do not fill"):
        read_safetensors(file)


def test_an_endless_header_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes((2**63).to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match="no safetensors file"):
        read_safetensors(tmp_path / "a")
