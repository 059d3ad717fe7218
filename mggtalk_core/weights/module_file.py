"""A network as one file: half precision, with its sizes and what is said of it in the header."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from ..errors import WeightsError
from .tensor_file import packed

Network = TypeVar("Network", bound=nn.Module)
_SIZES = "config"


def write_module(
    path: str | os.PathLike[str], network: nn.Module, sizes: Mapping[str, Any], notes: Mapping[str, str]
) -> None:
    """Write a network's weights; ``sizes`` (what it is built from) and ``notes`` go into the header."""
    write_tensors(path, network.state_dict(), sizes, notes)


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], sizes: Mapping[str, Any], notes: Mapping[str, str]
) -> None:
    """Write some of a network's weights; see `write_module`."""
    halves = {name: value.detach().half().cpu().contiguous() for name, value in tensors.items()}
    Path(path).write_bytes(packed(halves, {**notes, _SIZES: json.dumps(dict(sizes), sort_keys=True)}))


def read_module(path: str | os.PathLike[str], build: Callable[[dict[str, Any]], Network]) -> Network:
    """Return the network that `write_module` has written, in single precision, to be used and not to be trained.

    Args:
        path: the file.
        build: makes an untrained network of its sizes.

    Raises:
        WeightsError: the file is missing, damaged, something else, or belongs to a network of other sizes.
    """
    sizes, tensors = read_tensors(path)
    return filled(path, lambda: build(sizes), tensors)


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the sizes and the weights, in single precision, that `write_tensors` has written.

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


def filled(path: str | os.PathLike[str], build: Callable[[], Network], tensors: Mapping[str, Tensor]) -> Network:
    """Return the network that ``build`` makes, with these weights, to be used and not to be trained.

    Raises:
        WeightsError: they belong to a network of other sizes; ``path`` says which file it was.
    """
    try:
        network = build()
        network.load_state_dict(dict(tensors))
    except (KeyError, TypeError, RuntimeError) as problem:
        raise WeightsError(
            f"{Path(path).name} belongs to another version of this network: train or install it anew"
        ) from problem
    return network.eval().requires_grad_(False)
