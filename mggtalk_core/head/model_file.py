"""The head model's file: 16-bit modes in safetensors, each with its own scale, expressions without their zeros."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..errors import WeightsError
from ..weights.tensor_file import packed

_LEVELS = 32767
_INDICES = ("triangles", "landmark_vertices", "mirror", "inner_lip", "eyelid_left", "eyelid_right")
_PLAIN = ("mean", "parts", "eye_mean", "eye_basis", "landmark_weights")


def read_model_file(path: Path) -> dict[str, Tensor]:
    """Return the fields of `HeadModel` from ``path``.

    Raises WeightsError if the file is missing, damaged or of another format.
    """
    from safetensors.torch import load_file

    try:
        stored = load_file(path)
        fields = {name: stored[name] for name in _PLAIN}
        fields.update((name, stored[name].to(torch.int64)) for name in _INDICES)
        fields["identity_basis"] = _dequantise(stored["identity"], stored["identity_scale"])
        fields["expression_basis"] = _dense_expressions(stored, len(fields["mean"]))
    except Exception as problem:  # safetensors raises its own kinds of errors for damaged files
        raise WeightsError(f"the head model {path.name} cannot be read ({problem}): install MGGTalk anew") from problem
    return fields


def write_model_file(path: Path, fields: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write the fields of `HeadModel` to ``path``."""
    stored = {name: fields[name].contiguous() for name in _PLAIN}
    stored.update((name, fields[name].to(torch.uint16).contiguous()) for name in _INDICES)
    stored["identity"], stored["identity_scale"] = _quantise(fields["identity_basis"])
    stored.update(_sparse_expressions(fields["expression_basis"]))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(packed(stored, metadata))


def _quantise(modes: Tensor) -> tuple[Tensor, Tensor]:
    """Round each mode to 16 bits over its own range."""
    scale = modes.flatten(1).abs().amax(dim=1) / _LEVELS
    rounded = (modes / scale.clamp(min=1e-12)[:, None, None]).round()
    return rounded.to(torch.int16), scale.to(torch.float32)


def _dequantise(stored: Tensor, scale: Tensor) -> Tensor:
    return stored.to(torch.float32) * scale[:, None, None]


def _sparse_expressions(modes: Tensor) -> dict[str, Tensor]:
    """Keep, of each expression, only the vertices that it moves."""
    rounded, scale = _quantise(modes)
    moved = (rounded != 0).any(dim=2)
    return {
        "expression_scale": scale,
        "expression_vertices": moved.nonzero()[:, 1].to(torch.uint16),
        "expression_counts": moved.sum(dim=1).to(torch.int32),
        "expression_values": rounded[moved],
    }


def _dense_expressions(stored: dict[str, Tensor], vertex_count: int) -> Tensor:
    counts = stored["expression_counts"].to(torch.int64)
    shape = torch.arange(len(counts)).repeat_interleave(counts)
    dense = torch.zeros(len(counts), vertex_count, 3, dtype=torch.int16)
    dense[shape, stored["expression_vertices"].to(torch.int64)] = stored["expression_values"]
    return _dequantise(dense, stored["expression_scale"])
