"""The networks of the Gaussian stage that come with the package: those that the ledger knows, and no others."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

from torch import nn

from ..motion.deform_net import WEIGHTS as DEFORM
from ..motion.deform_net import read_deform
from ..portrait.portrait import Portrait
from ..weights.ledger import LEDGER
from ..weights.policy import current_policy
from ..weights.resolver import resolve
from .learned import with_networks
from .networks.model import WEIGHTS as GAUSSIANS
from .networks.model import read_gaussians
from .predict import AnalyticSequence

Network = TypeVar("Network", bound=nn.Module)


def with_shipped_networks(sequence: AnalyticSequence, portrait: Portrait) -> AnalyticSequence:
    """Return the sequence with the learned offsets that ship; as it is where none do, or commercial-safe refuses them.

    Raises:
        WeightsError: a file that the ledger knows is missing or damaged.
    """
    networks, deform = _shipped(GAUSSIANS, read_gaussians), _shipped(DEFORM, read_deform)
    if networks is None and deform is None:
        return sequence
    device = sequence.avatar.colours.device
    networks, deform = (part and copy.deepcopy(part).to(device) for part in (networks, deform))
    return with_networks(sequence, portrait, networks, deform)


def _shipped(name: str, read: Callable[[Path], Network]) -> Network | None:
    row = next((weight for weight in LEDGER if weight.name == name), None)
    if row is None or (current_policy().commercial_safe and not row.commercial_ok):
        return None
    return _read(read, resolve(name))


@cache
def _read(read: Callable[[Path], Network], path: Path) -> Network:
    return read(path)
