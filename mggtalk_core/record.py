"""Base of the frozen dataclasses that pass between the stages."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import torch


def _moved(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, (torch.Tensor, Record)):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(_moved(item, device) for item in value)
    return value


class Record:
    """A frozen dataclass of tensors, numbers and other records."""

    def to(self, device: torch.device | str) -> Self:
        """Return the same record with every tensor on ``device``."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        changes = {f.name: _moved(getattr(self, f.name), device) for f in fields if f.init}
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]
