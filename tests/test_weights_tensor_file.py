"""Files of tensors: the same from equal content, and readable by the library whose format it is."""

from __future__ import annotations

import json

import torch
from safetensors import safe_open
from safetensors.torch import load

from mggtalk_core.weights.tensor_file import packed

TENSORS = {"b": torch.arange(6.0).view(2, 3), "a": torch.tensor([1, 2], dtype=torch.int16)}
NOTES = {f"note {number}": "é" * number for number in range(12)}


def test_equal_content_makes_equal_bytes() -> None:
    """The library alone writes twelve notes in one of 479 million orders each time."""
    assert len({packed(TENSORS, NOTES) for _ in range(5)}) == 1
    assert packed(TENSORS, dict(reversed(NOTES.items()))) == packed(TENSORS, NOTES)


def test_tensors_and_notes_are_read_back(tmp_path) -> None:
    path = tmp_path / "file.safetensors"
    path.write_bytes(packed(TENSORS, NOTES))
    with safe_open(path, "pt") as file:
        assert file.metadata() == NOTES
    found = load(path.read_bytes())
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_notes_are_sorted() -> None:
    data = packed(TENSORS, NOTES)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert list(header["__metadata__"]) == sorted(NOTES)
