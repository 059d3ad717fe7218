"""A network as one file: half precision, with its sizes and what is said of it in the header."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..errors import WeightsError

_SIZES = "config"


def write_module(
    path: str | os.PathLike[str], network: nn.Module, sizes: Mapping[str, Any], notes: Mapping[str, str]
) -> None:
    """Write a network's weights; ``sizes`` (what it is built from) and ``notes`` go into the header."""
    from safetensors.torch import save_file

    tensors = {name: value.detach().half().cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(tensors, path, {**notes, _SIZES: json.dumps(dict(sizes), sort_keys=True)})


def read_module(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the sizes and the weights, in single precision, that `write_module` has written.

    Raises:
        WeightsError: the file is missing, damaged or something else.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            sizes = json.loads((file.metadata() or {})[_SIZES])
            return sizes, {name: file.get_tensor(name).float() for name in file.keys()}
    except Exception as problem:  # safetensors raises its own kinds of errors for damaged files
        raise WeightsError(f"{Path(path).name} cannot be read ({problem}): train or install it anew") from problem


def filled(network: nn.Module, tensors: Mapping[str, Tensor], name: str) -> nn.Module:
    """Return ``network`` with these weights, ready to be used and not to be trained.

    Raises:
        WeightsError: they belong to a network of other sizes; ``name`` says in the message which file it was.
    """
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as problem:
        raise WeightsError(f"{name} belongs to another version of this network: train or install it anew") from problem
    return network.eval().requires_grad_(False)
