"""Read a pickle of arrays without running what is in it."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import WeightsError

_ALLOWED = frozenset(
    {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy.core.numeric", "_frombuffer"),  # protocol 5
        ("numpy._core.numeric", "_frombuffer"),
        ("_codecs", "encode"),  # how protocol 2 spells the bytes of an array
        ("collections", "OrderedDict"),
    }
)


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that knows arrays and dictionaries and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not an array")
        # Name it as the running numpy does: the old path only warns for now.
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _flatten(tree: Any, prefix: str = "") -> dict[str, np.ndarray]:
    if isinstance(tree, np.ndarray) and tree.dtype != object:
        return {prefix: np.ascontiguousarray(tree)}
    if not isinstance(tree, Mapping):
        raise pickle.UnpicklingError(f"{prefix or 'the pickle'} is not an array")
    flat: dict[str, np.ndarray] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def read_pickled_arrays(data: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of a pickled tree of dictionaries, keys joined with dots.

    Raises `WeightsError` for a pickle that names anything else than numpy's arrays, before it is called.
    """
    try:
        return _flatten(_ArrayUnpickler(io.BytesIO(data)).load())
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        raise WeightsError(f"refused a pickle that does not hold arrays alone: {error}") from error


def pickle_to_safetensors(data: bytes) -> bytes:
    """Return the arrays of a pickle as a safetensors file: the same bytes for the same arrays."""
    from safetensors.numpy import save

    arrays = read_pickled_arrays(data)
    return save({key: arrays[key] for key in sorted(arrays)})
