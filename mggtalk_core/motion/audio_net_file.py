"""The mouth net as a file: what of it is ours, and how it comes together with the speech embedding, which is not."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict
from functools import cache
from pathlib import Path

from ..errors import WeightsError
from ..weights.ledger import LEDGER
from ..weights.module_file import filled, read_tensors, write_tensors
from ..weights.policy import current_policy
from ..weights.resolver import resolve
from .audio_net import MouthNet, MouthNetConfig
from .speech_embedding import load_embedding
from .speech_trunk import SpeechTrunk

WEIGHTS = "audio_net.safetensors"
_FETCHED = "trunk.convolutions."
_log = logging.getLogger(__name__)


def write_net(path: str | os.PathLike[str], net: MouthNet, notes: dict[str, str]) -> None:
    """Write a net as half precision safetensors, its configuration and ``notes`` in the metadata.

    The convolutions of the trunk, which are not ours, are left out.
    """
    ours = {name: value for name, value in net.state_dict().items() if not name.startswith(_FETCHED)}
    write_tensors(path, ours, asdict(net.config), notes)


def read_net(path: str | os.PathLike[str], trunk: SpeechTrunk | None = None) -> MouthNet:
    """Read a net, ready to run in single precision.

    Args:
        path: The file.
        trunk: Gives the convolutions that the listeners hear through; without it they are left out.

    Raises:
        WeightsError: the file is missing, damaged or of another kind.
    """
    sizes, tensors = read_tensors(path)
    sizes |= {name: tuple(value) for name, value in sizes.items() if isinstance(value, list)}
    if trunk is None:
        sizes["listeners"] = 0
        tensors = {name: value for name, value in tensors.items() if name.startswith("members.")}
    else:
        tensors |= {_FETCHED + name: value for name, value in trunk.convolutions.state_dict().items()}
    return filled(path, lambda: MouthNet(MouthNetConfig(**sizes)), tensors)


def load_mouth_net() -> MouthNet | None:
    """Return the package's own net, or None where only weights that allow commercial use are wanted.

    Where the speech embedding cannot be had, it is left to the nets that do without, and a warning says so.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    row = next((row for row in LEDGER if row.name == WEIGHTS), None)
    if row is None or (current_policy().commercial_safe and not row.commercial_ok):
        return None
    try:
        trunk = load_embedding()
    except WeightsError as problem:
        _log.warning("The mouth follows speech less closely than it could: %s", problem)
        trunk = None
    return _kept(resolve(WEIGHTS), trunk)


@cache
def _kept(path: Path, trunk: SpeechTrunk | None) -> MouthNet:
    return read_net(path, trunk)
