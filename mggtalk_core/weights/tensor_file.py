"""Tensors as safetensors bytes: equal tensors and notes make equal files."""

from __future__ import annotations

import json
from collections.abc import Mapping

from torch import Tensor

_LENGTH = 8
"""Bytes that tell how long the header is."""
_NOTES = "__metadata__"


def packed(tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> bytes:
    """Return the bytes of a safetensors file; ``notes`` go into its header, sorted.

    The library itself writes them in an order that differs from process to process.
    """
    from safetensors.torch import save

    data = save(dict(tensors), dict(notes))
    end = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
    header = json.loads(data[_LENGTH:end])
    header[_NOTES] = dict(sorted(header[_NOTES].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return data[:_LENGTH] + text.ljust(end - _LENGTH) + data[end:]
