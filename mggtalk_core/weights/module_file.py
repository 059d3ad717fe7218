"""A network as one file: half precision, with its sizes and what is said of it in the header."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from ..errors import WeightsError

Network = TypeVar("Network", bound=nn.Module)
_SIZES = "config"


def write_module(
    path: str | os.PathLike[str], network: nn.Module, sizes: Mapping[str, Any], notes: Mapping[str, str]
) -> None:
    """Write a network's weights; ``sizes`` (what it is built from) and ``notes`` go into the header."""
    from safetensors.torch import save_file

    tensors = {name: value.detach().half().cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(tensors, path, {**notes, _SIZES: json.dumps(dict(sizes), sort_keys=True)})


def read_module(path: str | os.PathLike[str], build: Callable[[dict[str, Any]], Network]) -> Network:
    """Return the network that `write_module` has written, in single precision, to be used and not to be trained.

    Args:
        path: the file.
        build: makes an untrained network of its sizes.

    Raises:
        WeightsError: the file is missing, damaged, something else, or belongs to a network of other sizes.
    """
    from safetensors import safe_open

    name = Path(path).name
    try:
        with safe_open(path, "pt") as file:
            sizes = json.loads((file.metadata() or {})[_SIZES])
            tensors = {each: file.get_tensor(each).float() for each in file.keys()}
    except Exception as problem:  # safetensors raises its own kinds of errors for damaged files
        raise WeightsError(f"{name} cannot be read ({problem}): train or install it anew") from problem
    try:
        network = build(sizes)
        network.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError) as problem:
        raise WeightsError(f"{name} belongs to another version of this network: train or install it anew") from problem
    return network.eval().requires_grad_(False)
